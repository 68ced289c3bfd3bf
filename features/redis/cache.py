"""The cache of histories that a worker holds, bounded in bytes, and the stored format of a history.

A stored value is a header of 80 bytes (u64 base position, u64 format, 64 bytes of the entity's id, zero-padded) and the
records.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, cast

import numpy as np

from features.errors import StoreRefusedError
from features.history import panes, records
from features.history.history import History
from features.history.store import Entity, Ints

HEADER = struct.Struct("<QQ64s")
_HASHED = "#"
"""No token begins so: the rest is the entity's hash, in place of its id."""
PLAIN, COMPACTED, INCOMPLETE = 2, 3, 4
"""Formats: a log alone; a compacted history with notes and panes before the log (`features.history.panes`); a log alone
that lacks records, because the history was damaged (`features.redis.damage`)."""
LATER = range(INCOMPLETE + 1, 64)
"""Formats that a later version may have; any other number is none."""
MOST_POSITIONS = 1 << 62
REQUEST_ENTRY = struct.Struct("<IqII")
"""One history's entry in the request of append.lua."""
ABSENT, REFRESH = 1, 2
"""Flags of append.lua."""
IS_STORED_SO = np.dtype(np.int64) == records.STORED
"""Whether this machine has the byte order of the stored records."""
ENTRY_OVERHEAD_BYTES = 600
"""Approximate bytes of a cache entry in addition to its records."""


class CachedHistory(History):
    """A history as the server has it, plus uncommitted records.

    Attributes:
        kind: the kind of entity.
        key: the server's key, in ASCII.
        refreshed_ms: when this worker last renewed the key's expiry, by the wall clock; 0: never.
        compacted_end: its end when it was last checked for compaction.
        cached_bytes: its size as counted by a cache; 0: it is in none.
        is_incomplete: whether it lacks records, because it was damaged.
    """

    __slots__ = ("cached_bytes", "compacted_end", "is_incomplete", "key", "kind", "refreshed_ms")

    def __init__(self, kind: Entity, entity: int, entity_id: str, key: bytes) -> None:
        super().__init__(entity, entity_id, records.COLUMNS[kind])
        self.kind = kind
        self.key = key
        self.refreshed_ms = self.compacted_end = self.cached_bytes = 0
        self.is_incomplete = False

    @property
    def record_bytes(self) -> int:
        """Bytes of a record on the server."""
        return self.columns * records.COLUMN_BYTES

    @property
    def is_absent(self) -> bool:
        """Whether the server is expected to have no such key."""
        return self.committed == 0 and not self.is_incomplete

    def load(self, value: bytes | None) -> bool:
        """Replace everything by the server's value, and return True; or return False if it is no history.

        Raises:
            StoreRefusedError: the value has the format of a later version.
        """
        if value is None:
            self._become(0, PLAIN, np.empty((0, self.columns), np.int64))
            return True
        if not self.has_whole_rows(value):
            return False
        base, encoded, name = self._read_header(value)
        rows = np.frombuffer(value, records.STORED, offset=HEADER.size).reshape(-1, self.columns)
        if encoded in LATER:
            raise StoreRefusedError(
                f"{self.key.decode()}: format {encoded} is unknown; this version supports {PLAIN} to {INCOMPLETE}. "
                "Run the version that wrote it, or set another FRAUDSTREAM_DEPLOYMENT."
            )
        if not self._is_named(name) or base >= MOST_POSITIONS or not _are_rows(encoded, rows):
            return False
        self._take_name(name)
        self._become(base, encoded, rows)
        return True

    def load_transactions(self, value: bytes, rows: Ints, newest_ms: int) -> bool:
        """Do what `load` does with a value whose rows are known to be transactions; False if the header is no log's."""
        base, encoded, name = self._read_header(value)
        if encoded != PLAIN or base >= MOST_POSITIONS or not self._is_named(name):
            return False
        self._take_name(name)
        self.refreshed_ms, self.is_incomplete = 0, False
        self.replace_by_transactions(base, rows, newest_ms)
        return True

    def has_whole_rows(self, value: bytes) -> bool:
        """Tell whether a value has the length of a header and some records."""
        return len(value) >= HEADER.size and not (len(value) - HEADER.size) % self.record_bytes

    @staticmethod
    def _read_header(value: bytes) -> tuple[int, int, str]:
        """Return base position, format and name."""
        base, encoded, entity_id = HEADER.unpack_from(value)
        return base, encoded, entity_id.rstrip(b"\0").decode(errors="replace")

    def _take_name(self, name: str) -> None:
        self.entity_id = self.entity_id if name.startswith(_HASHED) else name

    def _is_named(self, name: str) -> bool:
        """Tell whether a header names this entity: by its id, or by its hash alone."""
        if name.startswith(_HASHED):
            return name == self._hashed_name
        return (records.HASHES[self.kind](name) ^ self.entity) & records.HASH_MASK == 0

    @property
    def _hashed_name(self) -> str:
        return f"{_HASHED}{self.entity & records.HASH_MASK:016x}"

    def _become(self, base: int, encoded: int, rows: Ints) -> None:
        self.refreshed_ms, self.is_incomplete = 0, encoded == INCOMPLETE
        self.replace(base, rows)

    def splice_bytes(self, tail: bytes) -> bool:
        """Commit after a tail that the server returned, see `History.splice`; False if it consists of no records."""
        if len(tail) % self.record_bytes:
            return False
        rows = np.frombuffer(tail, records.STORED).reshape(-1, self.columns)
        if not _are_rows(PLAIN, rows):
            return False
        self.splice(rows)
        return True

    def header(self) -> bytes:
        """Return the header of the stored value."""
        return self._header(self.base, PLAIN if self.notes is None else COMPACTED)

    def incomplete_header(self, base: int) -> bytes:
        """Return the header of an empty history of this entity that lacks records before `base`."""
        return self._header(base, INCOMPLETE)

    def _header(self, base: int, encoded: int) -> bytes:
        hides = records.has_hash_key() and self.kind is not Entity.MERCHANT  # a merchant's id completes labels
        return HEADER.pack(base, encoded, (self._hashed_name if hides else self.entity_id).encode())

    def shows_loss(self, end: int, last_id: int) -> bool:
        """Tell whether a history with this end and this last record can have become this one only by a loss."""
        if end > self.committed_end:
            return True
        return end > self.base and int(self.at(end - 1)[records.ID]) != last_id

    def append_request(self, stale_ms: int) -> bytes:
        """Return this history's entry for append.lua; its expiry is renewed if it was last renewed by `stale_ms`."""
        committed = self.committed
        flags = REFRESH if self.refreshed_ms <= stale_ms else 0
        start = HEADER.size + (committed - 1) * self.columns * records.COLUMN_BYTES
        if committed:
            return REQUEST_ENTRY.pack(start, self.last_id, self.length - committed, flags)
        if self.is_incomplete:
            return REQUEST_ENTRY.pack(start, self._begun_anew(start), self.length, flags)
        return REQUEST_ENTRY.pack(start, 0, self.length, flags | ABSENT)

    def _begun_anew(self, start: int) -> int:
        """Return what the header of a history that was begun anew has in place of a last record's id."""
        place = start + records.ID * records.COLUMN_BYTES
        return int.from_bytes(
            self._header(self.base, INCOMPLETE)[place : place + records.COLUMN_BYTES], "little", signed=True
        )

    def trim_arguments(self, count: int) -> tuple[bytes, bytes, int, bytes]:
        """Return the arguments of trim.lua that drop `count` records."""
        kept_id = struct.pack("<q", int(self.rows[count, records.ID]))
        return struct.pack("<Q", self.base), struct.pack("<Q", self.base + count), count * self.record_bytes, kept_id

    def compaction_arguments(self, removed: int, prefix: Ints) -> tuple[bytes, int, bytes, bytes]:
        """Return the arguments of compact.lua that remove records from the log and put the prefix before it."""
        known = self.header() + stored_bytes(self.rows[: int(self.notes is not None)])
        begins = HEADER.size + (self.prefix_rows + removed) * self.record_bytes
        kept_id = struct.pack("<q", int(self.log[removed, records.ID]))
        head = self._header(self.base + removed, COMPACTED if len(prefix) else PLAIN)
        return known, begins, kept_id, head + stored_bytes(prefix)


class CacheStats(NamedTuple):
    """Statistics of a cache: look-ups with and without a hit, evictions, and `held_bytes`, its present size."""

    hits: int
    misses: int
    evictions: int
    held_bytes: int


class Cache:
    """The histories of one kind that were used last, within `most_bytes`.

    Attributes:
        hits: look-ups that found a history, see `count`.
        misses: look-ups that did not.
        evictions: histories dropped for space.
    """

    def __init__(self, most_bytes: int) -> None:
        self.hits = self.misses = self.evictions = 0
        self._most_bytes = most_bytes
        self._entries: dict[int, CachedHistory] = {}
        self._bytes = 0

    def __len__(self) -> int:
        """Return the number of histories."""
        return len(self._entries)

    @property
    def stats(self) -> CacheStats:
        """The statistics so far."""
        return CacheStats(self.hits, self.misses, self.evictions, self._bytes)

    def get(self, entity: int) -> CachedHistory | None:
        """Return one and mark it as used last."""
        entry = self._entries.pop(entity, None)
        if entry is not None:
            self._entries[entity] = entry
        return entry

    def peek(self, entity: int) -> CachedHistory | None:
        """Return one without marking it."""
        return self._entries.get(entity)

    def count(self, entries: Sequence[CachedHistory | None], new: int) -> None:
        """Count the look-ups of histories, of which `new` ones were not here; None was no look-up."""
        self.misses += new
        self.hits += len(entries) - entries.count(None) - new

    def put(self, entries: Iterable[CachedHistory]) -> None:
        """Insert entries, or count them again where they grew, and evict the least recently used ones.

        One that lacks records is not kept: another worker may append them at any time.
        """
        for entry in entries:
            if entry.is_incomplete:
                self.drop(entry.entity)
            elif entry.cached_bytes != entry.nbytes:
                self.drop(entry.entity)
                entry.cached_bytes = entry.nbytes
                self._bytes += entry.cached_bytes + ENTRY_OVERHEAD_BYTES
                self._entries[entry.entity] = entry
        while self._bytes > self._most_bytes and len(self._entries) > 1:
            self.drop(next(iter(self._entries)))
            self.evictions += 1

    def drop(self, entity: int) -> None:
        """Remove one."""
        entry = self._entries.pop(entity, None)
        if entry is not None:
            self._bytes -= entry.cached_bytes + ENTRY_OVERHEAD_BYTES
            entry.cached_bytes = 0

    def clear(self, most_bytes: int) -> None:
        """Remove all; from now on the limit is `most_bytes`."""
        self._most_bytes = most_bytes
        for entity in list(self._entries):
            self.drop(entity)


def load_together(histories: Sequence[CachedHistory], values: Sequence[bytes | None]) -> list[bool]:
    """Load those whose values are logs of transactions alone, and tell which these are; `load` is for the others.

    Looking at all of their rows at once takes a third of what it takes one after the other.
    """
    loaded, by_kind = [False] * len(histories), dict[Entity, list[int]]()
    for place, (history, value) in enumerate(zip(histories, values, strict=True)):
        if value is not None and len(value) > HEADER.size and history.has_whole_rows(value):
            by_kind.setdefault(history.kind, []).append(place)
    for places in by_kind.values():
        some = [(histories[place], cast("bytes", values[place])) for place in places]
        for place, is_loaded in zip(places, _load_of_kind(some), strict=True):
            loaded[place] = is_loaded
    return loaded


def _load_of_kind(some: Sequence[tuple[CachedHistory, bytes]]) -> Iterator[bool]:
    """Load histories of one kind whose values have whole rows, each one at least."""
    columns, record_bytes = some[0][0].columns, some[0][0].record_bytes
    joined = b"".join([value[HEADER.size :] for _, value in some])
    rows = np.frombuffer(joined, records.STORED).reshape(-1, columns)
    ends = np.cumsum([(len(value) - HEADER.size) // record_bytes for _, value in some])
    starts = np.concatenate(([0], ends[:-1]))
    are_others = records.are_wrong(rows) | ~records.is_transaction(rows[:, records.FLAGS])
    has_others = np.logical_or.reduceat(are_others, starts).tolist()
    newest_ms = np.maximum.reduceat(rows[:, records.TIME], starts).tolist()
    bounds = zip(starts.tolist(), ends.tolist(), strict=True)
    for (history, value), (start, end), has_other, newest in zip(some, bounds, has_others, newest_ms, strict=True):
        yield not has_other and history.load_transactions(value, rows[start:end], newest)


def _are_rows(encoded: int, rows: Ints) -> bool:
    """Tell whether rows can be those of a history of this format."""
    if encoded == COMPACTED:
        return panes.is_compacted(rows)
    return encoded in {PLAIN, INCOMPLETE} and panes.is_plain(rows) and records.are_valid(rows)


def stored_bytes(rows: Ints) -> bytes:
    """Return rows as they are stored."""
    return rows.tobytes() if IS_STORED_SO else rows.astype(records.STORED).tobytes()


def append_requests(groups: Sequence[Sequence[CachedHistory]], stale_ms: int) -> list[tuple[bytes, bytes, bytes]]:
    """Return entries, records and headers for append.lua, for each group of histories; all are of one kind."""
    return [
        (
            b"".join([entry.append_request(stale_ms) for entry in group]),
            b"".join([stored_bytes(entry.uncommitted()) for entry in group]),
            b"".join([entry.header() for entry in group if entry.is_absent]),
        )
        for group in groups
    ]
