"""Detects cards whose transactions come from two partitions, as happens with producers of different partitioners.

Each record of a history knows its partition, so nothing else is kept, and a repair brings the knowledge back with the
records. A card that moved for good, because its topic got more partitions or was made anew, is not meant: what the old
partition brought occurred before what the new one brings.
"""

import numpy as np
from numpy.typing import NDArray

from features.declaration import DAY_MS
from features.history import records
from features.history.history import seen_by, visible
from features.history.store import Histories, Ints, LongHistory
from features.history.views import spans_of
from features.vector.vectorise import KERNEL
from fraudstream_client.validity import OFFSETS_OF_A_LOG

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
    short = cards.short
    if len(short):
        found[short] = _are_short_divided(cards)
    for history in cards.long:
        partitions = _partitions(history.rows[: int(history.places.max()) + 1])
        if (partitions != partitions[0]).any() or (_partitions(history.own) != partitions[0]).any():
            found[history.numbers] = _of_long_history(history)
    return found


def _are_short_divided(cards: Histories) -> Flags:
    """Mark which of the transactions that see short histories are of a card on two partitions.

    Without several partitions there is nothing to tell, so only the histories that have some are copied.
    """
    if KERNEL is None:
        return _are_divided(cards.rows, cards.lengths)
    several = KERNEL.several_partitions(spans_of(cards))
    if several.any():
        several[several] = _are_divided(*cards.part(several))
    return several


def _of_long_history(history: LongHistory) -> Flags:
    """Mark which of the k transactions that share a long history are of a card on two partitions, shape (k,).

    Those that see all up to their own record are told together; what the others see is copied for each.
    """
    found = np.zeros(len(history.numbers), np.bool_)
    is_there = history.rows[history.places, records.ID] == history.own[:, records.ID]
    is_plain = ~np.array(history.displaced, np.bool_) & (is_there | (not history.compacted))
    for at in np.flatnonzero(~is_plain).tolist():
        found[at] = _are_divided(*_seen(history, at))[0]
    places = history.places[is_plain]
    if len(places):
        found[is_plain] = _LongPrefixes(history, places).are_divided()
    return found


def _seen(history: LongHistory, at: int) -> tuple[Ints, Ints]:
    """Return what one of the transactions that share a long history sees, and its length."""
    place, compacted = int(history.places[at]), history.compacted
    rows = seen_by(history.own[at], history.rows, place, displaced=bool(history.displaced[at]), compacted=compacted)
    return visible(rows, np.array([len(rows)]), history.within)


class _LongPrefixes:
    """The beginnings of a long history up to the records at `places`, each one's own record last.

    The rows before the first of these places are looked at once for all of them.
    """

    def __init__(self, history: LongHistory, places: Ints) -> None:
        self._start, end = int(places.min()), int(places.max()) + 1
        self._at = places - self._start
        rows = history.rows[:end]
        self._partitions, self._logs, self._times = _partitions(rows), _logs(rows), rows[:, records.TIME]
        self._is_transaction = records.is_transaction(rows[:, records.FLAGS])
        newest_ms = self._newest_ms(self._is_transaction)
        self._after_ms: Ints = np.asarray(history.within.oldest_ms(newest_ms), np.int64)
        self._places = places

    def are_divided(self) -> Flags:
        """Mark the beginnings, shape (k,); those whose own records came from one partition are told together."""
        found = np.zeros(len(self._places), np.bool_)
        sources = np.stack((self._partitions[self._places], self._logs[self._places]), axis=1)
        for partition, log in np.unique(sources, axis=0).tolist():
            which = np.flatnonzero((sources == (partition, log)).all(axis=1))
            found[which] = self._are_divided_from(partition, log, which)
        return found

    def _are_divided_from(self, partition: int, log: int, which: Ints) -> Flags:
        is_meant, is_own = self._is_transaction & (self._logs == log), self._partitions == partition
        newest_ms = self._newest_ms(is_meant & ~is_own)[which]
        own_ms, after_ms = self._times[self._places[which]], self._after_ms[which]
        found: Flags = (newest_ms > after_ms) & (newest_ms > own_ms - SETTLED_MS)
        if found.any():
            first_ms = np.minimum(self._first_ms(is_meant & is_own, which[found]), own_ms[found])
            found[found] = newest_ms[found] > first_ms
        return found

    def _newest_ms(self, is_meant: Flags) -> Ints:
        """Return the newest time of some records in each of the beginnings, shape (k,)."""
        times = np.where(is_meant, self._times, records.NO_TIME_MS)
        times[self._start] = times[: self._start + 1].max()
        newest: Ints = np.maximum.accumulate(times[self._start :])[self._at]
        return newest

    def _first_ms(self, is_meant: Flags, which: Ints) -> Ints:
        """Return the first visible time of some records in some of the beginnings, shape of `which`.

        Of the records before the first place, only those matter that expire within the batch, and the first one that
        does not.
        """
        after_ms = self._after_ms[which]
        before = self._times[: self._start][is_meant[: self._start]]
        lasting = before > after_ms.max()
        expiring = np.sort(before[(before > after_ms.min()) & ~lasting])
        candidates = np.append(expiring, before[lasting].min(initial=records.LATEST_MS))
        first_ms: Ints = candidates[np.searchsorted(candidates, after_ms, side="right")]
        recent = np.where(is_meant, self._times, records.NO_TIME_MS)[self._start :]
        for at, (end, oldest_ms) in enumerate(zip(self._at[which].tolist(), after_ms.tolist(), strict=True)):
            some = recent[:end]
            first_ms[at] = min(first_ms[at], some[some > oldest_ms].min(initial=records.LATEST_MS))
        return first_ms


def _are_divided(rows: Ints, lengths: Ints) -> Flags:
    """Mark the histories, concatenated with a transaction's own record last in each, whose cards are on two partitions.

    Those with one partition alone, as nearly all are, are told apart first.
    """
    partitions = _partitions(rows)
    if not (partitions != partitions[0]).any():
        return np.zeros(len(lengths), np.bool_)
    last = lengths.cumsum() - 1
    changes = np.zeros(len(rows), np.bool_)
    np.not_equal(partitions[1:], partitions[:-1], out=changes[:-1])
    changes[last] = False  # between two cards
    if not changes.any():
        return np.zeros(len(lengths), np.bool_)
    found: Flags = np.logical_or.reduceat(changes, last - lengths + 1)
    which = np.flatnonzero(found)
    own, rows, lengths = rows[last[which]], rows[np.repeat(found, lengths)], lengths[which]
    times, starts = rows[:, records.TIME], np.cumsum(lengths) - lengths
    same_log = np.repeat(_logs(own), lengths) == _logs(rows)
    is_meant = records.is_transaction(rows[:, records.FLAGS]) & same_log
    is_own = np.repeat(_partitions(own), lengths) == _partitions(rows)
    first_ms = np.minimum.reduceat(np.where(is_meant & is_own, times, records.LATEST_MS), starts)
    newest_ms = np.maximum.reduceat(np.where(is_meant & ~is_own, times, records.NO_TIME_MS), starts)
    found[which] = newest_ms > np.maximum(first_ms, own[:, records.TIME] - SETTLED_MS)
    return found


def _partitions(rows: Ints) -> Ints:
    return records.partitions(rows[:, records.FLAGS])


def _logs(rows: Ints) -> Ints:
    return rows[:, records.OFFSET] // OFFSETS_OF_A_LOG
