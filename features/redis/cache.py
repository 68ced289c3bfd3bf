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
REQUEST_ENTRY = struct.Struct("<IqII")
ABSENT, REFRESH = 1, 2
"""Flags of append.lua."""
ENTRY_OVERHEAD_BYTES = 600
"""Bytes of an entry beside its records, roughly."""


class CachedHistory(History):
    """A history as the server has it, plus drafts.

    Attributes:
        kind: what kind of history it is.
        key: the server's name for it, in ASCII.
        refreshed_ms: when the server was last told, through us, to keep it, by the wall clock; 0: never.
        tidied_end: how far it reached when it was last looked at for trimming.
        weighed: its room when a cache last took it in; 0: it is in none.
    """

    __slots__ = ("cached_bytes", "compacted_end", "key", "kind", "refreshed_ms")

    def __init__(self, kind: Entity, entity: int, entity_id: str, key: bytes) -> None:
        super().__init__(entity, entity_id, records.COLUMNS[kind])
        self.kind = kind
        self.key = key
        self.refreshed_ms = self.compacted_end = self.cached_bytes = 0

    @property
    def record_bytes(self) -> int:
        """How long a record is on the server."""
        return self.columns * records.COLUMN_BYTES

    @property
    def is_absent(self) -> bool:
        """Whether the server is thought to have nothing of it."""
        return self.committed == 0

    def load(self, value: bytes | None) -> None:
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
        return self._header(self.base, PLAIN if self.notes is None else FOLDED)

    def _header(self, base: int, written: int) -> bytes:
        return HEADER.pack(base, written, self.entity_id.encode())

    def shows_loss(self, end: int, last_id: int) -> bool:
        """Tell whether a history that ended so, with this last record, cannot have become this one without a loss."""
        if end > self.committed_end:
            return True
        return end > self.base and int(self.at(end - 1)[records.ID]) != last_id

    def append_request(self, stale_ms: int) -> bytes:
        """Return what append.lua is told of this history; its expiry is set anew if it was last at `stale_ms`."""
        committed = self.committed
        flags = REFRESH if self.refreshed_ms <= stale_ms else 0
        start = HEADER.size + (committed - 1) * self.record_bytes
        if committed == 0:
            return REQUEST_ENTRY.pack(start, 0, self.length, flags | ABSENT)
        return REQUEST_ENTRY.pack(start, self.last_id, self.length - committed, flags)

    def trim_arguments(self, count: int) -> tuple[bytes, bytes, int, bytes]:
        """Return what trim.lua is told to drop so many records."""
        kept_id = struct.pack("<q", int(self.rows[count, records.ID]))
        return struct.pack("<Q", self.base), struct.pack("<Q", self.base + count), count * self.record_bytes, kept_id

    def compaction_arguments(self, removed: int, prefix: Ints) -> tuple[bytes, int, bytes, bytes]:
        """Return what compact.lua is told to take so many records out of the log, and put these rows before it."""
        known = self.header() + _bytes(self.rows[: int(self.notes is not None)])
        begins = HEADER.size + (self.prefix_rows + removed) * self.record_bytes
        kept_id = struct.pack("<q", int(self.log[removed, records.ID]))
        head = self._header(self.base + removed, FOLDED if len(prefix) else PLAIN)
        return known, begins, kept_id, head + _bytes(prefix)


class CacheStats(NamedTuple):
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
        self._entries: dict[int, CachedHistory] = {}
        self._bytes = 0

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._entries)

    @property
    def stats(self) -> CacheStats:
        """What came of it so far."""
        return CacheStats(self.hits, self.misses, self.evictions, self._bytes)

    def get(self, entity: int) -> CachedHistory | None:
        """Return one, which is then the one used last."""
        entry = self._entries.pop(entity, None)
        if entry is not None:
            self._entries[entity] = entry
        return entry

    def put(self, entries: Iterable[CachedHistory]) -> None:
        """Weigh entries again where they grew, or for the first time, and drop the ones used longest ago."""
        for entry in entries:
            if entry.cached_bytes != entry.nbytes:
                self.drop(entry.entity)
                entry.cached_bytes = entry.nbytes
                self._bytes += entry.cached_bytes + ENTRY_OVERHEAD_BYTES
                self._entries[entry.entity] = entry
        while self._bytes > self._most_bytes and len(self._entries) > 1:
            self.drop(next(iter(self._entries)))
            self.evictions += 1

    def drop(self, entity: int) -> None:
        """Forget one."""
        entry = self._entries.pop(entity, None)
        if entry is not None:
            self._bytes -= entry.cached_bytes + ENTRY_OVERHEAD_BYTES
            entry.cached_bytes = 0

    def clear(self, most_bytes: int) -> None:
        """Forget all, and hold at most so much from now on."""
        self._most_bytes = most_bytes
        for entity in list(self._entries):
            self.drop(entity)


def _bytes(rows: Ints) -> bytes:
    return rows.astype(records.STORED, copy=False).tobytes()


def append_requests(groups: Sequence[Sequence[CachedHistory]], stale_ms: int) -> list[tuple[bytes, bytes, bytes]]:
    """Write the asks, the drafts and the headers of append.lua, for each group of histories; all are of one kind."""
    everyone = [entry for group in groups for entry in group]
    record_bytes, written, begin = everyone[0].record_bytes, [], 0
    appended = _bytes(np.concatenate([entry.uncommitted() for entry in everyone]))
    for group in groups:
        asks = b"".join([entry.append_request(stale_ms) for entry in group])
        headers = b"".join([entry.header() for entry in group if entry.is_absent])
        end = begin + sum([entry.length - entry.committed for entry in group]) * record_bytes
        written.append((asks, appended[begin:end], headers))
        begin = end
    return written
