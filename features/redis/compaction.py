"""Rewrites stored histories: drops expired records, merges old ones into panes and undoes them, erases records.

Each is one script that compares first, so a history that another worker changed is left alone. Nothing is dropped or
merged that another worker needs with its feature tables: `HistoryState` knows all needs.
"""

import struct
from collections.abc import Mapping, Sequence

from features.errors import StoreRefusedError
from features.history.compaction import plan_compaction
from features.history.retention import Retention
from features.history.store import Entity, Fate, Ints
from features.redis.cache import CachedHistory, stored_bytes
from features.redis.connection import Call, Connection
from features.redis.keys import KeyLayout
from features.redis.progress import PROGRESS_EXPIRY_MS
from features.redis.state import HistoryState


class Compactor:
    """Trims and compacts a deployment's histories to their retention."""

    def __init__(
        self, connection: Connection, layout: KeyLayout, own: Mapping[Entity, Retention], state: HistoryState
    ) -> None:
        self._connection = connection
        self._layout = layout
        self._own = own
        self._state = state

    async def examine(self, entry: CachedHistory) -> None:
        """Check a fetched history; remove the panes of one that was compacted under another epoch.

        Such panes may lack records, and what is applied again must find its place in the log. If another worker
        was faster, the next append to the history finds it changed.

        Raises:
            StoreRefusedError: it was compacted for another feature table, and this one needs it finer or longer.
        """
        notes = entry.notes
        if notes is None:
            return
        if notes.epoch != self._state.epoch:
            nothing = entry.rows[:0]
            await self._rewrite(entry, 0, nothing, b"")
            entry.replace_prefix(0, nothing)
            return
        own = self._own.get(entry.kind)
        if own and not own.allows(notes.since_ms, notes.bounds_ms, entry.newest_ms):
            raise StoreRefusedError(
                f"{entry.key.decode()}: this {entry.kind.value}'s history was compacted into panes for another feature "
                "table, and FRAUDSTREAM_FEATURES now needs it finer or longer. When all workers have the new table, "
                "run `fraudstream features rebuild`."
            )

    async def compact(self, entry: CachedHistory) -> bool:
        """Trim or compact one history where that is worthwhile; False if it differs from the cached one.

        Nothing is compacted during a repair: what is applied again must find its place in the log.
        """
        state = self._state
        retention, stored = state.retentions[entry.kind], state.stored.text
        if not retention.allows_panes and entry.notes is None:
            return await self._trim(entry, retention, stored)
        compaction = plan_compaction(entry, retention, state.epoch) if state.is_complete else None
        if compaction is None:
            return True
        done = await self._rewrite(entry, *compaction, stored)
        if done:
            entry.replace_prefix(*compaction)
        return done

    async def _trim(self, entry: CachedHistory, retention: Retention, stored: bytes) -> bool:
        count, shard = entry.expired_count(retention.horizon_ms), self._layout.shard_of(entry.entity)
        if not count:
            return True
        call = Call(shard, (entry.key, self._layout.retention[shard]), (*entry.trim_arguments(count), stored))
        (done,) = await self._connection.run("trim", [call])
        if done:
            entry.trim(count)
        return bool(done)

    async def _rewrite(self, entry: CachedHistory, removed: int, prefix: Ints, stored: bytes) -> bool:
        epoch, shard, layout = self._state.epoch, self._layout.shard_of(entry.entity), self._layout
        keys = (layout.epochs[shard], entry.key, layout.checkpoints(shard, epoch), layout.retention[shard])
        call = Call(shard, keys, (epoch, *entry.compaction_arguments(removed, prefix), PROGRESS_EXPIRY_MS, stored))
        (done,) = await self._connection.run("compact", [call])
        return bool(done)


def erased_now(cards: Sequence[CachedHistory | None], fates: Sequence[Fate]) -> frozenset[CachedHistory]:
    """Return the cards of which a batch has an erasure, new or sent again."""
    if Fate.ERASURE not in fates:
        return frozenset()
    return frozenset(card for card, fate in zip(cards, fates, strict=True) if card is not None and fate is Fate.ERASURE)


class StoredErasures:
    """Erases in the stored histories of a deployment: what is kept of a record replaces it.

    An erasure that was appended by a worker that ended before is appended again by the next one, and finds what is left
    to do. Histories of cards and of their predictions are never compacted, so there are no sums to take apart.
    """

    def __init__(self, connection: Connection, layout: KeyLayout, state: HistoryState) -> None:
        self._connection = connection
        self._layout = layout
        self._state = state

    async def reduce(self, history: CachedHistory, erased_ms: int) -> bool:
        """Reduce the erased records of a committed history; False if the server's is another than the cached one."""
        rows = history.reduced(erased_ms)
        if rows is None:
            return True
        shard = self._layout.shard_of(history.entity)
        arguments = (self._state.epoch, struct.pack("<Q", history.base), stored_bytes(rows), history.record_bytes)
        call = Call(shard, (self._layout.epochs[shard], history.key), arguments)
        (done,) = await self._connection.run("reduce", [call])
        if done:
            history.replace(history.base, rows)
        return bool(done)
