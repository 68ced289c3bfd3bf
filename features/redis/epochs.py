"""The history epoch of a deployment: equal in all its shards, and raised above every earlier one after a loss.

Each shard holds the epoch beside its histories, so a shard that lost them shows it. Shards that disagree have no valid
epoch: a worker that finds them so raises all of them above the highest, since it cannot tell this from a shard that was
set back. Beside the epoch each shard holds the retention under it.
"""

from collections.abc import Iterable
from typing import NamedTuple

from features.redis.append import NO_EPOCH, read_epoch
from features.redis.connection import Call, Connection
from features.redis.keys import HOME_SHARD, KeyLayout
from features.redis.retention import Coverage, EpochCoverage, StoredRetention, read_coverage, read_retention


class EpochAnswer(NamedTuple):
    """An epoch, and whether this call created it."""

    epoch: int
    new: bool


class EpochState(NamedTuple):
    """The epoch of each shard, the coverage and retention of histories, and when records were last displaced.

    `evicted` is how many keys the servers had evicted when the loss of them was last handled, `hash_check` what was
    stored of the key by which ids are hashed.
    """

    epochs: list[int]
    complete: EpochCoverage
    stored: StoredRetention
    displaced_at: bytes | None
    evicted: bytes | None
    hash_check: bytes | None


class Epochs:
    """The history epoch of the deployment with these keys; `cover` is how far back this worker needs histories."""

    def __init__(self, connection: Connection, layout: KeyLayout, cover: Coverage) -> None:
        self._connection = connection
        self._layout = layout
        self._cover = cover

    async def join(self, first: int, *, emptied: bool = False) -> EpochAnswer:
        """Return the deployment's history epoch, `first` if there was none.

        Histories are complete only under the epoch that a key of its own names: not under one raised after a
        loss, until a repair says so; nor under the first one of a deployment that is known to have had
        histories (`emptied`).
        """
        found, complete, *_ = await self.read()
        if not any(found):
            await self._connection.run(
                "init_epoch", [Call(HOME_SHARD, (self._layout.epochs[HOME_SHARD], self._layout.complete), (first,))]
            )
            found, complete, *_ = await self.read()
        epoch = found[HOME_SHARD]
        if complete.epoch < 0 and max(found) == epoch == -complete.epoch:
            return await self._init_all_shards(epoch, emptied=emptied)
        return EpochAnswer(await self._agree(found, NO_EPOCH), new=False)

    async def _init_all_shards(self, epoch: int, *, emptied: bool) -> EpochAnswer:
        """Set a new deployment's epoch in all shards, whichever worker created it."""
        await self._raise(epoch - 1, epoch)
        await self._connection.set(
            HOME_SHARD, self._layout.complete, EpochCoverage(NO_EPOCH if emptied else epoch, self._cover).text
        )
        return EpochAnswer(epoch, new=True)

    async def add_needs(self, epoch: int, needs: Iterable[str]) -> StoredRetention:
        """Add needs to the retention under an epoch, and return it.

        All workers read it in HOME_SHARD, which is updated last: by then no shard drops what is to be kept.
        """
        asked: list[bytes | int] = [epoch, *(need.encode() for need in needs)]
        *others, home = [Call(shard, (key,), asked) for shard, key in reversed(list(enumerate(self._layout.retention)))]
        if others:
            await self._connection.run("add_needs", others)
        (stored,) = await self._connection.run("add_needs", [home])
        return read_retention(stored)

    async def raise_above(self, above: int) -> int:
        """Return the epoch above `above` in which all shards agree, raising them unless another worker did already.

        The shards are read first: a worker with an outdated epoch would otherwise raise a lost shard to the
        very epoch of the others, and hide the loss.
        """
        return await self._agree((await self.read()).epochs, above)

    async def _agree(self, found: list[int], above: int) -> int:
        """Return the epoch that all shards have, or raise them if it is not above `above`."""
        if len(set(found)) == 1 and found[HOME_SHARD] > above:
            return found[HOME_SHARD]
        above = max(*found, above)
        while True:
            before = await self._raise(above, above + 1)
            highest = max(before)
            if highest <= above:
                return above + 1
            if len(set(before)) == 1:
                return highest
            above = highest

    async def _raise(self, above: int, to: int) -> list[int]:
        """Raise the epoch of all shards that have none above `above`, and return what they had."""
        calls = [Call(shard, (key,), (above, to)) for shard, key in enumerate(self._layout.epochs)]
        return [read_epoch(before) for before in await self._connection.run("raise_epoch", calls)]

    async def read(self) -> EpochState:
        """Return the epoch state as the server has it."""
        keys = [
            *enumerate(self._layout.epochs),
            (HOME_SHARD, self._layout.complete),
            (HOME_SHARD, self._layout.retention[HOME_SHARD]),
            (HOME_SHARD, self._layout.displaced_at),
            (HOME_SHARD, self._layout.evicted),
            (HOME_SHARD, self._layout.hash_check),
        ]
        *found, complete, stored, displaced_at, evicted, hash_check = await self._connection.values(keys)
        return EpochState(
            [read_epoch(value) for value in found],
            read_coverage(complete),
            read_retention(stored),
            displaced_at,
            evicted,
            hash_check,
        )
