"""Rows of compacted histories: panes, each of which sums up the transactions of one interval, and notes.

A pane has the columns of a record:

    TIME    the end of the pane, its last millisecond
    AMOUNT  sum of the amounts, in minor units
    OTHER   the largest amount
    ID      sum of the squared amounts, divided by 2^62
    OFFSET  the remainder of that division
    FLAGS   from the lowest bit: 32 number of transactions, …, 3 the currency's exponent, …, the pane bit

There is one row for each pane and exponent, more where a row is full; a row holds fewer than 2^22 transactions of at
most 10^12 each, so nothing overflows. Merging rows is exact, in any order.

Notes are the first rows of a compacted history:

    first note   TIME the history epoch, AMOUNT number of notes, OTHER number of panes, OFFSET number of labels,
                 ID the time up to which nothing is kept
    bounds       one for each resolution: AMOUNT the resolution, TIME up to when all records are at least so coarse
    offsets      one for each partition: OFFSET the highest offset among the compacted transactions

After the notes come the panes, the labels of compacted transactions, and the log. The first three have no positions;
the log's base counts the compacted records.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.history import records
from features.history.store import Ints

FULL = 1 << 21
"""A row with so many transactions takes no more."""
REMAINDER_BITS = 62
_FIRST = records.NOTE_BIT | records.PANE_BIT
_BOUND = records.NOTE_BIT | records.LABEL_BIT
_HALF = 20
"""Amounts of at most 2^40 are squared in halves of so many bits."""
_LIMB = 32
_LIMB_MASK = (1 << _LIMB) - 1


class CompactionNotes(NamedTuple):
    """The notes of one compacted history.

    `epoch` is the history epoch of the compaction: only under that epoch are the counts complete. `since_ms` is the
    time up to which nothing is kept. `bounds_ms` says by resolution, the finest first, up to when everything is in
    panes at least so wide. `offsets` holds by partition the highest offset among the compacted transactions.
    """

    epoch: int
    since_ms: int
    panes: int
    labels: int
    bounds_ms: Mapping[int, int]
    offsets: Mapping[int, int]

    @property
    def note_count(self) -> int:
        """The number of notes."""
        return 1 + len(self.bounds_ms) + len(self.offsets)

    @property
    def labels_start(self) -> int:
        """The first row that has an id: labels, then the log."""
        return self.note_count + self.panes

    @property
    def prefix_rows(self) -> int:
        """How many rows lie before the log."""
        return self.labels_start + self.labels

    @property
    def until_ms(self) -> int:
        """No later transaction was compacted."""
        return max(self.bounds_ms.values())

    def holds(self, row: Ints) -> bool:
        """Tell whether a transaction that is not in the log was compacted.

        Each partition's transactions are appended in the order of their offsets. So one whose offset is not
        above the highest compacted one was compacted too, or is still in the log. Its time is checked as well,
        so that transactions of a recreated topic, whose offsets start again, are not taken for compacted ones.
        """
        partition = int(row[records.FLAGS]) >> records.PARTITION_SHIFT
        in_time = self.since_ms < row[records.TIME] <= self.until_ms
        return bool(in_time) and int(row[records.OFFSET]) <= self.offsets.get(partition, -1)

    def note_rows(self, columns: int) -> Ints:
        """Return the notes as rows."""
        rows = np.zeros((self.note_count, columns), np.int64)
        rows[0, records.TIME], rows[0, records.AMOUNT] = self.epoch, self.note_count
        rows[0, records.OTHER], rows[0, records.OFFSET] = self.panes, self.labels
        rows[0, records.ID] = self.since_ms
        rows[0, records.FLAGS] = _FIRST
        bounds = rows[1 : 1 + len(self.bounds_ms)]
        bounds[:, records.AMOUNT], bounds[:, records.TIME] = list(self.bounds_ms), list(self.bounds_ms.values())
        bounds[:, records.FLAGS] = _BOUND
        offsets = rows[1 + len(self.bounds_ms) :]
        offsets[:, records.OFFSET] = list(self.offsets.values())
        offsets[:, records.FLAGS] = np.array(list(self.offsets), np.int64) << records.PARTITION_SHIFT
        offsets[:, records.FLAGS] |= records.NOTE_BIT
        return rows


def read_notes(rows: Ints) -> CompactionNotes | None:
    """Read the notes at a history's beginning; None if it is not compacted."""
    if not len(rows) or rows[0, records.FLAGS] != _FIRST:
        return None
    first = rows[0].tolist()
    note_rows = rows[1 : first[records.AMOUNT]]
    bound = note_rows[:, records.FLAGS] == _BOUND
    bounds, offsets = note_rows[bound], note_rows[~bound]
    partitions = (offsets[:, records.FLAGS] & ~records.NOTE_BIT) >> records.PARTITION_SHIFT
    return CompactionNotes(
        epoch=first[records.TIME],
        since_ms=first[records.ID],
        panes=first[records.OTHER],
        labels=first[records.OFFSET],
        bounds_ms=_mapping(bounds[:, records.AMOUNT], bounds[:, records.TIME]),
        offsets=_mapping(partitions, offsets[:, records.OFFSET]),
    )


def is_compacted(rows: Ints) -> bool:
    """Tell whether rows begin with the notes of a compacted history, and have no notes or panes behind its prefix."""
    if not len(rows) or rows[0, records.FLAGS] != _FIRST:
        return False
    counts_of = [int(rows[0, column]) for column in (records.AMOUNT, records.OTHER, records.OFFSET)]
    if min(counts_of) < 0 or counts_of[0] < 1 or sum(counts_of) > len(rows):
        return False
    notes = read_notes(rows)
    if notes is None or notes.note_count != counts_of[0] or not notes.bounds_ms:
        return False
    return is_plain(rows[notes.labels_start :]) and records.are_valid(rows[notes.note_count :])


def is_plain(rows: Ints) -> bool:
    """Tell whether rows are records alone, without notes and panes."""
    return not (rows[:, records.FLAGS] & _FIRST).any()


def _mapping(keys: Ints, values: Ints) -> Mapping[int, int]:
    return MappingProxyType(dict(zip(keys.tolist(), values.tolist(), strict=True)))


def counts(rows: Ints) -> Ints:
    """Return how many transactions each row stands for: 1 for a record, 0 for a label or a note."""
    flags = rows[:, records.FLAGS]
    held = np.where(flags & records.PANE_BIT, flags & records.CONTENT_MASK, 1)
    held[(flags & (records.LABEL_BIT | records.NOTE_BIT)) != 0] = 0
    return held


def peaks(rows: Ints) -> Ints:
    """Return the largest amount of each row, in minor units."""
    return np.where(rows[:, records.FLAGS] & records.PANE_BIT, rows[:, records.OTHER], rows[:, records.AMOUNT])


def squares(rows: Ints) -> tuple[Ints, Ints]:
    """Return the sum of squares of each row in two parts, worth first * 2^62 + second.

    The second is below 2^63, but not always below 2^62.
    """
    amounts = rows[:, records.AMOUNT]
    upper, lower = amounts >> _HALF, amounts & ((1 << _HALF) - 1)
    middle = ((upper * upper) << _HALF) + 2 * upper * lower
    shift = REMAINDER_BITS - _HALF
    low = ((middle & ((1 << shift) - 1)) << _HALF) + lower * lower
    panes = (rows[:, records.FLAGS] & records.PANE_BIT) != 0
    return np.where(panes, rows[:, records.ID], middle >> shift), np.where(panes, rows[:, records.OFFSET], low)


def merge(rows: Ints, ends_ms: Ints) -> Ints:
    """Merge transactions and panes into panes; each row goes to the pane that ends at its `ends_ms`.

    Args:
        rows: of shape (n, 6), transactions and panes only.
        ends_ms: of shape (n,).
    """
    if not len(rows):
        return rows
    exponents, held = records.exponents(rows[:, records.FLAGS]), counts(rows)
    full = held >= FULL
    order = np.lexsort((full, exponents, ends_ms))
    rows, ends_ms, exponents, held, full = rows[order], ends_ms[order], exponents[order], held[order], full[order]
    starts = np.flatnonzero(_begins(ends_ms, exponents, held, full))
    made = np.empty((len(starts), rows.shape[1]), np.int64)
    made[:, records.TIME] = ends_ms[starts]
    made[:, records.AMOUNT] = np.add.reduceat(rows[:, records.AMOUNT], starts)
    made[:, records.OTHER] = np.maximum.reduceat(peaks(rows), starts)
    made[:, records.ID], made[:, records.OFFSET] = _summed(squares(rows), starts)
    flags = np.add.reduceat(held, starts) | (exponents[starts] << records.EXPONENT_SHIFT)
    made[:, records.FLAGS] = flags | records.PANE_BIT
    return made


def _begins(ends_ms: Ints, exponents: Ints, held: Ints, full: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mark the ordered rows that start a new pane row: another pane or exponent, a full row, or one too many."""
    another = np.ones(len(held), np.bool_)
    another[1:] = (ends_ms[1:] != ends_ms[:-1]) | (exponents[1:] != exponents[:-1]) | full[1:]
    before = np.cumsum(held)
    first = np.maximum.accumulate(np.where(another, np.arange(len(held)), 0))
    part = (before - (before - held)[first]) // FULL
    another[1:] |= part[1:] != part[:-1]
    return another


def _summed(parts: tuple[Ints, Ints], starts: Ints) -> tuple[Ints, Ints]:
    """Add up sums of squares by group, with a low part below 2^62."""
    high, low = parts
    lower = np.add.reduceat(low & _LIMB_MASK, starts)
    upper = np.add.reduceat(low >> _LIMB, starts) + (lower >> _LIMB)
    shift = REMAINDER_BITS - _LIMB
    prefix_rows = np.add.reduceat(high, starts) + (upper >> shift)
    return prefix_rows, ((upper & ((1 << shift) - 1)) << _LIMB) | (lower & _LIMB_MASK)


def totals(values: Ints, starts: Ints) -> NDArray[np.object_]:
    """Add up non-negative integers by group, as Python integers, which do not overflow."""
    upper, lower = np.add.reduceat(values >> _LIMB, starts), np.add.reduceat(values & _LIMB_MASK, starts)
    whole: NDArray[np.object_] = (upper.astype(object) << _LIMB) + lower.astype(object)
    return whole
