"""One history in memory: an append-only log that may lose its beginning.

A position counts records since the log's very first one. Appended records are uncommitted until `commit`; `rollback`
removes them. In a compacted history notes, panes and labels lie before the log, in rows without positions (see
`features.history.panes`).
"""

from collections.abc import Sequence
from typing import NoReturn

import numpy as np

from features.history import erasure, records
from features.history.panes import CompactionNotes, read_notes
from features.history.retention import ResolutionSchedule, Retention
from features.history.store import Ints

RowView = tuple[Ints, int, int, int]
"""A contiguous matrix, its rows from one up to another, and the address of the first of these."""
SMALLEST = 8
"""Initial capacity in rows; the buffer grows by half."""
TRIM_FRACTION = 4
"""A history is trimmed if at least a quarter of its records have expired,"""
TRIM_LEAST = 16
"""and it has at least this many records."""
FEW = 4
"""So few histories are searched one by one: joining them costs as much as searching them."""
MANY = 4096
"""A history of so many rows is searched once for all records of a batch."""


class History:
    """The log of one entity.

    Attributes:
        entity: the hash that names it.
        entity_id: the entity's id, or "" if only the hash is known.
        columns: columns of a record.
        base: how many records were trimmed or compacted from its beginning.
        length: how many rows there are, uncommitted ones included; the first `committed` rows are committed.
        notes: the notes of the compacted part; None if nothing was compacted.
        prefix_rows: how many rows of the compacted part lie before the log.
        newest_ms: the newest time of its transactions, uncommitted ones included.
        erased_ms: up to when nothing sees its records, see `features.history.erasure`; NO_TIME_MS without an erasure.
        labelled: the ids of the transactions that its labels are about, uncommitted ones included; None if it has none.
    """

    __slots__ = (
        "_address",
        "_buffer",
        "_committed_erased_ms",
        "_committed_newest_ms",
        "base",
        "columns",
        "committed",
        "entity",
        "entity_id",
        "erased_ms",
        "labelled",
        "length",
        "newest_ms",
        "notes",
        "prefix_rows",
    )

    def __init__(self, entity: int, entity_id: str, columns: int) -> None:
        self.entity = entity
        self.entity_id = entity_id
        self.columns = columns
        self.base = self.length = self.committed = 0
        self.newest_ms = self._committed_newest_ms = records.NO_TIME_MS
        self.erased_ms = self._committed_erased_ms = records.NO_TIME_MS
        self.labelled: set[int] | None = None
        self.notes: CompactionNotes | None = None
        self.prefix_rows = 0
        self._buffer: Ints = np.empty((SMALLEST, columns), np.int64)
        self._address: int | None = None

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied: the address of the rows would be another's."""
        raise TypeError("a history is neither pickled nor copied: `replace` the rows of a new one")

    @property
    def rows(self) -> Ints:
        """All rows, uncommitted ones included: a view that the next append may invalidate."""
        return self._buffer[: self.length]

    @property
    def end(self) -> int:
        """The position of the next record."""
        return self.base + self.length - self.prefix_rows

    @property
    def committed_end(self) -> int:
        """The position after the last committed record."""
        return self.base + self.committed - self.prefix_rows

    @property
    def log(self) -> Ints:
        """The records that have positions, uncommitted ones included."""
        return self._buffer[self.prefix_rows : self.length]

    @property
    def panes(self) -> Ints:
        """The panes."""
        return self._buffer[:0] if self.notes is None else self._buffer[self.notes.note_count : self.notes.labels_start]

    @property
    def labels(self) -> Ints:
        """The labels of compacted transactions."""
        return (
            self._buffer[:0] if self.notes is None else self._buffer[self.notes.labels_start : self.notes.prefix_rows]
        )

    @property
    def nbytes(self) -> int:
        """Bytes of the buffer."""
        return self._buffer.nbytes

    def replace(self, base: int, rows: Ints) -> None:
        """Replace everything by committed rows, which are copied, as the server holds them."""
        self._hold(base, rows)
        self.notes = read_notes(rows)
        self.prefix_rows = 0 if self.notes is None else self.notes.prefix_rows
        log = self.log
        labels, times = records.is_label(log[:, records.FLAGS]), log[:, records.TIME]
        self.labelled = set(log[labels, records.OTHER].tolist()) or None
        if self.labelled:
            times = times[~labels]
            self.erased_ms = max(self.erased_ms, erasure.erased_until(self.rows))
            if self.is_erased:
                times = erasure.least_times(log[~labels])
        self.newest_ms = int(times.max(initial=records.NO_TIME_MS))
        self.commit()

    def replace_by_transactions(self, base: int, rows: Ints, newest_ms: int) -> None:
        """Do what `replace` does with records that are all transactions, the newest of this time."""
        self._hold(base, rows)
        self.notes, self.prefix_rows, self.labelled, self.newest_ms = None, 0, None, newest_ms
        self.commit()

    def _hold(self, base: int, rows: Ints) -> None:
        self.base, self._address, self.length = base, None, len(rows)
        self._buffer = np.empty((max(SMALLEST, len(rows) + len(rows) // 4 + 1), self.columns), np.int64)
        self._buffer[: len(rows)] = rows

    def append(self, row: Ints, time_ms: int | None) -> int:
        """Append an uncommitted record and return its position; `time_ms` is a transaction's time, None for a label."""
        if self.length == len(self._buffer):
            grown = np.empty((self.length + self.length // 2, self.columns), np.int64)
            grown[: self.length] = self._buffer
            self._buffer, self._address = grown, None
        self._buffer[self.length] = row
        self.length += 1
        if time_ms is None:
            self.labelled = self.labelled or set()
            self.labelled.add(int(row[records.OTHER]))
            self.erased_ms = max(self.erased_ms, erasure.erased_until(row[np.newaxis]))
        elif time_ms > self.newest_ms:
            self.newest_ms = time_ms
        return self.base + self.length - self.prefix_rows - 1

    @property
    def last_id(self) -> int:
        """The id of the last committed record; there must be one."""
        return self._buffer.item(self.committed - 1, records.ID)

    def find(self, record_id: int, time_ms: int | None = None) -> int | None:
        """Return the position of the last record with this id, and with this time if given, or None.

        A compacted transaction is not found: it has no position any more.
        """
        first = 0 if self.notes is None else self.notes.labels_start
        rows = self._buffer[first : self.length]
        same = rows[:, records.ID] == record_id
        if time_ms is not None:
            same &= rows[:, records.TIME] == time_ms
        found = np.flatnonzero(same)
        if not len(found):
            return None
        place = first + int(found[-1])
        if place < self.prefix_rows:
            return self._buffer.item(place, records.FLAGS) & records.CONTENT_MASK
        return self.base + place - self.prefix_rows

    def position_if_compacted(self, row: Ints) -> int | None:
        """Return a position for a transaction that is not in the log but was compacted, else None.

        Its own position is lost: it sees the history as it is now, as if it had come last.
        """
        return self.end - 1 if self.notes is not None and self.notes.holds(row) else None

    @property
    def is_erased(self) -> bool:
        """Whether some of its records may be erased."""
        return self.erased_ms != records.NO_TIME_MS

    def erase_until(self, erased_ms: int) -> None:
        """Take it that an erasure is known which is not among its rows, or not yet."""
        self.erased_ms = self._committed_erased_ms = max(self.erased_ms, erased_ms)

    def reduced(self, erased_ms: int) -> Ints | None:
        """Return all rows, those of erased records reduced to what is kept of them; None if none is to be reduced."""
        which = erasure.are_to_reduce(self.rows, erased_ms)
        return erasure.reduced(self.rows, which) if which.any() else None

    @property
    def is_full(self) -> bool:
        """Whether the next append enlarges the buffer."""
        return self.length == len(self._buffer)

    def upto(self, position: int) -> Ints:
        """Return all records up to and including a position, and the compacted part."""
        note_count = 0 if self.notes is None else self.notes.note_count
        return self._buffer[note_count : self.prefix_rows + position - self.base + 1]

    def view_upto(self, position: int) -> RowView:
        """Return where the records up to and including a position lie; there must be no compacted part."""
        if self._address is None:
            self._address = self._buffer.ctypes.data
        return self._buffer, 0, position - self.base + 1, self._address

    def seen_by(self, own: Ints, position: int, *, displaced: bool) -> Ints:
        """Return what the transaction at a position may see, see `seen_by`; nothing that is erased."""
        rows = seen_by(own, self.whole, self.place_of(position), displaced=displaced, compacted=self.notes is not None)
        return erasure.seen(rows, own, self.erased_ms) if self.is_erased else rows

    @property
    def whole(self) -> Ints:
        """All records and the compacted part, as `upto` returns them."""
        return self.upto(self.end - 1)

    def place_of(self, position: int) -> int:
        """Return the row of `whole` that has the record at a position."""
        return len(self.whole) - self.end + position

    def at(self, position: int) -> Ints:
        """Return the record at a position."""
        row: Ints = self._buffer[self.prefix_rows + position - self.base]
        return row

    def uncommitted(self) -> Ints:
        """Return the records that are not committed."""
        return self._buffer[self.committed : self.length]

    def commit(self) -> None:
        """Commit the appended records."""
        self.committed = self.length
        self._committed_newest_ms, self._committed_erased_ms = self.newest_ms, self.erased_ms

    def rollback(self) -> None:
        """Remove the uncommitted records."""
        self.length = self.committed
        self.newest_ms, self.erased_ms = self._committed_newest_ms, self._committed_erased_ms

    def splice(self, tail: Ints) -> None:
        """Commit after a tail that others appended first, leaving out own records that the tail contains."""
        mine = self.uncommitted()
        mine = mine[~np.isin(mine[:, records.ID], tail[:, records.ID])]
        self.replace(self.base, np.concatenate((self._buffer[: self.committed], tail, mine)))

    def expired_count(self, horizon_ms: int) -> int:
        """Return how many records at the beginning have expired for good, 0 while trimming is not worthwhile."""
        if self.length < TRIM_LEAST or self.newest_ms == records.NO_TIME_MS:
            return 0
        seen = self.rows[:, records.TIME] > self.newest_ms - horizon_ms
        first = int(seen.argmax())
        return first if first * TRIM_FRACTION >= self.length else 0

    def trim(self, count: int) -> None:
        """Drop committed records from the beginning; the other records keep their positions."""
        self.replace_prefix(count, self._buffer[:0])

    def replace_prefix(self, count: int, prefix_rows: Ints) -> None:
        """Remove `count` committed records from the log, and replace the rows before it."""
        self.replace(self.base + count, np.concatenate((prefix_rows, self.log[count:])))


def known_before(histories: Sequence[History], ids: Ints) -> list[int]:
    """Return the indexes of those `ids`, one for each history, that the history may already hold; ascending."""
    columns = [h._buffer[: h.length, records.ID] for h in histories]  # noqa: SLF001 - the same module
    if len(columns) <= FEW:
        return [i for i, (column, one) in enumerate(zip(columns, ids.tolist(), strict=True)) if (column == one).any()]
    lengths = np.fromiter(map(len, columns), np.int64, len(columns))
    if int(lengths.max()) >= MANY:
        return _known_to_each(histories, ids)
    hits = np.flatnonzero(np.concatenate(columns) == np.repeat(ids, lengths))
    if not len(hits):
        return []
    found: list[int] = np.unique(np.searchsorted(np.cumsum(lengths), hits, side="right")).tolist()
    return found


def _known_to_each(histories: Sequence[History], ids: Ints) -> list[int]:
    """Return the same; each history is searched once for all ids that it may hold."""
    numbers: dict[History, list[int]] = {}
    for i, history in enumerate(histories):
        numbers.setdefault(history, []).append(i)
    known = list[int]()
    for history, which in numbers.items():
        column, wanted = history.rows[:, records.ID], np.sort(ids[which])
        nearest = wanted[np.minimum(np.searchsorted(wanted, column), len(wanted) - 1)]
        held = set(column[nearest == column].tolist())
        known += [i for i in which if int(ids[i]) in held]
    return sorted(known)


def seen_by(own: Ints, rows: Ints, place: int, *, displaced: bool, compacted: bool) -> Ints:
    """Return what a transaction may see of a history's `rows`, of which its record or what stands for it is at `place`.

    This is everything up to there, with one's own record last even if it was compacted. A displaced transaction sees
    all records but those that came later from its own source; if it was compacted, it sees everything, since compacted
    rows cannot be left out singly.
    """
    is_there = rows[place, records.ID] == own[records.ID]
    if displaced and is_there:
        others = ~records.came_later(rows, own)
        others[place] = False
        return np.concatenate((rows[others], own[np.newaxis]))
    return rows[: place + 1] if is_there or not compacted else np.concatenate((rows[: place + 1], own[np.newaxis]))


def visible(rows: Ints, lengths: Ints, within: ResolutionSchedule | Retention) -> tuple[Ints, Ints]:
    """Drop from concatenated parts of histories the records that the last record of each part may not see.

    These are the records beyond the horizon, counted from the newest transaction of the part. The last record
    always stays.

    Returns:
        The remaining rows, and their number in each part.
    """
    last = np.cumsum(lengths) - 1
    starts = last - lengths + 1
    times = np.ascontiguousarray(rows[:, records.TIME])
    of_transactions = np.where(records.is_transaction(rows[:, records.FLAGS]), times, records.NO_TIME_MS)
    newest = np.maximum.reduceat(of_transactions, starts)
    seen = times > np.repeat(within.oldest_ms(newest), lengths)
    seen[last] = True
    if seen.all():
        return rows, lengths
    return rows.compress(seen, axis=0), np.add.reduceat(seen, starts, dtype=np.int64)
