"""Which keys a deployment has on its server, and which of them live together: its shards.

One server holds one shard. On a Redis Cluster, where all keys of a call must share a slot, there are always as many
shards as when the deployment began; each owns an equal part of the slots, so that nodes with equal parts of the slots
have equally many. Nothing here knows which node serves one.
"""

from binascii import crc_hqx
from collections.abc import Iterable
from itertools import count
from types import MappingProxyType

from features.history.records import HASH_MASK
from features.history.store import Entity

SLOTS = 16384
"""Of every Redis Cluster."""
SINGLE_SERVER_SHARDS = 1
"""How many shards one server holds."""
CLUSTER_SHARDS = 64
"""How many shards a cluster holds, whatever its size: another number is another place for every history."""
HOME_SHARD = 0
"""The shard of all that is kept once."""
KIND_LETTERS = MappingProxyType({Entity.CARD: "c", Entity.MERCHANT: "m", Entity.DEVICE: "d"})


def slot(tag: str) -> int:
    """Return the slot of all keys with this hash tag: CRC16 (XMODEM) modulo 16384, by the cluster specification."""
    return crc_hqx(tag.encode(), 0) % SLOTS


class KeyLayout:
    """The keys of one deployment in `shard_count` shards; `prefix` begins all names.

    Attributes:
        slots: the slot of each shard; means nothing where there is one.
        epochs: the key of each shard's history epoch.
        kept: the key of each shard's word on how histories are kept.
    """

    def __init__(self, prefix: str, deployment: str, shard_count: int) -> None:
        self.shard_count = shard_count
        tags = [_tag(deployment, shard, shard_count) for shard in range(shard_count)]
        self.slots = tuple(map(slot, tags))
        self._prefixes = (
            [f"{prefix}{{{tag}}}:" for tag in tags]
            if shard_count > SINGLE_SERVER_SHARDS
            else [f"{prefix}{deployment}:"]
        )
        self.epochs = tuple(f"{begin}epoch".encode() for begin in self._prefixes)
        self.retention = tuple(key + b":kept" for key in self.epochs)

    @property
    def complete(self) -> bytes:
        """The key, in the shard HOME, of the epoch whose histories are known to be all there."""
        return self.epochs[HOME_SHARD] + b":whole"

    @property
    def servers(self) -> bytes:
        """The key, in the shard HOME, of who serves the histories, as a worker last said."""
        return self.epochs[HOME_SHARD] + b":servers"

    def checkpoints(self, shard: int, epoch: int) -> bytes:
        """Return the key, in a shard, of below which offsets all was applied under an epoch."""
        return self.epochs[shard] + f":marks:{epoch}".encode()

    def shard_of(self, entity: int) -> int:
        """Return the shard of an entity, by the hash that names it."""
        return (entity & HASH_MASK) % self.shard_count

    def key(self, kind: Entity, entity: int) -> bytes:
        """Return the key of a history."""
        return f"{self._prefixes[self.shard_of(entity)]}{KIND_LETTERS[kind]}:{entity & HASH_MASK:016x}".encode()

    def is_history(self, key: bytes) -> bool:
        """Tell whether a key is a history's of this deployment."""
        return any(
            key.startswith(f"{begin}{letter}:".encode()) for begin in self._prefixes for letter in KIND_LETTERS.values()
        )

    def group_by_shard(self, entities: Iterable[int]) -> dict[int, list[int]]:
        """Return which places of `entities` belong to each shard, in order."""
        places: dict[int, list[int]] = {}
        for place, entity in enumerate(entities):
            places.setdefault((entity & HASH_MASK) % self.shard_count, []).append(place)
        return places


def _tag(deployment: str, shard: int, shard_count: int) -> str:
    """Return the first name whose slot is in the shard's part; no deployment's name has a `/`, so they stay apart."""
    first, behind = shard * SLOTS // shard_count, (shard + 1) * SLOTS // shard_count
    return next(tag for n in count() if first <= slot(tag := f"{deployment}/{n}") < behind)
