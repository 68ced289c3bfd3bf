"""The metrics of incidents: which are open, how far behind they are told of, and what the webhook still has to send."""

from collections import Counter
from collections.abc import Mapping

from fraudstream.ops.watch.incidents.fold import FoldState
from stream.clock import now_ms
from stream.telemetry.metrics import Gauges, Values


class IncidentGauges:
    """The current values, set by the teller and read by whoever collects; give `gauges` to `Telemetry.watch`."""

    def __init__(self) -> None:
        self._open: Mapping[Values, float] = {}
        self._read_until_ms = now_ms()
        self._unwritten = 0

    def show(self, state: FoldState, read_until_ms: int | None, unwritten: int) -> None:
        """Show what is open, up to when the topics were read, and how many records are to be written.

        Until they were read once, they are behind by as long as this process runs.
        """
        rules = (key.partition(" ")[0] for key, one in state.episodes.items() if one.opened_s is not None)
        self._open = {(rule,): count for rule, count in Counter(rules).items()}
        self._read_until_ms, self._unwritten = read_until_ms or self._read_until_ms, unwritten

    def gauges(self) -> Gauges:
        """Return the function that reads each metric."""
        return {
            "fraudstream.incidents.behind": self._behind,
            "fraudstream.incidents.open": lambda: self._open,
            "fraudstream.incidents.unwritten": lambda: {(): self._unwritten},
        }

    def _behind(self) -> dict[Values, float]:
        return {(): max(0, now_ms() - self._read_until_ms) / 1000}
