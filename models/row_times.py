"""How long a model takes for a row: the processor time of its last calls, whatever else the machine does."""

from collections import deque
from statistics import median

LAST_CALLS = 128
LEAST_CALLS = 50
"""Below so many calls nothing is said: the first ones of a model find nothing in the processor's caches."""
_NS_IN_US = 1_000


class RowTimes:
    """The time for a row in each of a model's last calls; a call of several rows counts once, by its mean."""

    def __init__(self) -> None:
        self._row_us: deque[float] = deque(maxlen=LAST_CALLS)

    def add(self, nanoseconds: int, rows: int) -> None:
        """Add a call that took so long for at least one row."""
        self._row_us.append(nanoseconds / _NS_IN_US / rows)

    @property
    def median_us(self) -> float | None:
        """The median of the last 128 calls, in microseconds for a row; None below 50 calls."""
        last = list(self._row_us)
        return median(last) if len(last) >= LEAST_CALLS else None
