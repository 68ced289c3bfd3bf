"""How far back the histories of a deployment go: from the days on which its payments occurred.

Their beginning is the earliest day from which on at least half of the days have payments. So a payment that a terminal
with a wrong clock dates months back makes no history older, and neither weekends nor an outage make one younger.
"""

from collections.abc import Iterable

from features.history.store import Ints

DAY_MS = 86_400_000
KEPT_DAYS = 1_000
"""Days that lie further back than this from the newest are not kept: no feature looks so far."""


class PaymentDays:
    """The days, counted from 1970 in UTC, on which at least one payment occurred."""

    def __init__(self) -> None:
        self._days: set[int] = set()
        self._ages: dict[int, int] = {}

    def __len__(self) -> int:
        """Return how many days there are."""
        return len(self._days)

    def __contains__(self, day: int) -> bool:
        """Tell whether a payment occurred on that day."""
        return day in self._days

    @property
    def newest(self) -> int | None:
        """The last of the days; None if there are none."""
        return max(self._days, default=None)

    def add(self, days: Iterable[int]) -> set[int]:
        """Add days, and return those that are new."""
        new = {*days} - self._days
        newest = max(self._days | new, default=0)
        new = {day for day in new if day > newest - KEPT_DAYS}
        if new:
            self._days = {day for day in self._days | new if day > newest - KEPT_DAYS}
            self._ages.clear()
        return new

    def clear(self) -> None:
        """Remove all days."""
        self._days.clear()
        self._ages.clear()

    def age_on(self, day: int) -> int:
        """Return how many days before `day` the histories begin; 0 without earlier payments."""
        age = self._ages.get(day)
        if age is None:
            age = self._ages[day] = self._count_age(day)
        return age

    def _count_age(self, day: int) -> int:
        age = 0
        for count, begin in enumerate(sorted((one for one in self._days if one <= day), reverse=True), 1):
            if 2 * count >= day - begin + 1:
                age = day - begin
        return age


def days_of(times_ms: Ints) -> Ints:
    """Return the day of each time, counted from 1970 in UTC."""
    return times_ms // DAY_MS
