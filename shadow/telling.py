"""How much a challenger missed, and when that is worth an event: seldom, and the last word is never lost.

Nothing here counts a decision or writes an event.
"""

from dataclasses import dataclass, replace

_FIRST_PAUSE_MS = 1_000
_LONGEST_PAUSE_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Totals:
    """What became of the decisions that one worker offered to one challenger."""

    compared: int = 0
    skipped: int = 0
    failed: int = 0

    @property
    def missed(self) -> int:
        """How many decisions got no comparison."""
        return self.skipped + self.failed

    def plus(self, other: "Totals") -> "Totals":
        """Add up."""
        return Totals(self.compared + other.compared, self.skipped + other.skipped, self.failed + other.failed)

    def minus(self, other: "Totals") -> "Totals":
        """Take away what was there before."""
        return Totals(self.compared - other.compared, self.skipped - other.skipped, self.failed - other.failed)


@dataclass(frozen=True, slots=True)
class Telling:
    """What was told last, and from which moment on more is told: at once, then at pauses that double up to an hour."""

    told: Totals = Totals()
    due_ms: int = 0
    pause_ms: int = _FIRST_PAUSE_MS

    def is_due(self, totals: Totals, now_ms: int) -> bool:
        """Tell whether more was missed than was said, and the pause is over."""
        return totals.missed > self.told.missed and now_ms >= self.due_ms

    def is_owed(self, totals: Totals) -> bool:
        """Tell whether a last word is owed: something was missed, and what was said is not the end of it."""
        return totals.missed > 0 and totals != self.told

    def after(self, totals: Totals, now_ms: int) -> "Telling":
        """Return what holds once these totals are said; who had nothing to say for an hour begins with short pauses.

        Quiet for the pause of the moment is not enough: misses every 3 s would then be told each time, for ever.
        """
        quiet = now_ms >= self.due_ms + _LONGEST_PAUSE_MS
        pause_ms = _FIRST_PAUSE_MS if quiet else self.pause_ms
        return replace(self, told=totals, due_ms=now_ms + pause_ms, pause_ms=min(2 * pause_ms, _LONGEST_PAUSE_MS))
