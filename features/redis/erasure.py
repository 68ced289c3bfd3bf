"""Erases records in stored histories: what is kept of them replaces them, in the call that appends the erasure.

An erasure that was appended by a worker that ended before is appended again by the next one, and finds what is left to
do. Histories of cards and of their predictions are never compacted, so there are no sums to take apart.
"""

import struct
from collections.abc import Sequence

from features.history.store import Fate
from features.redis.cache import CachedHistory, stored_bytes
from features.redis.connection import Call, Connection
from features.redis.keys import KeyLayout
from features.redis.state import HistoryState


def erased_now(cards: Sequence[CachedHistory | None], fates: Sequence[Fate]) -> frozenset[CachedHistory]:
    """Return the cards of which a batch has an erasure, new or sent again."""
    if Fate.ERASURE not in fates:
        return frozenset()
    return frozenset(card for card, fate in zip(cards, fates, strict=True) if card is not None and fate is Fate.ERASURE)


class StoredErasures:
    """Erases in the stored histories of a deployment."""

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
