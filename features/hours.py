"""What a transaction's own time says: how long ago the one before was, night, weekend.

Wall clocks are those of the places where it happened. Nothing here looks at a window.
"""

import numpy as np

from features.declaration import DAY_MS, HOUR_MS, MINUTE_MS
from features.frames import Floats, Frame
from features.store import Ints, Transactions

DAYS_OF_WEEK = 7
HOURS_OF_DAY = 24
LAST_NIGHT_HOUR = 6
EPOCH_WEEKDAY = 3
"""1970-01-01 was a Thursday; Monday is 0."""
SATURDAY = 5
NEVER_MS = np.int64(1 << 62)


def seconds_since_last(frame: Frame) -> Floats:
    """Return the seconds since the latest other transaction that is not later than one's own.

    Formula: min(t - t(i)) / 1000, over the others with t(i) <= t.
    Edges: 0 where one is of the same millisecond; undefined where there is none within the horizon.
    Source: recency in Van Vlasselaer et al., APATE, Decision Support Systems 75 (2015) 38-48.
    """
    others = frame.earlier.copy()
    others[frame.last] = False
    gaps = np.minimum.reduceat(np.where(others, frame.age, NEVER_MS), frame.starts)
    return np.where(gaps == NEVER_MS, np.nan, gaps / 1000.0)


def is_night(transactions: Transactions) -> Floats:
    """Tell whether the hour is 0 to 6 by the clock of the place where it happened.

    Formula: 1 if hour(t + offset) <= 6, else 0.
    Edges: a time without an offset of its own is taken as UTC.
    Source: Le Borgne et al., Fraud Detection Handbook, ULB (2022), Baseline feature transformation.
    """
    hours = _wall_clock_ms(transactions) // HOUR_MS % HOURS_OF_DAY
    return (hours <= LAST_NIGHT_HOUR).astype(np.float64)


def is_weekend(transactions: Transactions) -> Floats:
    """Tell whether it is a Saturday or a Sunday by the clock of the place where it happened.

    Formula: 1 if weekday(t + offset) is Saturday or Sunday, else 0.
    Edges: a time without an offset of its own is taken as UTC.
    Source: Le Borgne et al., Fraud Detection Handbook, ULB (2022), Baseline feature transformation.
    """
    weekday = (_wall_clock_ms(transactions) // DAY_MS + EPOCH_WEEKDAY) % DAYS_OF_WEEK
    return (weekday >= SATURDAY).astype(np.float64)


def _wall_clock_ms(transactions: Transactions) -> Ints:
    return transactions.occurred_ms + transactions.utc_offset_minutes * MINUTE_MS
