"""The metrics of a guard's process: what it watches, how near each guard is to its bound, how far it is behind."""

import math
from collections import Counter
from collections.abc import Mapping

from guards.report import log_evidence_for
from guards.state import GuardState
from stream.clock import now_ms
from stream.telemetry.metrics import Gauges, Values


class GuardGauges:
    """The current values, set by the guard's loop and read by whoever collects; give `gauges` to `Telemetry.watch`."""

    def __init__(self) -> None:
        self._watching = False
        self._ratios: Mapping[Values, float] = {}
        self._read_until_ms: int | None = None
        self._commands: Counter[Values] = Counter()

    def watch(self, state: GuardState, read_until_ms: int | None) -> None:
        """Show a rollout or watch that is being read, as it is now.

        Args:
            state: its counts.
            read_until_ms: `GuardReader.read_until_ms`.
        """
        self._ratios = {
            (str(kind),): log_evidence_for(kind, spec, state.counts_of(kind)) / math.log(spec.bound)
            for kind, spec in state.guards.items()
        }
        self._read_until_ms, self._watching = read_until_ms, True

    def rest(self) -> None:
        """Show that there is nothing to watch."""
        self._watching, self._ratios, self._read_until_ms = False, {}, None

    def announce(self, command: str, outcome: str) -> None:
        """Let a command and outcome be there with 0, so that the first of them is seen as a rise."""
        self._commands[command, outcome] += 0

    def sent(self, command: str, outcome: str) -> None:
        """Count a command that was sent, by its kind and what became of it."""
        self._commands[command, outcome] += 1

    def gauges(self) -> Gauges:
        """Return the function that reads each metric."""
        return {
            "fraudstream.guard.behind": self._behind,
            "fraudstream.guard.commands": lambda: dict(self._commands),
            "fraudstream.guard.evidence_ratio": lambda: self._ratios,
            "fraudstream.guard.watching": lambda: {(): int(self._watching)},
        }

    def _behind(self) -> dict[Values, float]:
        until_ms = self._read_until_ms
        return {} if until_ms is None else {(): max(0, now_ms() - until_ms) / 1000}
