"""Predictions from storage in the histories of their cards: appended if absent, and what payments see of them.

A prediction is no transaction: it is in no other history, and a payment is not appended to it. So a payment sees all
predictions that its card's log had when it was observed, within the horizon; how many these were is its position there.
`features.vector.vectorise` chooses among them by time.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from features.history import erasure, records
from features.history.history import History, visible
from features.history.retention import ResolutionSchedule, Retention
from features.history.store import Histories, Ints, Prediction
from fraudstream_client.outputs import PredictionStatus

_NOTHING: Ints = np.empty((0, records.PREDICTION_COLUMNS), np.int64)


class AppendedPrediction(NamedTuple):
    """What became of a prediction, and its position in its card's predictions."""

    status: PredictionStatus
    position: int


def append_prediction(history: History, row: Ints) -> AppendedPrediction:
    """Append a prediction's record, shape (7,), if it is absent; uncommitted.

    The record that is there names the offset that was applied: a redelivery of that offset is APPLIED, the same
    prediction at another one REPEATED.
    """
    position = history.find(int(row[records.ID]))
    if position is None:
        return AppendedPrediction(PredictionStatus.APPLIED, history.append(row, int(row[records.TIME])))
    is_same = records.same_source_offset(history.at(position), row)
    return AppendedPrediction(PredictionStatus.APPLIED if is_same else PredictionStatus.REPEATED, position)


def is_late(prediction: Prediction, delays_ms: Mapping[str, int]) -> bool:
    """Tell whether a prediction came later than the longest delay of its name: no row of these reads it.

    That follows from its record alone, so that it is the same at every delivery. A name that no row reads has no delay.
    """
    delay_ms = delays_ms.get(prediction.name)
    return delay_ms is not None and prediction.arrived_ms - prediction.computed_ms > delay_ms


def visible_predictions(
    histories: Sequence[History | None],
    own_ms: Ints,
    within: ResolutionSchedule | Retention,
    cards: Sequence[History | None],
) -> Histories:
    """Return what each of n transactions sees of its card's predictions, all that are there; None: there are none.

    `own_ms`, of shape (n,), are the transactions' times; `cards` say up to when predictions are erased.
    """
    parts = [_NOTHING if history is None else history.log for history in histories]
    for at, card in enumerate(cards):
        if card is not None and card.is_erased:
            parts[at] = parts[at][~erasure.are_erased(parts[at], card.erased_ms)]
    counts = np.fromiter((0 if one is None else one.end for one in histories), np.int64, len(histories))
    return prediction_histories(parts, own_ms, counts, within)


def prediction_histories(
    parts: Sequence[Ints], own_ms: Ints, positions: Ints, within: ResolutionSchedule | Retention
) -> Histories:
    """Put the predictions that each of n transactions may see side by side, each part with the transaction's time last.

    A part is int64 of shape (its predictions, 7). What is beyond the horizon is left out, counted from the newest of a
    part, and from the transaction's own time.
    """
    own = np.zeros((len(parts), records.PREDICTION_COLUMNS), np.int64)
    own[:, records.TIME] = own_ms
    lengths = np.fromiter(map(len, parts), np.int64, len(parts)) + 1
    if not len(parts):
        return Histories(own, lengths, positions)
    rows = np.concatenate([piece for at, part in enumerate(parts) for piece in (part, own[at : at + 1])])
    return Histories(*visible(rows, lengths, within), positions)


class PredictionLog:
    """The predictions of many cards as columns: for batch work, where it is known beforehand what was there when.

    `rows`, int64 of shape (n, 7), has the cards one after the other, each in the order of its log; `cards`, int64 of
    shape (n,), their hashes, ascending.
    """

    def __init__(self, rows: Ints, cards: Ints) -> None:
        self._rows = rows
        self._cards = cards

    def seen(self, cards: Ints, own_ms: Ints, counts: Ints, within: ResolutionSchedule | Retention) -> Histories:
        """Return what each of n transactions sees: the first `counts` predictions of its card, shape (n,)."""
        starts = np.searchsorted(self._cards, cards, side="left")
        ends = np.minimum(starts + counts, np.searchsorted(self._cards, cards, side="right"))
        parts = [self._rows[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
        return prediction_histories(parts, own_ms, ends - starts, within)

    def arrived(self, cards: Ints, until_ms: Ints) -> Ints:
        """Return how many predictions of each card had arrived by a time, where a card's log is in that order."""
        starts = np.searchsorted(self._cards, cards, side="left")
        ends = np.searchsorted(self._cards, cards, side="right")
        arrived_ms = self._rows[:, records.ARRIVED]
        spans = zip(starts.tolist(), ends.tolist(), until_ms.tolist(), strict=True)
        counts = [int(np.searchsorted(arrived_ms[start:end], at_ms, side="right")) for start, end, at_ms in spans]
        return np.array(counts, np.int64)
