"""All that one picture shows, and how its things are called. Nothing here draws or reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from stream.demo.chronicle import Chronicle, RevisionComparison, RevisionComparisons, Sum
from stream.demo.scoreboard import Outage, Percentiles, Scoreboard, TruthTally
from stream.demo.script import Scene

SHORT = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One moment. Times in epoch milliseconds, `simulated_at` in the population's own time."""

    board: Scoreboard
    lanes: RevisionComparisons
    chronicle: Chronicle
    outage: Outage | None
    models: Mapping[str, str]
    """By digest, what a model is called."""
    partitions: int
    done: int
    total: int
    """Of the live transactions, how many have gone out, and how many are planned."""
    began_ms: int
    """When the live stream began."""
    now_ms: int
    simulated_at: str
    labels: int
    void: int
    to_come: tuple[Scene, ...] = ()
    """What will happen yet."""

    def model(self, digest: str | None) -> str:
        """Return what a model is called."""
        return "no model" if digest is None else self.models.get(digest, digest[:SHORT])

    def decided(self, lane: RevisionComparison) -> int:
        """Return how many live transactions the lane's revision has decided."""
        return self.board.tallies.get(lane.revision, TruthTally()).decided

    def coverage(self, lane: RevisionComparison) -> float | None:
        """Return the share of a revision's live decisions that have been compared; None of nothing."""
        decided = self.decided(lane)
        return min(1.0, lane.tally.compared / decided) if decided else None


def share(part: float | None, digits: int = 0) -> str:
    """Write a share as a percentage, a small difference from all not rounded away."""
    if part is None:
        return "-"
    if part == 1:
        return "100%"
    text = f"{part:.{digits}%}"
    return f">{1 - 10.0 ** -(digits + 2):.{digits}%}" if text.startswith("100") else text


def delay(delays: Percentiles | None) -> str:
    """Write a median and a 99th percentile."""
    return "-" if delays is None else f"p50 {delays.p50:.0f} p99 {delays.p99:.0f} ms"


def seconds(milliseconds: int | None) -> str:
    """Write a duration: milliseconds below one second, else seconds."""
    if milliseconds is None:
        return "-"
    return f"{milliseconds} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"  # noqa: PLR2004 - one second


def payments(count: int) -> str:
    """Write how many payments."""
    return f"{count:,} payment{'' if count == 1 else 's'}"


def money(total: Sum) -> str:
    """Write how many, and what they come to."""
    return f"{total.events:,}, € {total.euro:,.0f}" if total.events else "none"
