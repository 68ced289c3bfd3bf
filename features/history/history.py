"""One history in memory, and what a batch may see of many.

A history grows at its end and may lose its beginning; positions are counted since its very first record. What was
added last may still be a draft: it is confirmed by `commit` and taken back by `rollback`. What was folded (see
`features.history.panes`) lies before the log, in rows that have no positions. Nothing here does input or output, or
knows why a record is added.
"""

from collections.abc import Sequence

import numpy as np

from features.history import records
from features.history.panes import CompactionNotes, read_notes
from features.history.retention import ResolutionSchedule, Retention
from features.history.store import Ints

SMALLEST = 8
"""Rows that a new history has room for; it grows by half."""
NO_TIME_MS = -(1 << 62)
"""Newest time where there is no transaction: everything is newer."""
TRIM_FRACTION = 4
"""A history is trimmed once a quarter of it is invisible,"""
TRIM_LEAST = 16
"""and it has at least so many records."""


class History:
    """The log of one entity.

    Attributes:
        entity: the hash that names it.
        entity_id: whose it is, or "" where only the hash is known.
        columns: how wide a record is.
        base: how many records were trimmed or folded at its beginning.
        length: how many rows there are, drafts included; `committed` of them are no drafts.
        folded: what it says of what was folded; None where nothing was.
        carried: how many rows of what was folded lie before the log.
        newest_ms: the newest time of its transactions, drafts included.
        labelled: the ids of the transactions that its labels are about, drafts included; None where it has none.
    """

    __slots__ = (
        "_buffer",
        "_committed_newest_ms",
        "base",
        "columns",
        "committed",
        "entity",
        "entity_id",
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
        self.newest_ms = self._committed_newest_ms = NO_TIME_MS
        self.labelled: set[int] | None = None
        self.notes: CompactionNotes | None = None
        self.prefix_rows = 0
        self._buffer: Ints = np.empty((SMALLEST, columns), np.int64)

    @property
    def rows(self) -> Ints:
        """All records, drafts included: a view that the next append may leave behind."""
        return self._buffer[: self.length]

    @property
    def end(self) -> int:
        """The position that the next record gets."""
        return self.base + self.length - self.prefix_rows

    @property
    def committed_end(self) -> int:
        """The position behind the last settled record."""
        return self.base + self.committed - self.prefix_rows

    @property
    def log(self) -> Ints:
        """The records that have positions, drafts included."""
        return self._buffer[self.prefix_rows : self.length]

    @property
    def panes(self) -> Ints:
        """The panes."""
        return self._buffer[:0] if self.notes is None else self._buffer[self.notes.note_count : self.notes.labels_start]

    @property
    def labels(self) -> Ints:
        """The labels of folded transactions."""
        return (
            self._buffer[:0] if self.notes is None else self._buffer[self.notes.labels_start : self.notes.prefix_rows]
        )

    @property
    def nbytes(self) -> int:
        """Bytes taken."""
        return self._buffer.nbytes

    def replace(self, base: int, rows: Ints) -> None:
        """Become what the server holds, settled; `rows` is copied."""
        self.base = base
        self._buffer = np.empty((max(SMALLEST, len(rows) + len(rows) // 4 + 1), self.columns), np.int64)
        self._buffer[: len(rows)] = rows
        self.length = len(rows)
        self.notes = read_notes(rows)
        self.prefix_rows = 0 if self.notes is None else self.notes.prefix_rows
        log = self.log
        labels, times = records.is_label(log[:, records.FLAGS]), log[:, records.TIME]
        self.labelled = set(log[labels, records.OTHER].tolist()) or None
        if self.labelled:
            times = times[~labels]
        self.newest_ms = int(times.max(initial=NO_TIME_MS))
        self.commit()

    def append(self, row: Ints, time_ms: int | None) -> int:
        """Add a draft and return its position; `time_ms` is the time of a transaction, None for a label."""
        if self.length == len(self._buffer):
            grown = np.empty((self.length + self.length // 2, self.columns), np.int64)
            grown[: self.length] = self._buffer
            self._buffer = grown
        self._buffer[self.length] = row
        self.length += 1
        if time_ms is None:
            self.labelled = self.labelled or set()
            self.labelled.add(int(row[records.OTHER]))
        elif time_ms > self.newest_ms:
            self.newest_ms = time_ms
        return self.end - 1

    @property
    def last_id(self) -> int:
        """The id of the last settled record; there has to be one."""
        return self._buffer.item(self.committed - 1, records.ID)

    def find(self, record_id: int, time_ms: int | None = None) -> int | None:
        """Return the position of the last record with this id, and of this time where one is given, or None.

        A folded transaction has none any more.
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
        """Return the position of a transaction that is not in the log if it was folded, else None.

        It has lost its own: it sees the history as it is now, as if it had come last.
        """
        return self.end - 1 if self.notes is not None and self.notes.holds(row) else None

    @property
    def is_full(self) -> bool:
        """Whether the next record needs a larger buffer."""
        return self.length == len(self._buffer)

    def upto(self, position: int) -> Ints:
        """Return all that is there up to a position, itself included, and all that was folded."""
        note_count = 0 if self.notes is None else self.notes.note_count
        return self._buffer[note_count : self.prefix_rows + position - self.base + 1]

    def upto_with_own(self, position: int, own: Ints) -> Ints:
        """Return all that is there up to a position, and one's own record last even if it was folded."""
        rows = self.upto(position)
        if self.notes is None or rows[-1, records.ID] == own[records.ID]:
            return rows
        return np.concatenate((rows, own[np.newaxis]))

    def without_later(self, position: int, own: Ints) -> Ints:
        """Return all that is there, one's own record last, without those that its own partition has behind it.

        One that was folded sees all: of what was folded with it, nothing can be left out.
        """
        if self.at(position)[records.ID] != own[records.ID]:
            return self.upto_with_own(position, own)
        rows = self.upto(self.end - 1)
        others = ~records.came_later(rows, own)
        others[position - self.end] = False
        return np.concatenate((rows[others], own[np.newaxis]))

    def at(self, position: int) -> Ints:
        """Return the record at a position."""
        row: Ints = self._buffer[self.prefix_rows + position - self.base]
        return row

    def uncommitted(self) -> Ints:
        """Return the records that are not settled."""
        return self._buffer[self.committed : self.length]

    def commit(self) -> None:
        """Confirm the drafts."""
        self.committed = self.length
        self._committed_newest_ms = self.newest_ms

    def rollback(self) -> None:
        """Take back the drafts."""
        self.length = self.committed
        self.newest_ms = self._committed_newest_ms

    def splice(self, tail: Ints) -> None:
        """Settle the drafts behind a tail that others appended first, leaving out the drafts that it holds already."""
        mine = self.uncommitted()
        mine = mine[~np.isin(mine[:, records.ID], tail[:, records.ID])]
        self.replace(self.base, np.concatenate((self._buffer[: self.committed], tail, mine)))

    def expired_count(self, horizon_ms: int) -> int:
        """Return how many records at the beginning are out of sight for good, 0 while they are not worth trimming."""
        if self.length < TRIM_LEAST or self.newest_ms == NO_TIME_MS:
            return 0
        seen = self.rows[:, records.TIME] > self.newest_ms - horizon_ms
        first = int(seen.argmax())
        return first if first * TRIM_FRACTION >= self.length else 0

    def trim(self, count: int) -> None:
        """Drop settled records from the beginning; the positions of the others stay."""
        self.replace_prefix(count, self._buffer[:0])

    def replace_prefix(self, count: int, prefix_rows: Ints) -> None:
        """Take so many settled records out of the log, and carry other rows before it than before."""
        self.replace(self.base + count, np.concatenate((prefix_rows, self.log[count:])))


def known_before(histories: Sequence[History], ids: Ints) -> list[int]:
    """Return which of `ids`, one for each history, may be in it already: indexes, ascending."""
    columns = [h._buffer[: h.length, records.ID] for h in histories]  # noqa: SLF001 - the same module
    lengths = np.fromiter(map(len, columns), np.int64, len(columns))
    hits = np.flatnonzero(np.concatenate(columns) == np.repeat(ids, lengths)) if columns else ()
    if not len(hits):
        return []
    found: list[int] = np.unique(np.searchsorted(np.cumsum(lengths), hits, side="right")).tolist()
    return found


def visible(rows: Ints, lengths: Ints, within: ResolutionSchedule | Retention) -> tuple[Ints, Ints]:
    """Leave out of parts of histories, `rows` one after the other, what the last record of each may not see.

    That is what lies behind the horizon, counted from the newest transaction of the part. The last record is always in.

    Returns:
        The rows that are left, and how many they are of each part.
    """
    last = np.cumsum(lengths) - 1
    starts = last - lengths + 1
    times = np.ascontiguousarray(rows[:, records.TIME])
    of_transactions = np.where(records.is_transaction(rows[:, records.FLAGS]), times, NO_TIME_MS)
    newest = np.maximum.reduceat(of_transactions, starts)
    seen = times > np.repeat(within.oldest_ms(newest), lengths)
    seen[last] = True
    if seen.all():
        return rows, lengths
    return rows.compress(seen, axis=0), np.add.reduceat(seen, starts, dtype=np.int64)
