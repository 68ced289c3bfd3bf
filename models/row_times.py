"""How long a model takes for a row, its features included: the processor time of its last calls, whatever else runs.

A model that is slow on some of its rows has a usual median, so the upper quantiles are told as well.
"""

import math
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

LAST_CALLS = 512
LEAST_CALLS = 50
"""Below so many calls nothing is said: the first ones of a model find nothing in the processor's caches."""
LEAST_CALLS_OF_P99 = 200
"""Below so many calls the 99th percentile is that of one or two calls, in which something else may have happened."""
_NS_IN_US = 1_000


class RowQuantiles(NamedTuple):
    """Microseconds of processor time for a row: the median of the last calls, and how long the slowest take.

    `features_us` is the median of that part which computes the features; `p99_us` is None until there are 200 calls.
    """

    median_us: float
    p95_us: float
    p99_us: float | None
    features_us: float


class RowTimes:
    """The time for a row in each of a model's last calls; a call of several rows counts once, by its mean."""

    def __init__(self) -> None:
        self._calls: deque[tuple[float, float]] = deque(maxlen=LAST_CALLS)

    def add(self, nanoseconds: int, rows: int, features_ns: float = 0.0) -> None:
        """Add a call that took so long for at least one row, and the time that the features of one row took."""
        self._calls.append((nanoseconds / rows + features_ns, features_ns))

    @property
    def quantiles(self) -> RowQuantiles | None:
        """The quantiles of the last 512 calls; None below 50 calls."""
        calls = list(self._calls)
        if len(calls) < LEAST_CALLS:
            return None
        times, features = sorted(call[0] for call in calls), sorted(call[1] for call in calls)
        p99 = _at(times, 0.99) if len(calls) >= LEAST_CALLS_OF_P99 else None
        return RowQuantiles(_at(times, 0.5), _at(times, 0.95), p99, _at(features, 0.5))

    @property
    def median_us(self) -> float | None:
        """The median of the last 512 calls, in microseconds for a row; None below 50 calls."""
        found = self.quantiles
        return None if found is None else found.median_us


def _at(ascending: Sequence[float], part: float) -> float:
    return ascending[math.ceil(part * len(ascending)) - 1] / _NS_IN_US
