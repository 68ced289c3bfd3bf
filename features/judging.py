"""What becomes of a transaction or a label, by its card's history alone.

These are the rules of the contract: sent again, contradicted, too late; applied, corrected, stale. They read a
history and change nothing; `drafting` acts on them.
"""

from typing import NamedTuple

import numpy as np

from features import records
from features.histories import NO_TIME_MS, History
from features.store import Fate, Ints, LabelStatus


class Found(NamedTuple):
    """A verdict, and the position of the record that it rests on: None where the record is to be appended."""

    fate: Fate
    position: int | None


class Standing(NamedTuple):
    """A label's verdict, its position if it is there already, and its transaction's record, if that is known."""

    status: LabelStatus
    position: int | None
    transaction: Ints | None


def judge_transaction(card: History, row: Ints, horizon_ms: int) -> Found:
    """Decide a transaction's fate by all that its card's history holds at this moment.

    The record in the history names the offset that is owed the decision. So its own redelivery is DECIDE, however
    late; the same transaction from any other offset or partition is REPEATED, even from an earlier one (a repair that
    began between the two made the later one the first), or both would be decided. What lies behind the horizon is
    not recognised, since it may have been trimmed.
    """
    position = card.find(int(row[records.ID]))
    if position is not None and records.same_place(card.at(position), row):
        return Found(Fate.DECIDE, position)
    oldest_ms = card.newest_ms - horizon_ms
    if row[records.TIME] <= oldest_ms:
        return Found(Fate.TOO_LATE, card.end)
    if position is None or card.at(position)[records.TIME] <= oldest_ms:
        return Found(Fate.DECIDE, None)
    return Found(Fate.REPEATED if records.same_content(card.at(position), row) else Fate.CONFLICT, position)


def judge_label(card: History, row: Ints, horizon_ms: int) -> Standing:
    """Decide what a label does, by what its card's history held before the label's first offset."""
    position = card.find(int(row[records.ID]))
    before = card.rows if position is None else card.rows[: position - card.base]
    labels = records.is_label(before[:, records.FLAGS])
    times = before[:, records.TIME]
    seen = times > np.where(labels, NO_TIME_MS, times).max(initial=NO_TIME_MS) - horizon_ms
    ours = np.flatnonzero(seen & ~labels & (before[:, records.ID] == row[records.OTHER]))
    transaction = before[ours[-1]].copy() if len(ours) else None
    if position is not None and not records.same_place(card.at(position), row):
        status = LabelStatus.REPEATED
    elif transaction is None:
        status = LabelStatus.UNKNOWN_TRANSACTION
    else:
        status = _against(before[seen & labels & (before[:, records.OTHER] == row[records.OTHER])], row)
    return Standing(status, position, transaction)


def _against(earlier: Ints, row: Ints) -> LabelStatus:
    """Compare a label with the earlier ones of its transaction; known at the same moment, the later arrival wins."""
    if not len(earlier):
        return LabelStatus.APPLIED
    latest_ms = earlier[:, records.TIME].max()
    if row[records.TIME] < latest_ms:
        return LabelStatus.STALE
    latest = earlier[np.flatnonzero(earlier[:, records.TIME] == latest_ms)[-1]]
    same = ((latest[records.FLAGS] ^ row[records.FLAGS]) & records.FRAUD_BIT) == 0
    return LabelStatus.APPLIED if same else LabelStatus.CORRECTED


def labels_about(card: History, transaction_id: int) -> Ints:
    """Return the labels of a transaction, wherever they lie in its card's history."""
    about: Ints = card.rows[
        records.is_label(card.rows[:, records.FLAGS]) & (card.rows[:, records.OTHER] == transaction_id)
    ]
    return about
