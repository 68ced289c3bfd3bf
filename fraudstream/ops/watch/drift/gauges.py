"""The metrics of the watch: how far live models have moved, their alerts, the precision to be expected, and labels."""

from collections.abc import Mapping

from fraudstream.ops.watch.drift.feed import FRAUDS, LABELS, LabelFeed
from fraudstream.ops.watch.drift.fold import DriftFold, PairState, WatchedPair
from fraudstream.ops.watch.drift.layout import ALERTS, DECLINES, SCORE
from stream.clock import now_ms
from stream.telemetry.metrics import Gauges, Values

MOST_FEATURES = 5
"""So many features of a model have a series, those that have moved most."""
RECENT_DAYS = 8
"""A model whose last window ended so many days before the latest of any has no series any more."""
_SHORT = 12


class DriftGauges:
    """The current values, set by the watch and read by whoever collects; give `gauges` to `Telemetry.watch`."""

    def __init__(self) -> None:
        self._index: dict[Values, float] = {}
        self._shares: dict[Values, float] = {}
        self._over: dict[Values, float] = {}
        self._alarms: dict[Values, float] = {}
        self._precision: dict[Values, float] = {}
        self._matured: dict[Values, float] = {}
        self._labels: dict[Values, float] = {}
        self._newest_ms: dict[str, int] = {}
        self._missing = 0
        self._read_until_ms = now_ms()

    def show_feed(self, feed: LabelFeed) -> None:
        """Show how the feed of labels stands against the weeks before."""
        self._labels = {(name,): ratio for name, ratio in feed.ratios().items()}
        self._newest_ms = {name: feed.newest_ms[name] for name in (LABELS, FRAUDS) if name in feed.newest_ms}
        self._missing = int(feed.alarm is not None)

    def show(self, fold: DriftFold, read_until_ms: int | None) -> None:
        """Show the last window of each model and arm, and up to when scores were read."""
        found = recent(fold.pairs)
        labels = {pair: (pair.digest[:_SHORT], pair.arm) for pair in found}
        windows = {pair: state.last for pair, state in found.items() if state.last is not None}
        self._index = {
            (*labels[pair], one.name): one.index
            for pair, window in windows.items()
            for one in (*window.worst_features[:MOST_FEATURES], window.quantity(SCORE))
            if one is not None
        }
        self._shares = {
            (*labels[pair], kind): share.actual or 0.0
            for pair, window in windows.items()
            for kind, share in (("alerts", window.quantity(ALERTS)), ("declines", window.quantity(DECLINES)))
            if share is not None
        }
        self._over = {labels[pair]: len(window.over) for pair, window in windows.items()}
        self._alarms = {labels[pair]: int(state.alarms.alarm is not None) for pair, state in found.items()}
        estimates = {labels[pair]: window.estimated_precision for pair, window in windows.items()}
        self._precision = {label: value for label, value in estimates.items() if value is not None}
        self._read_until_ms = read_until_ms or self._read_until_ms

    def show_matured(self, precision: Mapping[WatchedPair, float]) -> None:
        """Show the matured precision of each model and arm that has one."""
        self._matured = {(pair.digest[:_SHORT], pair.arm): value for pair, value in precision.items()}

    def gauges(self) -> Gauges:
        """Return the function that reads each metric."""
        return {
            "fraudstream.drift.alarm": lambda: self._alarms,
            "fraudstream.drift.behind": lambda: {(): max(0, now_ms() - self._read_until_ms) / 1000},
            "fraudstream.drift.estimated_precision": lambda: self._precision,
            "fraudstream.drift.index": lambda: self._index,
            "fraudstream.drift.matured_precision": lambda: self._matured,
            "fraudstream.drift.over": lambda: self._over,
            "fraudstream.drift.share": lambda: self._shares,
            "fraudstream.labels.age": lambda: {
                (name,): max(0, now_ms() - at_ms) / 1000 for name, at_ms in self._newest_ms.items()
            },
            "fraudstream.labels.missing": lambda: {(): self._missing},
            "fraudstream.labels.ratio": lambda: self._labels,
        }


def recent(pairs: Mapping[WatchedPair, PairState]) -> dict[WatchedPair, PairState]:
    """Return the models and arms that have decided of late, by the days of payments."""
    latest = max((state.last_day for state in pairs.values()), default=0)
    return {pair: state for pair, state in pairs.items() if state.last_day > latest - RECENT_DAYS}
