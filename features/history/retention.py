"""Retention of histories: full resolution at first, then ever wider panes, then expiry.

A pane of resolution r is an interval (k r, (k + 1) r] of whole milliseconds since 1970; a resolution of one millisecond
is exact. Every bound is moved back to the edge of a pane, so that no pane is ever cut.
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
"""The resolution of records that are not merged into panes."""
SHORTEST_SLACK_MS = 86_400_000
"""The least slack of features with a finer resolution than the longest window's, see `_tail_ms`."""
UNCOMPACTED_MS = 3_600_000
"""Where all features are paned, records stay this long as they are, so that a redelivery finds what it saw first."""


@dataclass(frozen=True, slots=True)
class ResolutionSchedule:
    """The resolution that the features of one set need, by age: one step for each resolution, the finest first.

    A feature of resolution `resolutions_ms[i]` reads records younger than `tails_ms[i]`, counted from the newest
    transaction of the history; older ones may be merged into panes of the next resolution. The last tail is the
    horizon. Each resolution divides the next; the first is EXACT_MS.
    """

    resolutions_ms: tuple[int, ...]
    tails_ms: tuple[int, ...]

    @property
    def allows_panes(self) -> bool:
        """Whether records may be merged into panes at all."""
        return len(self.resolutions_ms) > 1

    @property
    def horizon_ms(self) -> int:
        """The age at which records expire, apart from rounding."""
        return self.tails_ms[-1]

    def seen_after(self, newest_ms: Moments, resolution_ms: int) -> Moments:
        """Return the moment after which features of a resolution read the records of a history."""
        step = self.resolutions_ms.index(resolution_ms)
        grid_ms = self.resolutions_ms[min(step + 1, len(self.resolutions_ms) - 1)]
        return (newest_ms - self.tails_ms[step]) // grid_ms * grid_ms

    def oldest_ms(self, newest_ms: Moments) -> Moments:
        """Return the moment after which records are visible."""
        return self.seen_after(newest_ms, self.resolutions_ms[-1])

    def exact_after(self, newest_ms: Moments) -> Moments:
        """Return the moment after which records must not be merged."""
        return self.seen_after(newest_ms, EXACT_MS)


def exact(horizon_ms: int) -> ResolutionSchedule:
    """Return the schedule of features that are all exact, up to a horizon."""
    return ResolutionSchedule((EXACT_MS,), (horizon_ms,))


def schedule_for(reach_ms: Mapping[int, int], slack_ms: int) -> ResolutionSchedule:
    """Return the schedule for features that look back so far, by resolution.

    `slack_ms` is the slack of the longest window.
    """
    resolutions_ms = sorted({EXACT_MS, *reach_ms})
    tails_ms = [_tail_ms(reach_ms.get(resolution), slack_ms) for resolution in resolutions_ms]
    horizon_ms = slack_ms + max(reach_ms.values(), default=0)
    return ResolutionSchedule(tuple(resolutions_ms), (*accumulate(tails_ms[:-1], max), horizon_ms))


def _tail_ms(reach_ms: int | None, slack_ms: int) -> int:
    """Return how long features that look back so far need their own resolution; None: no such feature.

    A transaction may be older than its history's newest one by the slack and still find these windows complete: by
    as much as they look back, but by a day at least, and at most by the slack of the longest window.
    """
    if reach_ms is None:
        return UNCOMPACTED_MS
    return reach_ms + min(slack_ms, max(SHORTEST_SLACK_MS, reach_ms))


@dataclass(frozen=True)
class Retention:
    """How long, and at which resolution, histories of one kind are kept for one or several schedules."""

    schedules: tuple[ResolutionSchedule, ...]

    @cached_property
    def allows_panes(self) -> bool:
        """Whether records may be merged into panes at all."""
        return any(schedule.allows_panes for schedule in self.schedules)

    @cached_property
    def horizon_ms(self) -> int:
        """The age at which records expire for every schedule, apart from rounding."""
        return max(schedule.horizon_ms for schedule in self.schedules)

    @cached_property
    def oldest_age_ms(self) -> int:
        """The age at which records expire for every schedule, whatever the rounding."""
        return max(schedule.horizon_ms + schedule.resolutions_ms[-1] - 1 for schedule in self.schedules)

    def oldest_ms(self, newest_ms: Moments) -> Moments:
        """Return the moment after which records are visible to some schedule."""
        first, *others = (schedule.oldest_ms(newest_ms) for schedule in self.schedules)
        for other in others:
            first = np.minimum(first, other)
        return first

    def bounds_ms(self, newest_ms: int) -> dict[int, int]:
        """Return, by pane width from the finest on, the moment up to which records may be in panes so wide."""
        widths_ms = sorted({width for schedule in self.schedules for width in schedule.resolutions_ms} - {EXACT_MS})
        return {width_ms: self.bound_ms(newest_ms, width_ms) // width_ms * width_ms for width_ms in widths_ms}

    def bound_ms(self, newest_ms: int, width_ms: int) -> int:
        """Return the moment after which panes of a width would be read by features that need finer ones."""
        return min(
            schedule.seen_after(newest_ms, resolution_ms)
            for schedule in self.schedules
            for resolution_ms in schedule.resolutions_ms
            if resolution_ms % width_ms
        )

    def allows(self, since_ms: int, bounds_ms: Mapping[int, int], newest_ms: int) -> bool:
        """Tell whether a history kept since `since_ms`, in panes up to `bounds_ms`, is long and fine enough."""
        fine = all(bound_ms <= self.bound_ms(newest_ms, width_ms) for width_ms, bound_ms in bounds_ms.items())
        return fine and since_ms <= self.oldest_ms(newest_ms)


def horizons_of(retentions: Mapping[Kind, Retention]) -> dict[Kind, int]:
    """Return the horizons in milliseconds, by kind."""
    return {kind: keep.horizon_ms for kind, keep in retentions.items()}
