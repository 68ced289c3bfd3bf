"""Predictions from storage as features: the latest one that a payment may read, and its age.

A payment at time t reads of one name the prediction that was computed last, at t - delay or before; of several that
were computed at the same time the one with the later offset. It reads none that was computed more than `max_age` before
t, and none that came later than its delay: training could not tell when it was there.
"""

import numpy as np

from features.aggregates import PredictionPart, StoredPrediction
from features.declaration import SECOND_MS, Feature
from features.history import records
from features.history.frames import Flags, Floats
from features.history.store import Histories, Ints

NONE_READ = -1
"""Stands for the row of a prediction where none is read."""


class PredictionReader:
    """Reads the predictions that n transactions see; rows of the same name, delay and age share the search."""

    def __init__(self, histories: Histories, own_ms: Ints) -> None:
        rows, lengths = histories.rows, histories.lengths
        self._rows = rows
        self._own_ms = own_ms
        self._number = np.repeat(np.arange(len(lengths)), lengths)
        self._is_own = np.zeros(len(rows), np.bool_)
        self._is_own[np.cumsum(lengths) - 1] = True
        self._age_ms = np.repeat(own_ms, lengths) - rows[:, records.TIME]
        self._took_ms = rows[:, records.ARRIVED] - rows[:, records.TIME]
        self._read: dict[tuple[int, int, int], Ints] = {}

    def values(self, feature: Feature) -> Floats:
        """Return a row of the feature table for all transactions, shape (n,); NaN where none is read, or has no value.

        The age is in seconds; that of a prediction without a value is defined too.
        """
        stored = feature.aggregate
        assert isinstance(stored, StoredPrediction)  # noqa: S101 - `Feature` refuses any other
        places = self._places(stored.name, feature)
        is_read = places != NONE_READ
        found = np.full(len(self._own_ms), np.nan)
        if stored.part is PredictionPart.VALUE:
            found[is_read] = self._rows[places[is_read], records.AMOUNT].view(np.float64)
        else:
            found[is_read] = (self._own_ms[is_read] - self._rows[places[is_read], records.TIME]) / SECOND_MS
        return found

    def _places(self, name: str, feature: Feature) -> Ints:
        """Return the row of the prediction that each transaction reads, shape (n,); NONE_READ: it reads none."""
        key = (records.prediction_name_hash(name), feature.delay_ms, feature.window_ms or 0)
        if key not in self._read:
            self._read[key] = self._latest(np.flatnonzero(self._readable(*key)))
        return self._read[key]

    def _readable(self, name_hash: int, delay_ms: int, max_age_ms: int) -> Flags:
        """Tell which rows are predictions of a name that are old enough, not too old, and came in time."""
        in_time = (self._age_ms >= delay_ms) & (self._age_ms <= max_age_ms) & (self._took_ms <= delay_ms)
        readable: Flags = in_time & (self._rows[:, records.OTHER] == name_hash) & ~self._is_own
        return readable

    def _latest(self, readable: Ints) -> Ints:
        """Return the latest of the readable rows of each transaction, by time, then offset, then partition."""
        latest = np.full(len(self._own_ms), NONE_READ, np.int64)
        in_order = readable[records.label_order(self._rows[readable])]
        in_order = in_order[np.argsort(self._number[in_order], kind="stable")]
        number = self._number[in_order]
        is_last = np.append(number[1:] != number[:-1], np.ones(min(1, len(number)), np.bool_))
        latest[number[is_last]] = in_order[is_last]
        return latest
