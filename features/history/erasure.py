"""Erasures: up to a time, nothing sees a card's records, and its history keeps of each its id, its place and its day.

An erasure is a row of the card's history, a label about no transaction, so it has a position. Where it lies does not
matter: the latest erased time of the whole history holds for all of it, whatever came first. `reduced` rows are what
is left of records; a record stands in the row where it was, so that no position changes and what is sent again is
found. TIME of such a row is the end of its day: as long as the record itself would be found, it is.

What an erased card's payments left with merchants and devices stays there until their horizon.
"""

import numpy as np
from numpy.typing import NDArray

from features.history import records
from features.history.store import Ints

DAY_MS = 86_400_000


def erased_until(rows: Ints) -> int:
    """Return the latest erased time among rows, shape (n, columns); `records.NO_TIME_MS` if none is an erasure."""
    erasures = rows[records.exponents(rows[:, records.FLAGS]) == records.ERASURE]
    return int(erasures[:, records.TIME].max(initial=records.NO_TIME_MS))


def are_erased(rows: Ints, erased_ms: int) -> NDArray[np.bool_]:
    """Mark the rows of a card's history, or of its predictions, that nothing sees; erasures among them.

    A label goes with its transaction; one whose transaction is not there, by the time that it gives for it.
    """
    flags, times = rows[:, records.FLAGS], rows[:, records.TIME]
    labels = records.is_label(flags)
    gone: NDArray[np.bool_] = records.are_marked(flags) | (~labels & (times <= erased_ms))
    about = labels & ~gone
    if about.any():
        others, occurred_ms = rows[:, records.OTHER], rows[:, records.AMOUNT]
        is_there = np.isin(others, rows[~labels & ~gone, records.ID])
        by_time = (occurred_ms != 0) & (occurred_ms <= erased_ms) & ~is_there
        gone |= about & (_are_about(rows, gone & ~labels) | by_time)
    return gone


def _are_about(rows: Ints, transactions: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mark the labels about some of the transactions, which are marked as well."""
    return np.isin(rows[:, records.OTHER], rows[transactions, records.ID])


def seen(rows: Ints, own: Ints, erased_ms: int) -> Ints:
    """Return the rows that a transaction sees; its own, the last one, stays whatever its time, as it came."""
    kept = ~are_erased(rows, erased_ms)
    kept[-1] = True
    left: Ints = rows[kept]
    left[-1] = own
    return left


def are_to_reduce(rows: Ints, erased_ms: int) -> NDArray[np.bool_]:
    """Mark the rows of which more is kept than an erasure leaves.

    A label stays as it is until its transaction is there: that takes it to the merchant, in a repair after the erasure.
    """
    gone, flags = are_erased(rows, erased_ms), rows[:, records.FLAGS]
    labels = records.is_label(flags)
    return gone & ~records.are_marked(flags) & (~labels | _are_about(rows, gone & ~labels))


def reduced(rows: Ints, which: NDArray[np.bool_]) -> Ints:
    """Return rows of a card's history, or of its predictions, with some of them reduced to id, place and day.

    A label keeps the id of its transaction, too.
    """
    left = rows[which]
    labels = records.is_label(left[:, records.FLAGS])
    kept_flags = np.where(labels, ~records.FRAUD_BIT, records.PARTITION_MASK)
    kept_flags &= ~(records.EXPONENT_MASK << records.EXPONENT_SHIFT)
    left[:, records.FLAGS] = (left[:, records.FLAGS] & kept_flags) | records.MARKED
    left[:, records.TIME] = _ends_of_days(left[:, records.TIME])
    left[:, records.AMOUNT] = np.where(labels, _ends_of_days(left[:, records.AMOUNT]), 0)
    left[~labels, records.OTHER] = 0
    left[:, records.SHARED_COLUMNS :] = 0
    if rows.shape[1] == records.PREDICTION_COLUMNS:
        left[:, records.ARRIVED] = left[:, records.TIME]
    result = rows.copy()
    result[which] = left
    return result


def _ends_of_days(times_ms: Ints) -> Ints:
    """Return the last millisecond of each time's day in UTC; 0, for no time, stays."""
    return np.where(times_ms == 0, 0, times_ms // DAY_MS * DAY_MS + DAY_MS - 1)


def least_times(rows: Ints) -> Ints:
    """Return when the record of each row occurred at the earliest: a reduced row's day begins then."""
    times = rows[:, records.TIME]
    left = records.exponents(rows[:, records.FLAGS]) == records.REDUCED
    return np.where(left, times - (DAY_MS - 1), times)
