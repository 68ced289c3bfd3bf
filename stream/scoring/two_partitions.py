"""Detects cards whose transactions come from two partitions, as happens with producers of different partitioners.

Each record of a history knows its partition, so nothing else is kept, and a repair brings the knowledge back with the
records. A card that moved for good, because its topic got more partitions or was made anew, is not meant: what the old
partition brought occurred before what the new one brings.
"""

import numpy as np
from numpy.typing import NDArray

from features.declaration import DAY_MS
from features.history import records
from features.history.history import NO_TIME_MS, seen_by, visible
from features.history.store import Histories, Ints, LongHistory
from stream.consumer import OFFSETS_OF_A_LOG

CARD_ON_TWO_PARTITIONS = "card_on_two_partitions"
"""The entry of `degraded`: the order of this card's transactions is not that of any partition."""
SETTLED_MS = DAY_MS
"""Once another partition has brought nothing of a card for this long, the card counts as being on one partition."""

Flags = NDArray[np.bool_]


def on_two_partitions(cards: Histories) -> Flags:
    """Mark which of n transactions are of a card that is on two partitions, shape (n,).

    It is if another partition of the same log brought a transaction that occurred after the first visible one of this
    partition, and less than SETTLED_MS before this one.
    """
    found = np.zeros(len(cards.positions), np.bool_)
    if len(cards.lengths):
        found[cards.short] = _are_divided(cards.rows, cards.lengths)
    for history in cards.long:
        partitions = _partitions(history.rows[: int(history.places.max()) + 1])
        if (partitions != partitions[0]).any() or (_partitions(history.own) != partitions[0]).any():
            found[history.numbers] = [_are_divided(*_seen(history, at))[0] for at in range(len(history.numbers))]
    return found


def _seen(history: LongHistory, at: int) -> tuple[Ints, Ints]:
    """Return what one of the transactions that share a long history sees, and its length."""
    place, compacted = int(history.places[at]), history.compacted
    rows = seen_by(history.own[at], history.rows, place, displaced=bool(history.displaced[at]), compacted=compacted)
    return visible(rows, np.array([len(rows)]), history.within)


def _are_divided(rows: Ints, lengths: Ints) -> Flags:
    """Mark the histories, concatenated with a transaction's own record last in each, whose cards are on two partitions.

    Those with one partition alone, as nearly all are, are told apart first.
    """
    last = np.cumsum(lengths) - 1
    starts = last - lengths + 1
    partitions = _partitions(rows)
    found: Flags = np.minimum.reduceat(partitions, starts) != np.maximum.reduceat(partitions, starts)
    which = np.flatnonzero(found)
    if not len(which):
        return found
    own, rows, lengths = rows[last[which]], rows[np.repeat(found, lengths)], lengths[which]
    times, starts = rows[:, records.TIME], np.cumsum(lengths) - lengths
    same_log = np.repeat(_logs(own), lengths) == _logs(rows)
    is_meant = records.is_transaction(rows[:, records.FLAGS]) & same_log
    is_own = np.repeat(_partitions(own), lengths) == _partitions(rows)
    first_ms = np.minimum.reduceat(np.where(is_meant & is_own, times, records.LATEST_MS), starts)
    newest_ms = np.maximum.reduceat(np.where(is_meant & ~is_own, times, NO_TIME_MS), starts)
    found[which] = newest_ms > np.maximum(first_ms, own[:, records.TIME] - SETTLED_MS)
    return found


def _partitions(rows: Ints) -> Ints:
    return records.partitions(rows[:, records.FLAGS])


def _logs(rows: Ints) -> Ints:
    return rows[:, records.OFFSET] // OFFSETS_OF_A_LOG
