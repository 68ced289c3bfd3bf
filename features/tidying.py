"""Shortens histories on the server: drops what is out of sight, folds what is old, and undoes what must not stand.

Each is one script that compares first, so a history that somebody else changed is left alone. Nothing is dropped or
folded that another worker needs, one with other tables of features. Nothing here appends.
"""

from collections.abc import Mapping

from features.cache import Cached
from features.entities import Entity
from features.errors import StoreRefusedError
from features.folding import fold
from features.ladders import Keep, Ladder
from features.link import Call, Link
from features.shards import HOME, Shards
from features.store import Ints
from features.wholeness import KEPT_MS

NEEDED_MS = 600_000
"""So long after it was last heard of is a worker's need respected."""


class Tidying:
    """What is done to a deployment's histories beside appending, so that they are kept so long and so fine."""

    def __init__(self, link: Link, shards: Shards, keeps: Mapping[Entity, Keep]) -> None:
        self._link = link
        self._shards = shards
        self._own = self._agreed = keeps

    async def agree(self, now_ms: int) -> None:
        """Say what we need, and learn what other workers do."""
        needs = [_written(kind, ladder).encode() for kind, keep in self._own.items() for ladder in keep.ladders]
        call = Call(HOME, (self._shards.epochs[HOME] + b":needs",), (now_ms, now_ms + NEEDED_MS, *needs))
        (reply,) = await self._link.run("needs", [call])
        ladders = dict[Entity, list[Ladder]]()
        for kind, ladder in (_read(need.decode()) for need in reply):
            ladders.setdefault(kind, []).append(ladder)
        self._agreed = {kind: Keep(tuple(ladders[kind])) for kind in self._own}

    async def examine(self, entry: Cached, epoch: int) -> None:
        """Look at what was fetched; take the panes out of a history that was folded under another epoch.

        Records may be missing in those, and what is applied again must find its place. If somebody else was faster,
        whoever appends to the history finds it changed.

        Raises:
            StoreRefusedError: it was folded for another table of features, and this one needs it finer or longer.
        """
        folded = entry.folded
        if folded is None:
            return
        if folded.epoch != epoch:
            nothing = entry.rows[:0]
            await self._rewrite(entry, epoch, 0, nothing)
            entry.carry(0, nothing)
        elif not self._own[entry.kind].allows(folded.since_ms, folded.bounds_ms, entry.newest_ms):
            raise StoreRefusedError(
                f"{entry.key.decode()}: this {entry.kind.value}'s history was folded into panes for another table of "
                "features, and FRAUDSTREAM_FEATURES now needs it finer or longer. When all workers have the new table, "
                "run `fraudstream features rebuild`."
            )

    async def tidy(self, entry: Cached, epoch: int, *, incomplete: bool) -> bool:
        """Trim or fold one history where that is worth it; false where it is not as it was remembered.

        Nothing is folded while histories are incomplete: what is applied again must find its place in the log.
        """
        keep = self._agreed[entry.kind]
        if not keep.folds and entry.folded is None:
            return await self._trim(entry, keep)
        made = None if incomplete else fold(entry, keep, epoch)
        if made is None:
            return True
        done = await self._rewrite(entry, epoch, *made)
        if done:
            entry.carry(*made)
        return done

    async def _trim(self, entry: Cached, keep: Keep) -> bool:
        count = entry.invisible(keep.horizon_ms)
        if not count:
            return True
        (done,) = await self._link.run("trim", [Call(self._shards.of(entry.entity), (entry.key,), entry.cut(count))])
        if done:
            entry.trim(count)
        return bool(done)

    async def _rewrite(self, entry: Cached, epoch: int, leaving: int, carried: Ints) -> bool:
        shard = self._shards.of(entry.entity)
        keys = (self._shards.epochs[shard], entry.key, self._shards.marks(shard, epoch))
        asked = Call(shard, keys, (epoch, *entry.rewriting(leaving, carried), KEPT_MS))
        (done,) = await self._link.run("fold", [asked])
        return bool(done)


def _written(kind: Entity, ladder: Ladder) -> str:
    """Write one need: `merchant 1/3600000 3600000/1296000000`."""
    steps = zip(ladder.resolutions_ms, ladder.tails_ms, strict=True)
    return " ".join((kind.value, *(f"{resolution}/{tail}" for resolution, tail in steps)))


def _read(need: str) -> tuple[Entity, Ladder]:
    kind, *steps = need.split()
    pairs = [tuple(map(int, step.split("/"))) for step in steps]
    return Entity(kind), Ladder(tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs))
