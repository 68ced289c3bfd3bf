"""The metrics of a guard's process: what it watches, how near each guard is to its bound, how far it is behind."""

import math
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from guards.row_time import stated_us
from guards.specs import GuardKind
from stream.clock import now_ms
from stream.telemetry.metrics import Gauges, Values

_LEAST_E = 1e-300
"""An E below has no logarithm."""


class GuardGauges:
    """The current values, set by the guard's loop and read by whoever collects; give `gauges` to `Telemetry.watch`."""

    def __init__(self) -> None:
        self._watching = False
        self._ratios: Mapping[Values, float] = {}
        self._read_until_ms: int | None = None
        self._commands: Counter[Values] = Counter()

    def watch(self, evidence: Mapping[str, Any], read_until_ms: int | None, waived: Collection[str] = ()) -> None:
        """Show a rollout or watch that is being read, as it is now.

        Args:
            evidence: that of `guards.report.evidence`.
            read_until_ms: `GuardReader.read_until_ms`.
            waived: kinds of guards that an operator let go on, which are not shown: nobody needs to be woken again.
        """
        guards = evidence["guards"].items()
        self._ratios = {(kind,): _ratio(kind, guard) for kind, guard in guards if kind not in waived}
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


def _ratio(kind: str, guard: Mapping[str, Any]) -> float:
    """Return how far a guard is on its way to a breach: 0 at the outset, 1 at its bound."""
    if kind == GuardKind.ROW_TIME:
        return stated_us(guard) / float(guard["budget_us"])
    return math.log(max(guard["e"], _LEAST_E)) / math.log(guard["bound"])
