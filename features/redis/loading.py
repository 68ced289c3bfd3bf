"""Fetches histories from the server: many short ones with one call, and long ones one by one, as far as memory allows.

A value's length is not known before it is read, and a batch may name hundreds of histories of many MiB each. So the
beginnings are read first; a history that does not end there is read whole only when its transaction's turn comes.
"""

from collections.abc import Sequence

from features.errors import StoreUnavailableError
from features.redis.cache import CachedHistory
from features.redis.compaction import Compactor
from features.redis.connection import Call, Connection
from features.redis.damage import DamagedHistories
from features.redis.keys import KeyLayout

HEAD_BYTES = 64 * 1024
"""Nearly all histories are shorter."""
NO_STRING = 0
"""What heads.lua returns for a key of another type."""


class HistoryLoader:
    """Fetches the histories of a deployment; what is no history is begun anew."""

    def __init__(
        self, connection: Connection, layout: KeyLayout, compactor: Compactor, damaged: DamagedHistories
    ) -> None:
        self._connection = connection
        self._layout = layout
        self._compactor = compactor
        self._damaged = damaged

    async def fetch(self, entries: Sequence[CachedHistory]) -> None:
        """Fetch whole histories."""
        if entries:
            keys = [(self._layout.shard_of(entry.entity), entry.key) for entry in entries]
            for entry, value in zip(entries, await self._connection.values(keys), strict=True):
                await self._load(entry, value)

    async def fetch_short(self, entries: Sequence[CachedHistory]) -> set[CachedHistory]:
        """Fetch those histories that are short, and return the others."""
        by_shard = self._layout.group_by_shard(entry.entity for entry in entries)
        groups = {shard: [entries[place] for place in places] for shard, places in by_shard.items()}
        calls = [Call(shard, [entry.key for entry in group], (HEAD_BYTES,)) for shard, group in groups.items()]
        long = set()
        for group, heads in zip(groups.values(), await self._connection.run("heads", calls), strict=True):
            for entry, head in zip(group, heads, strict=True):
                if head == NO_STRING:
                    await self.begin_anew(entry, None)
                elif head is not None and len(head) == HEAD_BYTES:
                    long.add(entry)
                else:
                    await self._load(entry, head)
        return long

    async def _load(self, entry: CachedHistory, value: bytes | None) -> None:
        if not entry.load(value):
            await self.begin_anew(entry, value)
        elif entry.is_incomplete:
            await self._damaged.list_known(entry)
        await self._compactor.examine(entry)

    async def begin_anew(self, entry: CachedHistory, value: bytes | None) -> None:
        """Begin a damaged history anew; one whose id is unknown here (a label's merchant) counts as missing.

        Raises:
            StoreUnavailableError: it changes at the same time; try again.
        """
        if not entry.entity_id:
            entry.load(None)
            return
        await self._damaged.begin_anew(entry, value)
        (value,) = await self._connection.values([(self._layout.shard_of(entry.entity), entry.key)])
        if not entry.load(value):
            raise StoreUnavailableError(f"{entry.key.decode()}: it is no history, and changes meanwhile; try again")
