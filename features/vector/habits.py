"""How usual a transaction is for its card (category, channel, time of day), and features of its time alone.

Shares are exact integers until the last division. Wall clocks are those of the places where the payments happened.
"""

import numpy as np

from features.declaration import DAY_MS, HOUR_MS, MINUTE_MS
from features.history import records
from features.history.frames import NEVER_MS, Floats, Frame, Window
from features.history.records import Trait
from features.history.store import Ints, Transactions
from features.own_payment import hours

NEAR_MS = 2 * HOUR_MS
"""Transactions within this distance count as at the same time of day."""
DAYS_OF_WEEK = 7
LAST_NIGHT_HOUR = 6
EPOCH_WEEKDAY = 3
"""1970-01-01 was a Thursday; Monday is 0."""
SATURDAY = 5


def category_share(window: Window) -> Floats:
    """Divide the others of own merchant category (MCC) by the others that have one.

    Formula: |{i : category(i) = category(own)}| / |{i : i has a category}|, over the others of the window.
    Edges: undefined if own has none, or no other has one.
    Source: aggregation by merchant group in Bahnsen et al., Expert Systems with Applications 51 (2016) 134-142, as a
        share.
    """
    return _share_of_own(window, records.CATEGORY)


def channel_share(window: Window) -> Floats:
    """Divide the others through own channel by the others that have one.

    Formula: |{i : channel(i) = channel(own)}| / |{i : i has a channel}|, over the others of the window.
    Edges: undefined if own has none, or no other has one.
    Source: aggregation by transaction type in Bahnsen et al., Expert Systems with Applications 51 (2016) 134-142, as a
        share.
    """
    return _share_of_own(window, records.CHANNEL)


def time_of_day_share(window: Window) -> Floats:
    """Return the share of the others within 2 hours of own time of day, each by its own wall clock.

    Formula: |{i : d(i) <= 2 h}| / |others|, where d is the shorter way around the day: with u the wall clock's ms since
        midnight, d(i) = min(|u(i) - u(own)|, 24 h - |u(i) - u(own)|).
    Edges: undefined if there is no other; daylight saving moves nothing, since each goes by its own wall clock.
    Source: the time of a transaction against its card's periodic habit in Bahnsen et al., Expert Systems with
        Applications 51 (2016) 134-142, who fit a von Mises distribution; a share within a distance is exact.
    """
    frame = window.frame
    wall_ms = (
        frame.time + records.unpack_trait(frame.traits, records.CLOCK) * MINUTE_MS
    )  # off by whole days, which cancel out below
    behind_ms = wall_ms - frame.of_own(wall_ms) + NEAR_MS
    around_ms = behind_ms - behind_ms // DAY_MS * DAY_MS
    near = window.counted(window.others & (around_ms <= 2 * NEAR_MS))
    return _share(near, window.count - window.own)


def seconds_since_last(frame: Frame) -> Floats:
    """Return the seconds since the latest other transaction that is not later than one's own.

    Formula: min(t - t(i)) / 1000, over the others with t(i) <= t.
    Edges: 0 if one is of the same millisecond; undefined if there is none within the horizon.
    Source: recency in Van Vlasselaer et al., APATE, Decision Support Systems 75 (2015) 38-48.
    """
    others = frame.earlier.copy()
    others[frame.last] = False
    gaps = np.minimum.reduceat(np.where(others, frame.age, NEVER_MS), frame.starts)
    return np.where(gaps == NEVER_MS, np.nan, gaps / 1000.0)


def is_night(transactions: Transactions) -> Floats:
    """Tell whether the hour is 0 to 6 by the local clock.

    Formula: 1 if hour(t + offset) <= 6, else 0.
    Edges: a time without an offset is taken as UTC.
    Source: Le Borgne et al., Fraud Detection Handbook, ULB (2022), Baseline feature transformation.
    """
    return (hours(transactions) <= LAST_NIGHT_HOUR).astype(np.float64)


def is_weekend(transactions: Transactions) -> Floats:
    """Tell whether it is a Saturday or a Sunday by the local clock.

    Formula: 1 if weekday(t + offset) is Saturday or Sunday, else 0.
    Edges: a time without an offset is taken as UTC.
    Source: Le Borgne et al., Fraud Detection Handbook, ULB (2022), Baseline feature transformation.
    """
    weekday = (transactions.wall_clock_ms // DAY_MS + EPOCH_WEEKDAY) % DAYS_OF_WEEK
    return (weekday >= SATURDAY).astype(np.float64)


def _share_of_own(window: Window, trait: Trait) -> Floats:
    """Divide the others with own value of a trait by those that have any."""
    frame = window.frame
    present = (frame.traits & trait.mask) != 0
    others_present = window.others & present
    same = window.counted(others_present & ((frame.trait_differences & trait.mask) == 0))
    return _share(same, window.counted(others_present) * present[frame.last])


def _share(part: Ints, whole: Ints) -> Floats:
    """Divide counts; NaN if the whole is 0."""
    below = whole.astype(np.float64)
    below[whole == 0] = np.nan
    share: Floats = part / below
    return share
