"""Windows whose ends are moved back to multiples of a pane, so that old transactions can be merged into panes.

A window of length w, delay d and resolution r at time t is (⌊t - d - w⌋, ⌊t - d⌋], where ⌊x⌋ is the last multiple of r
that is not after x; without a delay it ends at t itself, since recent records are exact. So no window is shorter than
declared, a delayed one is no longer either, and none looks nearer than its delay. With r = 1 ms this is the exact
window.

A transaction so late that its own time may be compacted sees what came before its pane, and itself. Nothing is visible
beyond the schedule's bound for r. All bounds are multiples of r, so it makes no difference what is compacted already.
"""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from features.declaration import Feature
from features.history import panes, records
from features.history.frames import FINEST, POWERS, Flags, Floats, Frame
from features.history.retention import ResolutionSchedule
from features.history.store import Ints


class PanedWindow:
    """The transactions of each history in a paned window, single or in panes; has the interface of `WindowSums`."""

    def __init__(self, frame: Frame, feature: Feature, schedule: ResolutionSchedule) -> None:
        self.frame = frame
        self._after_ms, self._until_ms = _ends(frame, feature, schedule)
        self.inside = (frame.time > frame.spread_out(self._after_ms)) & ~frame.labels
        self.inside &= frame.time <= frame.spread_out(self._until_ms)
        if not feature.delay_ms:
            self.inside[frame.last] = True

    @cached_property
    def count(self) -> Ints:
        """Number of transactions, shape (n,)."""
        counts: Ints = np.add.reduceat(self.frame.counts * self.inside, self.frame.starts)
        return counts

    @cached_property
    def empty(self) -> Flags:
        """Whether the window has no transaction."""
        none: Flags = self.count == 0
        return none

    def fraud_share(self, verdicts: Ints) -> Floats:
        """Divide the known frauds of the window by its transactions, 0 if there are none.

        `verdicts` are the rows of the labels that say fraud; their transactions may be compacted.
        """
        frame = self.frame
        occurred_ms, number = frame.rows[verdicts, records.AMOUNT], frame.number[verdicts]
        inside = (occurred_ms > self._after_ms[number]) & (occurred_ms <= self._until_ms[number])
        share: Floats = np.bincount(number[inside], minlength=len(frame.lengths)) / np.maximum(self.count, 1)
        return share

    @cached_property
    def total(self) -> Floats:
        """Sum of the amounts in units of 10^-4: the float64 nearest to the exact integer."""
        return _nearest(self._sums)

    @cached_property
    def largest(self) -> Floats:
        """The largest amount in units of 10^-4; 0 in an empty window."""
        frame = self.frame
        amounts = panes.peaks(frame.rows) * POWERS[FINEST - frame.exponents]
        peaks: Ints = np.maximum.reduceat(amounts * self.inside, frame.starts)
        return peaks.astype(np.float64)

    @cached_property
    def spread(self) -> Floats:
        """Count * sum(a^2) - (sum a)^2 in units of 10^-8: the float64 nearest to the exact integer."""
        high, low = panes.squares(self.frame.rows)
        squares = (self._summed(high, 2) << panes.REMAINDER_BITS) + self._summed(low, 2)
        return _nearest(self.count.astype(object) * squares - self._sums**2)

    def own_times_count(self) -> Floats:
        """Own amount times count, in units of 10^-4: the float64 nearest to the exact integer."""
        return _nearest(self.frame.own_amounts.astype(object) * (self.frame.scale * self.count).astype(object))

    @cached_property
    def _sums(self) -> NDArray[np.object_]:
        """Sum of the amounts in units of 10^-4, as Python integers."""
        return self._summed(self.frame.minor, 1)

    def _summed(self, column: Ints, power: int) -> NDArray[np.object_]:
        """Add up a column inside the window, in units of 10^-4; `power` is its degree in the amounts (1 or 2)."""
        frame = self.frame
        found = np.zeros(len(frame.starts), object)
        for exponent in np.unique(frame.exponents[self.inside]).tolist():
            ours = column * (self.inside & (frame.exponents == exponent))
            found += panes.totals(ours, frame.starts) * 10 ** (power * (FINEST - exponent))
        return found


def _nearest(exact: NDArray[np.object_]) -> Floats:
    """Convert exact integers to the nearest float64."""
    floats: Floats = exact.astype(np.float64)
    return floats


def _ends(frame: Frame, feature: Feature, schedule: ResolutionSchedule) -> tuple[Ints, Ints]:
    """Return the exclusive beginning and the inclusive end of each history's window."""
    resolution_ms = feature.resolution_ms
    end_ms = frame.own_ms - feature.delay_ms
    begin_ms = (end_ms - (feature.window_ms or 0)) // resolution_ms * resolution_ms
    begin_ms = np.maximum(begin_ms, schedule.seen_after(frame.newest_ms, resolution_ms))
    if feature.delay_ms:
        return begin_ms, end_ms // resolution_ms * resolution_ms
    late = end_ms <= schedule.exact_after(frame.newest_ms)
    return begin_ms, np.where(late, (end_ms - 1) // resolution_ms * resolution_ms, end_ms)
