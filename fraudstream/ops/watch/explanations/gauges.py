"""The metrics of a process that explains alerts: how far it is behind, what waits, and what is lost."""

from collections.abc import Mapping

from fraudstream.ops.watch.explanations.alerts import ReadPart
from stream.telemetry.metrics import Gauges


class ExplanationGauges:
    """The current values, set by the loop and read by whoever collects; give `gauges` to `Telemetry.watch`."""

    def __init__(self) -> None:
        self._lag = 0
        self._waiting = 0
        self._lost = 0
        self._unreadable = 0

    def show(self, unread: int, waiting: Mapping[int, ReadPart], lost: int, unreadable: int) -> None:
        """Show how far the process is: records not read yet, alerts that wait, scores that are gone or unreadable."""
        self._waiting = sum(len(part.alerts) for part in waiting.values())
        self._lag, self._lost, self._unreadable = unread + self._waiting, lost, unreadable

    def gauges(self) -> Gauges:
        """Return the function that reads each metric."""
        return {
            "fraudstream.explanations.lag": lambda: {(): self._lag},
            "fraudstream.explanations.lost": lambda: {(): self._lost},
            "fraudstream.explanations.unreadable": lambda: {(): self._unreadable},
            "fraudstream.explanations.waiting": lambda: {(): self._waiting},
        }
