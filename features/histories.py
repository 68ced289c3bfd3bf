"""One history in memory, and what a batch may see of many.

A history grows at its end and may lose its beginning; positions are counted since its very first record. What was
added last may still be a draft: it is confirmed by `settle` and taken back by `retract`. Nothing here does input or
output, or knows why a record is added.
"""

from collections.abc import Sequence

import numpy as np

from features import records
from features.store import Ints

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
        base: how many records were trimmed from its beginning.
        length: how many there are, drafts included; `settled` of them are no drafts.
        newest_ms: the newest time of its transactions, drafts included.
        labelled: the ids of the transactions that its labels are about, drafts included; None where it has none.
    """

    __slots__ = (
        "_buffer",
        "_settled_newest_ms",
        "base",
        "columns",
        "entity",
        "entity_id",
        "labelled",
        "length",
        "newest_ms",
        "settled",
    )

    def __init__(self, entity: int, entity_id: str, columns: int) -> None:
        self.entity = entity
        self.entity_id = entity_id
        self.columns = columns
        self.base = self.length = self.settled = 0
        self.newest_ms = self._settled_newest_ms = NO_TIME_MS
        self.labelled: set[int] | None = None
        self._buffer: Ints = np.empty((SMALLEST, columns), np.int64)

    @property
    def rows(self) -> Ints:
        """All records, drafts included: a view that the next append may leave behind."""
        return self._buffer[: self.length]

    @property
    def end(self) -> int:
        """The position that the next record gets."""
        return self.base + self.length

    @property
    def room(self) -> int:
        """Bytes taken."""
        return self._buffer.nbytes

    def replace(self, base: int, rows: Ints) -> None:
        """Become what the server holds, settled; `rows` is copied."""
        self.base = base
        self._buffer = np.empty((max(SMALLEST, len(rows) + len(rows) // 4 + 1), self.columns), np.int64)
        self._buffer[: len(rows)] = rows
        self.length = len(rows)
        labels, times = records.is_label(rows[:, records.FLAGS]), rows[:, records.TIME]
        self.labelled = set(rows[labels, records.OTHER].tolist()) or None
        if self.labelled:
            times = times[~labels]
        self.newest_ms = int(times.max(initial=NO_TIME_MS))
        self.settle()

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
        return self.base + self.length - 1

    @property
    def last_id(self) -> int:
        """The id of the last settled record; there has to be one."""
        return self._buffer.item(self.settled - 1, records.ID)

    def find(self, record_id: int, time_ms: int | None = None) -> int | None:
        """Return the position of the last record with this id, and of this time where one is given, or None."""
        same = self.rows[:, records.ID] == record_id
        if time_ms is not None:
            same &= self.rows[:, records.TIME] == time_ms
        found = np.flatnonzero(same)
        return self.base + int(found[-1]) if len(found) else None

    @property
    def is_full(self) -> bool:
        """Whether the next record needs a larger buffer."""
        return self.length == len(self._buffer)

    def upto(self, position: int) -> Ints:
        """Return all records that are there up to a position, itself included."""
        return self._buffer[: position - self.base + 1]

    def but_later(self, position: int) -> Ints:
        """Return all records, that at a position last, without those that its own partition has behind it."""
        own = self.at(position)
        others = ~records.came_later(self.rows, own)
        others[position - self.base] = False
        return np.concatenate((self.rows[others], own[np.newaxis]))

    def at(self, position: int) -> Ints:
        """Return the record at a position."""
        row: Ints = self._buffer[position - self.base]
        return row

    def drafts(self) -> Ints:
        """Return the records that are not settled."""
        return self._buffer[self.settled : self.length]

    def settle(self) -> None:
        """Confirm the drafts."""
        self.settled = self.length
        self._settled_newest_ms = self.newest_ms

    def retract(self) -> None:
        """Take back the drafts."""
        self.length = self.settled
        self.newest_ms = self._settled_newest_ms

    def splice(self, tail: Ints) -> None:
        """Settle the drafts behind a tail that others appended first, leaving out the drafts that it holds already."""
        mine = self.drafts()
        mine = mine[~np.isin(mine[:, records.ID], tail[:, records.ID])]
        self.replace(self.base, np.concatenate((self._buffer[: self.settled], tail, mine)))

    def invisible(self, horizon_ms: int) -> int:
        """Return how many records at the beginning are out of sight for good, 0 while they are not worth trimming."""
        if self.length < TRIM_LEAST or self.newest_ms == NO_TIME_MS:
            return 0
        seen = self.rows[:, records.TIME] > self.newest_ms - horizon_ms
        first = int(seen.argmax())
        return first if first * TRIM_FRACTION >= self.length else 0

    def trim(self, count: int) -> None:
        """Drop settled records from the beginning; the positions of the others stay."""
        kept = self.rows[count:].copy()
        self.replace(self.base + count, kept)


def known_before(histories: Sequence[History], column: int, values: Ints) -> list[int]:
    """Return which of `values`, one for each history, occur in a column of it: indexes, ascending."""
    columns = [h._buffer[: h.length, column] for h in histories]  # noqa: SLF001 - the same module
    lengths = np.fromiter(map(len, columns), np.int64, len(columns))
    hits = np.flatnonzero(np.concatenate(columns) == np.repeat(values, lengths)) if columns else ()
    if not len(hits):
        return []
    found: list[int] = np.unique(np.searchsorted(np.cumsum(lengths), hits, side="right")).tolist()
    return found


def visible(rows: Ints, lengths: Ints, horizon_ms: int) -> tuple[Ints, Ints]:
    """Leave out of parts of histories, `rows` one after the other, what the last record of each may not see.

    That is what lies behind the horizon, counted from the newest transaction of the part. The last record is always in.

    Returns:
        The rows that are left, and how many they are of each part.
    """
    last = np.cumsum(lengths) - 1
    starts = last - lengths + 1
    times = np.ascontiguousarray(rows[:, records.TIME])
    of_transactions = np.where(records.is_label(rows[:, records.FLAGS]), NO_TIME_MS, times)
    newest = np.maximum.reduceat(of_transactions, starts)
    seen = times > np.repeat(newest - horizon_ms, lengths)
    seen[last] = True
    if seen.all():
        return rows, lengths
    return rows.compress(seen, axis=0), np.add.reduceat(seen, starts, dtype=np.int64)
