"""Erases records in stored histories: what is kept of them replaces them, in the call that appends the erasure.

An erasure that was appended by a worker that ended before is appended again by the next one, and finds what is left to
do. Of a compacted history, panes that may hold erased payments cannot be taken apart: it is begun anew and rebuilt from
Kafka, as one that was damaged.
"""

import struct
from collections.abc import Sequence

from features.errors import StoreUnavailableError
from features.history import records
from features.history.store import Fate
from features.redis.cache import CachedHistory, stored_bytes
from features.redis.connection import Call, Connection
from features.redis.keys import KeyLayout
from features.redis.loading import HistoryLoader
from features.redis.state import HistoryState


def erased_now(cards: Sequence[CachedHistory | None], fates: Sequence[Fate]) -> frozenset[CachedHistory]:
    """Return the cards of which a batch has an erasure, new or sent again."""
    if Fate.ERASURE not in fates:
        return frozenset()
    return frozenset(card for card, fate in zip(cards, fates, strict=True) if card is not None and fate is Fate.ERASURE)


class StoredErasures:
    """Erases in the stored histories of a deployment."""

    def __init__(self, connection: Connection, layout: KeyLayout, state: HistoryState, loader: HistoryLoader) -> None:
        self._connection = connection
        self._layout = layout
        self._state = state
        self._loader = loader

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

    async def take_apart(self, history: CachedHistory) -> bool:
        """Begin a compacted history anew if its panes may hold erased payments; tell whether it was.

        Raises:
            StoreUnavailableError: it changes at the same time; try again.
        """
        notes = history.notes
        if notes is None:
            return False
        begins_ms = history.panes[:, records.TIME] - max(notes.bounds_ms)
        if not (begins_ms < history.erased_ms).any():
            return False
        where = (self._layout.shard_of(history.entity), history.key)
        (value,) = await self._connection.values([where])
        if value is None:
            raise StoreUnavailableError(f"{history.key.decode()}: it is gone; try again")
        await self._loader.begin_anew(history, value)
        return True
