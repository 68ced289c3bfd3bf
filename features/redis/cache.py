"""What a worker remembers of the histories on a server, bounded in bytes, and how a history is written there.

A value is a header of 80 bytes (u64 base position, u64 format, 64 bytes of the entity's id, padded with zeros) and the
records. Nothing here talks to the server.
"""

import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from features.errors import StoreRefusedError
from features.history import records
from features.history.history import History
from features.history.store import Entity, Ints

HEADER = struct.Struct("<QQ64s")
PLAIN, FOLDED = 2, 3
"""Formats: a log alone, or one with what `features.history.panes` says before it."""
ASK = struct.Struct("<IqII")
ABSENT, REFRESH = 1, 2
"""Flags of observe.lua."""
PER_ENTRY = 600
"""Bytes of an entry beside its records, roughly."""


class Cached(History):
    """A history as the server has it, plus drafts.

    Attributes:
        kind: what kind of history it is.
        key: the server's name for it, in ASCII.
        refreshed_ms: when the server was last told, through us, to keep it, by the wall clock; 0: never.
        tidied_end: how far it reached when it was last looked at for trimming.
        weighed: its room when a cache last took it in; 0: it is in none.
    """

    __slots__ = ("key", "kind", "refreshed_ms", "tidied_end", "weighed")

    def __init__(self, kind: Entity, entity: int, entity_id: str, key: bytes) -> None:
        super().__init__(entity, entity_id, records.COLUMNS[kind])
        self.kind = kind
        self.key = key
        self.refreshed_ms = self.tidied_end = self.weighed = 0

    @property
    def record_bytes(self) -> int:
        """How long a record is on the server."""
        return self.columns * records.COLUMN_BYTES

    @property
    def is_absent(self) -> bool:
        """Whether the server is thought to have nothing of it."""
        return self.settled == 0

    def take(self, value: bytes | None) -> None:
        """Become what the server holds.

        Raises:
            StoreRefusedError: the value is written in a format of a later version.
        """
        self.refreshed_ms = 0
        if value is None:
            self.replace(0, np.empty((0, self.columns), np.int64))
            return
        base, written, entity_id = HEADER.unpack_from(value)
        if written not in {PLAIN, FOLDED}:
            raise StoreRefusedError(
                f"{self.key.decode()}: a history in format {written}, where this version writes {PLAIN} and {FOLDED}. "
                "Run the version that wrote it, or another FRAUDSTREAM_DEPLOYMENT."
            )
        self.entity_id = entity_id.rstrip(b"\0").decode()
        self.replace(base, np.frombuffer(value, records.STORED, offset=HEADER.size).reshape(-1, self.columns))

    def splice_bytes(self, tail: bytes) -> None:
        """Settle the drafts behind a tail as the server returned it."""
        self.splice(np.frombuffer(tail, records.STORED).reshape(-1, self.columns))

    def header(self) -> bytes:
        """Return the header of the value."""
        return self._header(self.base, PLAIN if self.folded is None else FOLDED)

    def _header(self, base: int, written: int) -> bytes:
        return HEADER.pack(base, written, self.entity_id.encode())

    def contradicts(self, end: int, last_id: int) -> bool:
        """Tell whether a history that ended so, with this last record, cannot have become this one without a loss."""
        if end > self.settled_end:
            return True
        return end > self.base and int(self.at(end - 1)[records.ID]) != last_id

    def ask(self, stale_ms: int) -> bytes:
        """Return what observe.lua is told of this history; its expiry is set anew if it was last at `stale_ms`."""
        settled = self.settled
        flags = REFRESH if self.refreshed_ms <= stale_ms else 0
        start = HEADER.size + (settled - 1) * self.record_bytes
        if settled == 0:
            return ASK.pack(start, 0, self.length, flags | ABSENT)
        return ASK.pack(start, self.last_id, self.length - settled, flags)

    def cut(self, count: int) -> tuple[bytes, bytes, int, bytes]:
        """Return what trim.lua is told to drop so many records."""
        kept_id = struct.pack("<q", int(self.rows[count, records.ID]))
        return struct.pack("<Q", self.base), struct.pack("<Q", self.base + count), count * self.record_bytes, kept_id

    def rewriting(self, leaving: int, carried: Ints) -> tuple[bytes, int, bytes, bytes]:
        """Return what fold.lua is told to take so many records out of the log, and put these rows before it."""
        known = self.header() + _bytes(self.rows[: int(self.folded is not None)])
        begins = HEADER.size + (self.carried + leaving) * self.record_bytes
        kept_id = struct.pack("<q", int(self.log[leaving, records.ID]))
        head = self._header(self.base + leaving, FOLDED if len(carried) else PLAIN)
        return known, begins, kept_id, head + _bytes(carried)


class Use(NamedTuple):
    """What came of a cache so far: look-ups that found a history and that did not, histories dropped for room.

    `held_bytes` is what it holds now.
    """

    hits: int
    misses: int
    evictions: int
    held_bytes: int


class Cache:
    """The histories of one kind that were used last, within `most_bytes`.

    Attributes:
        hits: how many look-ups found one, as the one who looks counts them.
        misses: how many did not.
        evictions: how many were dropped for room.
    """

    def __init__(self, most_bytes: int) -> None:
        self.hits = self.misses = self.evictions = 0
        self._most_bytes = most_bytes
        self._entries: dict[int, Cached] = {}
        self._bytes = 0

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._entries)

    @property
    def use(self) -> Use:
        """What came of it so far."""
        return Use(self.hits, self.misses, self.evictions, self._bytes)

    def get(self, entity: int) -> Cached | None:
        """Return one, which is then the one used last."""
        entry = self._entries.pop(entity, None)
        if entry is not None:
            self._entries[entity] = entry
        return entry

    def put(self, entries: Iterable[Cached]) -> None:
        """Weigh entries again where they grew, or for the first time, and drop the ones used longest ago."""
        for entry in entries:
            if entry.weighed != entry.room:
                self.drop(entry.entity)
                entry.weighed = entry.room
                self._bytes += entry.weighed + PER_ENTRY
                self._entries[entry.entity] = entry
        while self._bytes > self._most_bytes and len(self._entries) > 1:
            self.drop(next(iter(self._entries)))
            self.evictions += 1

    def drop(self, entity: int) -> None:
        """Forget one."""
        entry = self._entries.pop(entity, None)
        if entry is not None:
            self._bytes -= entry.weighed + PER_ENTRY
            entry.weighed = 0

    def clear(self, most_bytes: int) -> None:
        """Forget all, and hold at most so much from now on."""
        self._most_bytes = most_bytes
        for entity in list(self._entries):
            self.drop(entity)


def _bytes(rows: Ints) -> bytes:
    return rows.astype(records.STORED, copy=False).tobytes()


def request(groups: Sequence[Sequence[Cached]], stale_ms: int) -> list[tuple[bytes, bytes, bytes]]:
    """Write the asks, the drafts and the headers of observe.lua, for each group of histories; all are of one kind."""
    everyone = [entry for group in groups for entry in group]
    record_bytes, written, begin = everyone[0].record_bytes, [], 0
    appended = _bytes(np.concatenate([entry.drafts() for entry in everyone]))
    for group in groups:
        asks = b"".join([entry.ask(stale_ms) for entry in group])
        headers = b"".join([entry.header() for entry in group if entry.is_absent])
        end = begin + sum([entry.length - entry.settled for entry in group]) * record_bytes
        written.append((asks, appended[begin:end], headers))
        begin = end
    return written
