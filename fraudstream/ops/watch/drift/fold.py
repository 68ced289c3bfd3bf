"""The fold of scores into windows and alarms, by model and arm: the same however the topic is read.

A payment belongs to the UTC day in which it occurred. A day is looked at once everything was read up to some hours
after its end; a score that was written later than that is counted as late and left out, whoever reads, and whenever.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from fraudstream.ops.watch.drift.alarm import AlarmKind, AlarmNews, AlarmState, after_window
from fraudstream.ops.watch.drift.counts import DriftCounts, DriftRows, card_hashes, decision_codes
from fraudstream.ops.watch.drift.first_days import FirstDays
from fraudstream.ops.watch.drift.judge import JudgedWindow, WindowBaseline, judge_window
from fraudstream.ops.watch.drift.layout import Layout
from fraudstream.ops.watch.drift.terms import DriftTerms
from metrics.columns import Floats
from models.artifact import Manifest
from models.training_reference import DAY_MS, TrainingReference, is_weekend
from stream.readers import ScoreView, feature_rows

LATENESS_MS = 6 * 3_600_000
"""A day is looked at so long after its end; payments may be decided late, as after an outage."""


class WatchedPair(NamedTuple):
    """A model, by its digest, and the arm in which it decides."""

    digest: str
    arm: str


class DriftNews(NamedTuple):
    """What one window showed.

    Attributes:
        pair: the model and arm.
        window: None where an alarm ends because the model decides no more.
        alarm: an alarm that was opened or closed with it; None if none was.
        end_day: the day after the last one that it is about.
    """

    pair: WatchedPair
    window: JudgedWindow | None
    alarm: AlarmNews | None
    end_day: int

    @property
    def at_ms(self) -> int:
        """When it could be known at the earliest."""
        return self.end_day * DAY_MS + LATENESS_MS


@dataclass(slots=True)
class PairState:
    """What is known of a model and arm.

    Attributes:
        days: the counts of each day that was not looked at yet.
        window: the counts of the window that is not full yet; None if none was begun.
        window_day: its first day.
        last_day: the last day that was looked at.
        first_days: of a model without a reference, until that was made.
        own_reference: made of its first days.
        alarms: runs of windows, and the alarm that is open.
        last: the last window.
        recent: the shares of bins in the weeks before the next window, of shape (bins,); None before the first.
    """

    days: dict[int, DriftCounts] = field(default_factory=dict)
    window: DriftCounts | None = None
    window_day: int = 0
    last_day: int = 0
    first_days: FirstDays | None = None
    own_reference: TrainingReference | None = None
    alarms: AlarmState = field(default_factory=AlarmState)
    last: JudgedWindow | None = None
    recent: Floats | None = None


class DriftFold:
    """Adds scores to the days of their models, and looks at days that are complete.

    Attributes:
        pairs: what is known of each model and arm.
        late: scores that were written too late for their day.
        looked_to: days before this one were looked at.
        manifests: those of the models whose scores are added; state them before.
    """

    def __init__(self, terms: DriftTerms, pairs: dict[WatchedPair, PairState] | None = None) -> None:
        self.pairs: dict[WatchedPair, PairState] = {} if pairs is None else pairs
        self.late = 0
        self.looked_to = 0
        self.manifests: dict[str, Manifest] = {}
        self._terms = terms
        self._layouts: dict[str, Layout] = {}

    def layout(self, digest: str) -> Layout:
        """Return the bins of a model whose manifest is known."""
        found = self._layouts.get(digest)
        if found is None:
            found = self._layouts[digest] = Layout.of(self.manifests[digest])
        return found

    # --- add

    def add(self, scores: Iterable[tuple[int, ScoreView]]) -> None:
        """Add valid scores that a model decided, each with the timestamp of its record in epoch milliseconds."""
        batches: Mapping[tuple[WatchedPair, int], list[ScoreView]] = defaultdict(list)
        for at_ms, score in scores:
            day = score.occurred_ms // DAY_MS
            if day < self.looked_to or at_ms >= (day + 1) * DAY_MS + LATENESS_MS:
                self.late += 1
            else:
                batches[WatchedPair(score.digest or "", score.arm or ""), day].append(score)
        for (pair, day), batch in batches.items():
            self.add_counts(pair, day, self._counts(pair, day, batch))

    def add_counts(self, pair: WatchedPair, day: int, counts: DriftCounts) -> None:
        """Add counts of a day, in the bins of `layout`."""
        days = self.pairs.setdefault(pair, PairState()).days
        days[day] = counts if day not in days else days[day].merge(counts)

    def _counts(self, pair: WatchedPair, day: int, batch: list[ScoreView]) -> DriftCounts:
        layout = self.layout(pair.digest)
        vectors = feature_rows(batch, layout.names)
        known = [vector for vector in vectors if vector is not None]
        rows = DriftRows(
            card_hashes([score.card_id for score in batch]),
            np.array([score.score or 0.0 for score in batch]),
            decision_codes([score.ruled for score in batch]),
            np.array(known, np.float64).reshape(len(known), len(layout.names)),
            np.array([vector is not None for vector in vectors]),
        )
        return DriftCounts.of(layout, rows, weekend=bool(is_weekend(np.array([day]))[0]))

    # --- look

    def advance(self, complete_ms: int) -> list[DriftNews]:
        """Look at all days of which everything was read up to a time, in order, and return what they show."""
        end_day = (complete_ms - LATENESS_MS) // DAY_MS
        self.looked_to = max(self.looked_to, end_day)
        open_days = {day for state in self.pairs.values() for day in state.days if day < end_day}
        news = list[DriftNews]()
        for day in sorted(open_days):
            for pair in sorted(self.pairs):
                if (counts := self.pairs[pair].days.pop(day, None)) is not None:
                    news += self._look(pair, day, counts)
        idle = [pair for pair in sorted(self.pairs) if not self.pairs[pair].days]
        return news + [one for pair in idle for one in self._ended(pair, end_day)]

    def _look(self, pair: WatchedPair, day: int, counts: DriftCounts) -> list[DriftNews]:
        """Look at a day of a model and arm; return its window, if that is full with it."""
        state, terms, ended = self.pairs[pair], self._terms, self._ended(pair, day)
        if day - state.last_day > terms.most_days:  # after such a gap nothing goes on
            state.window, state.alarms, state.recent = None, AlarmState(), None
        begun = state.window_day if state.window is not None else day
        whole = counts if state.window is None else state.window.merge(counts)
        is_full = whole.card_count >= terms.least_cards or day - begun + 1 >= terms.most_days
        state.window, state.window_day = (None, 0) if is_full else (whole, begun)
        state.last_day = day
        reference = self.reference(pair)
        if reference is None:
            self._learn(pair, day, counts, whole if is_full else None)
        if reference is None or not is_full:
            return ended
        layout = self.layout(pair.digest)
        baseline = (
            WindowBaseline.at_first(reference, layout)
            if state.recent is None
            else WindowBaseline(reference, state.recent)
        )
        state.last = judge_window(layout, baseline, whole, (begun, day + 1), terms)
        state.recent = baseline.after(layout, whole)
        state.alarms, alarm = after_window(state.alarms, state.last, terms)
        return [*ended, DriftNews(pair, state.last, alarm, day + 1)]

    def reference(self, pair: WatchedPair) -> TrainingReference | None:
        """Return what a model is compared with; None until its first days are over, if its manifest has none."""
        stated = self.manifests[pair.digest].reference
        return stated if stated is not None else self.pairs[pair].own_reference

    def _learn(self, pair: WatchedPair, day: int, counts: DriftCounts, window: DriftCounts | None) -> None:
        """Add a day to the first days of a model without a reference; make that once they are over."""
        state, layout = self.pairs[pair], self.layout(pair.digest)
        if state.first_days is None:
            state.first_days = FirstDays(day, DriftCounts.zero(layout.width), DriftCounts.zero(layout.width))
        first = state.first_days
        first.add(counts, weekend=counts.weekend > 0)
        if window is None:
            return
        first.windows.append(window)
        if day - first.first_day + 1 >= self._terms.first_days:
            state.own_reference, state.first_days = first.reference(layout, day + 1), None

    def _ended(self, pair: WatchedPair, day: int) -> list[DriftNews]:
        """Close the alarm of a model that has decided nothing before a day for as long as a window may last."""
        state = self.pairs[pair]
        alarm = state.alarms.alarm
        if alarm is None or day - state.last_day <= self._terms.most_days:
            return []
        state.alarms = AlarmState()
        return [DriftNews(pair, None, (AlarmKind.CLOSED, alarm), state.last_day + self._terms.most_days + 1)]
