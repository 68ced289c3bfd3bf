"""The contract's rules for transactions (repeated, conflict, too late) and labels (applied, corrected, stale).

They read the card's history alone and change nothing; `features.history.append` applies them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from features.history import erasure, records
from features.history.displaced import NONE_DISPLACED, Displaced
from features.history.history import History
from features.history.store import Fate, Ints
from fraudstream_client.outputs import LabelStatus


class TransactionVerdict(NamedTuple):
    """A fate, and the position of the record that it refers to: None if the transaction is to be appended."""

    fate: Fate
    position: int | None


class LabelVerdict(NamedTuple):
    """A label's status, its position if it is in the history, and its transaction's record if that is known."""

    status: LabelStatus
    position: int | None
    transaction: Ints | None


def judge_transaction(card: History, row: Ints, horizon_ms: int) -> TransactionVerdict:
    """Decide a transaction's fate from its card's history as it is now.

    The record in the history names the offset that gets the decision. So a redelivery of that offset is DECIDE,
    however late; the same transaction at any other offset or partition is REPEATED, even at an earlier one (a
    repair that began between the two made the later one the first), or both would be decided. A record beyond the
    horizon is not recognised, since it may have been trimmed. Records that came later from the same partition do
    not make a transaction late, so that one that is applied again gets its first fate. Of an erased record it is not
    known what it said: who sends it again repeats it.
    """
    rows, same = card.rows, _of_same_id(card, row)
    own = _own_record(card, row, same)
    if own is not None:
        return TransactionVerdict(Fate.DECIDE, card.base + own)
    earlier = ~records.is_label(rows[:, records.FLAGS]) & ~records.came_later(rows, row)
    times = erasure.least_times(rows) if card.is_erased else rows[:, records.TIME]
    newest_ms = int(times[earlier].max(initial=records.NO_TIME_MS))
    time_ms = int(row[records.TIME])
    if time_ms <= newest_ms - horizon_ms:
        return TransactionVerdict(Fate.TOO_LATE, None)
    for index in reversed(same):
        if newest_ms - horizon_ms < rows[index, records.TIME] < time_ms + horizon_ms:
            repeated = records.same_content(rows[index], row) or _is_erased(card, rows[index])
            return TransactionVerdict(Fate.REPEATED if repeated else Fate.CONFLICT, card.base + index)
    return TransactionVerdict(Fate.DECIDE, None)


def _is_erased(card: History, stored: Ints) -> bool:
    return card.is_erased and bool(erasure.are_erased(stored[np.newaxis], card.erased_ms)[0])


def are_held(cards: Sequence[History | None], rows: Ints) -> list[bool]:
    """Tell which of n transactions were appended to their cards' histories from the very offsets that they are at."""
    return [
        card is not None and _own_record(card, row, _of_same_id(card, row)) is not None
        for card, row in zip(cards, rows, strict=True)
    ]


def _of_same_id(card: History, row: Ints) -> list[int]:
    same: list[int] = np.flatnonzero(card.rows[:, records.ID] == row[records.ID]).tolist()
    return same


def _own_record(card: History, row: Ints, same: Sequence[int]) -> int | None:
    """Return which of the rows with the same id came from the same offset."""
    return next((index for index in same if records.same_source_offset(card.rows[index], row)), None)


def judge_label(card: History, row: Ints, horizon_ms: int, displaced: Displaced = NONE_DISPLACED) -> LabelVerdict:
    """Decide a label's status from its card's history before the label's first offset."""
    position = card.find(int(row[records.ID]))
    before = _before(card, position, row, displaced)
    labels = records.is_label(before[:, records.FLAGS])
    times = before[:, records.TIME]
    seen = times > np.where(labels, records.NO_TIME_MS, times).max(initial=records.NO_TIME_MS) - horizon_ms
    ours = np.flatnonzero(seen & ~labels & (before[:, records.ID] == row[records.OTHER]))
    transaction = before[ours[-1]].copy() if len(ours) else None
    if position is not None and not records.same_source_offset(card.at(position), row):
        status = LabelStatus.REPEATED
    elif transaction is None:
        status = LabelStatus.UNKNOWN_TRANSACTION
    else:
        earlier = seen & labels & (before[:, records.OTHER] == row[records.OTHER])
        if card.is_erased:  # what an erased label said is gone, here or wherever its record is not reduced yet
            earlier &= ~erasure.are_erased(before, card.erased_ms)
        status = _against(before[earlier], row)
    return LabelVerdict(status, position, transaction)


def _before(card: History, position: int | None, row: Ints, displaced: Displaced) -> Ints:
    """Return the records before a label's position, or all of them if it is new."""
    if position is None:
        return card.rows
    if displaced.holds(row):
        return card.seen_by(card.at(position), position, displaced=True)[:-1]
    return card.upto(position)[:-1]


def _against(earlier: Ints, row: Ints) -> LabelStatus:
    """Compare a label with the earlier ones about its transaction; of labels with equal times the later offset wins."""
    if not len(earlier):
        return LabelStatus.APPLIED
    latest = earlier[records.label_order(earlier)[-1]]
    if row[records.TIME] < latest[records.TIME]:
        return LabelStatus.STALE
    same = ((latest[records.FLAGS] ^ row[records.FLAGS]) & records.FRAUD_BIT) == 0
    return LabelStatus.APPLIED if same else LabelStatus.CORRECTED


def labels_about(card: History, transaction_id: int) -> Ints:
    """Return the labels about a transaction, wherever they lie in its card's history."""
    about: Ints = card.rows[
        records.is_label(card.rows[:, records.FLAGS]) & (card.rows[:, records.OTHER] == transaction_id)
    ]
    return about
