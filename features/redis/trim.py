"""Shortens histories on the server: drops what is out of sight, folds what is old, and undoes what must not stand.

Each is one script that compares first, so a history that somebody else changed is left alone. Nothing is dropped or
folded that another worker needs, one with other tables of features: `standing` knows. Nothing here appends.
"""

from collections.abc import Mapping

from features.errors import StoreRefusedError
from features.history.compaction import fold
from features.history.retention import Retention
from features.history.store import Entity, Ints
from features.redis.cache import Cached
from features.redis.connection import Call, Connection
from features.redis.keys import Shards
from features.redis.progress import KEPT_MS
from features.redis.state import HistoryState


class Trimmer:
    """What is done to a deployment's histories beside appending, so that they are kept so long and so fine."""

    def __init__(
        self, link: Connection, shards: Shards, own: Mapping[Entity, Retention], standing: HistoryState
    ) -> None:
        self._link = link
        self._shards = shards
        self._own = own
        self._standing = standing

    async def examine(self, entry: Cached) -> None:
        """Look at what was fetched; take the panes out of a history that was folded under another epoch.

        Records may be missing in those, and what is applied again must find its place. If somebody else was faster,
        whoever appends to the history finds it changed.

        Raises:
            StoreRefusedError: it was folded for another table of features, and this one needs it finer or longer.
        """
        folded = entry.folded
        if folded is None:
            return
        if folded.epoch != self._standing.epoch:
            nothing = entry.rows[:0]
            await self._rewrite(entry, 0, nothing, b"")
            entry.carry(0, nothing)
            return
        own = self._own.get(entry.kind)
        if own and not own.allows(folded.since_ms, folded.bounds_ms, entry.newest_ms):
            raise StoreRefusedError(
                f"{entry.key.decode()}: this {entry.kind.value}'s history was folded into panes for another table of "
                "features, and FRAUDSTREAM_FEATURES now needs it finer or longer. When all workers have the new table, "
                "run `fraudstream features rebuild`."
            )

    async def tidy(self, entry: Cached) -> bool:
        """Trim or fold one history where that is worth it; false where it is not as it was remembered.

        Nothing is folded while histories are put together: what is applied again must find its place in the log.
        """
        standing = self._standing
        keep, kept = standing.keeps[entry.kind], standing.kept.text
        if not keep.folds and entry.folded is None:
            return await self._trim(entry, keep, kept)
        made = fold(entry, keep, standing.epoch) if standing.is_settled else None
        if made is None:
            return True
        done = await self._rewrite(entry, *made, kept)
        if done:
            entry.carry(*made)
        return done

    async def _trim(self, entry: Cached, keep: Retention, kept: bytes) -> bool:
        count, shard = entry.invisible(keep.horizon_ms), self._shards.of(entry.entity)
        if not count:
            return True
        asked = Call(shard, (entry.key, self._shards.kept[shard]), (*entry.cut(count), kept))
        (done,) = await self._link.run("trim", [asked])
        if done:
            entry.trim(count)
        return bool(done)

    async def _rewrite(self, entry: Cached, leaving: int, carried: Ints, kept: bytes) -> bool:
        epoch, shard, shards = self._standing.epoch, self._shards.of(entry.entity), self._shards
        keys = (shards.epochs[shard], entry.key, shards.marks(shard, epoch), shards.kept[shard])
        asked = Call(shard, keys, (epoch, *entry.rewriting(leaving, carried), KEPT_MS, kept))
        (done,) = await self._link.run("fold", [asked])
        return bool(done)
