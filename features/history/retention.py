"""How coarse histories of one kind may be at which age: exact at first, then in ever wider panes, then out of sight.

A pane of resolution r is an interval (k r, (k + 1) r] of whole milliseconds since 1970; exact is a resolution of one
millisecond. All bounds are moved back to the edge of a pane, so that no pane is ever cut. Nothing here sees a record.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Kind = TypeVar("Kind")
Moments = TypeVar("Moments", int, NDArray[np.int64])
"""One moment, or one for each of many histories, in ms."""

EXACT_MS = 1
"""The resolution of what is not paned."""
SHORTEST_SLACK_MS = 86_400_000
"""How far behind a history's newest transaction one may come and still find the window of finer features whole: as far
as these look back, but a day at least, and no further than the longest window allows."""
UNCOMPACTED_MS = 3_600_000
"""So long a record stays as it is where all features are paned: one that is delivered again finds what it saw first."""


@dataclass(frozen=True, slots=True)
class ResolutionSchedule:
    """What the features of one set have to tell apart, by age: one step for each resolution, the finest first.

    A feature of resolution `resolutions_ms[i]` sees what is younger than `tails_ms[i]`, counted from the newest
    transaction of the history; so what is older than that may be kept in panes of the next resolution. The last tail is
    the horizon. Each resolution divides the next; the first is EXACT_MS.
    """

    resolutions_ms: tuple[int, ...]
    tails_ms: tuple[int, ...]

    @property
    def allows_panes(self) -> bool:
        """Whether anything may be kept in panes at all."""
        return len(self.resolutions_ms) > 1

    @property
    def horizon_ms(self) -> int:
        """The age from which on nothing is seen, but for the rounding."""
        return self.tails_ms[-1]

    def seen_after(self, newest_ms: Moments, resolution_ms: int) -> Moments:
        """Return the moment behind which features of a resolution see the records of a history."""
        step = self.resolutions_ms.index(resolution_ms)
        grid_ms = self.resolutions_ms[min(step + 1, len(self.resolutions_ms) - 1)]
        return (newest_ms - self.tails_ms[step]) // grid_ms * grid_ms

    def oldest_ms(self, newest_ms: Moments) -> Moments:
        """Return the moment behind which anything is seen at all."""
        return self.seen_after(newest_ms, self.resolutions_ms[-1])

    def exact_after(self, newest_ms: Moments) -> Moments:
        """Return the moment behind which records have to be there as they came."""
        return self.seen_after(newest_ms, EXACT_MS)


def exact(horizon_ms: int) -> ResolutionSchedule:
    """Return the ladder of features that are exact, all of them, as far as they see."""
    return ResolutionSchedule((EXACT_MS,), (horizon_ms,))


def schedule_for(reach_ms: Mapping[int, int], slack_ms: int) -> ResolutionSchedule:
    """Return the ladder that features need which look back so far, by resolution; `slack_ms` is the longest one's."""
    resolutions_ms = sorted({EXACT_MS, *reach_ms})
    tails_ms = [_tail_ms(reach_ms.get(resolution), slack_ms) for resolution in resolutions_ms]
    horizon_ms = slack_ms + max(reach_ms.values(), default=0)
    return ResolutionSchedule(tuple(resolutions_ms), (*accumulate(tails_ms[:-1], max), horizon_ms))


def _tail_ms(reach_ms: int | None, slack_ms: int) -> int:
    """Return how long features that reach so far back need their own resolution; None: there are none."""
    if reach_ms is None:
        return UNCOMPACTED_MS
    return reach_ms + min(slack_ms, max(SHORTEST_SLACK_MS, reach_ms))


@dataclass(frozen=True)
class Retention:
    """How long, and how fine, histories of one kind are kept for the ladders of one feature set or of several."""

    schedules: tuple[ResolutionSchedule, ...]

    @cached_property
    def allows_panes(self) -> bool:
        """Whether anything may be kept in panes at all."""
        return any(schedule.allows_panes for schedule in self.schedules)

    @cached_property
    def horizon_ms(self) -> int:
        """The age from which on nothing is seen by anyone, but for the rounding."""
        return max(schedule.horizon_ms for schedule in self.schedules)

    @cached_property
    def oldest_age_ms(self) -> int:
        """The age from which on nothing is seen by anyone, whatever the rounding."""
        return max(schedule.horizon_ms + schedule.resolutions_ms[-1] - 1 for schedule in self.schedules)

    def oldest_ms(self, newest_ms: Moments) -> Moments:
        """Return the moment behind which anything is seen by anyone."""
        first, *others = (schedule.oldest_ms(newest_ms) for schedule in self.schedules)
        for other in others:
            first = np.minimum(first, other)
        return first

    def bounds_ms(self, newest_ms: int) -> dict[int, int]:
        """Return, for each resolution from the finest on, up to when everything may be in panes so wide."""
        widths_ms = sorted({width for schedule in self.schedules for width in schedule.resolutions_ms} - {EXACT_MS})
        return {width_ms: self.bound_ms(newest_ms, width_ms) // width_ms * width_ms for width_ms in widths_ms}

    def bound_ms(self, newest_ms: int, width_ms: int) -> int:
        """Return the moment behind which panes of a width would be seen by features that need finer ones."""
        return min(
            schedule.seen_after(newest_ms, resolution_ms)
            for schedule in self.schedules
            for resolution_ms in schedule.resolutions_ms
            if resolution_ms % width_ms
        )

    def allows(self, since_ms: int, bounds_ms: Mapping[int, int], newest_ms: int) -> bool:
        """Tell whether a history is long and fine enough for all: kept since then, in panes so wide up to then."""
        fine = all(bound_ms <= self.bound_ms(newest_ms, width_ms) for width_ms, bound_ms in bounds_ms.items())
        return fine and since_ms <= self.oldest_ms(newest_ms)


def horizons_of(retentions: Mapping[Kind, Retention]) -> dict[Kind, int]:
    """Return for how many milliseconds histories are kept, by kind."""
    return {kind: keep.horizon_ms for kind, keep in retentions.items()}
