"""The keys of a deployment on its server, and their division into shards.

One server holds one shard. On a Redis Cluster, where all keys of a call must share a hash slot, the number of shards is
fixed when a deployment begins; each shard has an equal part of the slots, so that nodes with equal parts of the slots
have equally many shards. `features.redis.cluster_client` knows which node serves one.
"""

import re
from binascii import crc_hqx
from collections.abc import Iterable
from itertools import count
from types import MappingProxyType

from features.history.records import HASH_MASK
from features.history.store import Entity

SLOTS = 16384
"""Hash slots of every Redis Cluster."""
SINGLE_SERVER_SHARDS = 1
"""Shards on a single server."""
CLUSTER_SHARDS = 64
"""Shards on a cluster of any size: another number would move every history to another key."""
HOME_SHARD = 0
"""The shard of all keys that exist once."""
_HASH = re.compile("[0-9a-f]{16}")
KIND_LETTERS = MappingProxyType({Entity.CARD: "c", Entity.MERCHANT: "m", Entity.DEVICE: "d", Entity.PREDICTION: "p"})


def slot(tag: str) -> int:
    """Return the slot of all keys with this hash tag: CRC16 (XMODEM) modulo 16384, by the cluster specification."""
    return crc_hqx(tag.encode(), 0) % SLOTS


class KeyLayout:
    """The keys of one deployment in `shard_count` shards; `prefix` starts every key.

    Attributes:
        slots: the slot of each shard; unused on a single server.
        epochs: the key of each shard's history epoch.
        retention: the key of each shard's retention.
        damaged: the key of each shard's damaged histories.
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
        self.damaged = tuple(key + b":damaged" for key in self.epochs)

    @property
    def complete(self) -> bytes:
        """The key, in HOME_SHARD, of the epoch under which histories are complete, and how far back."""
        return self.epochs[HOME_SHARD] + b":whole"

    @property
    def displaced_at(self) -> bytes:
        """The key, in HOME_SHARD, of the time at which records were last displaced under the same epoch."""
        return self.epochs[HOME_SHARD] + b":displaced-at"

    @property
    def servers(self) -> bytes:
        """The key, in HOME_SHARD, of the servers that a worker last saw serving."""
        return self.epochs[HOME_SHARD] + b":servers"

    @property
    def evicted(self) -> bytes:
        """The key, in HOME_SHARD, of how many keys the servers had evicted when the loss of them was last handled."""
        return self.epochs[HOME_SHARD] + b":evicted"

    @property
    def hash_check(self) -> bytes:
        """The key, in HOME_SHARD, of a check value of the key by which ids are hashed; absent without such a key."""
        return self.epochs[HOME_SHARD] + b":hashed"

    @property
    def commits(self) -> bytes:
        """The key, in HOME_SHARD, of the second copy of the group's commits."""
        return self.epochs[HOME_SHARD] + b":commits"

    @property
    def payment_days(self) -> bytes:
        """The key, in HOME_SHARD, of the days on which payments occurred that histories have, or had."""
        return self.epochs[HOME_SHARD] + b":days"

    def checkpoints(self, shard: int, epoch: int) -> bytes:
        """Return the key of an epoch's checkpoints in a shard: offsets below which everything is applied."""
        return self.epochs[shard] + f":marks:{epoch}".encode()

    def shard_of(self, entity: int) -> int:
        """Return the shard of an entity, given by its hash."""
        return (entity & HASH_MASK) % self.shard_count

    def key(self, kind: Entity, entity: int) -> bytes:
        """Return the key of a history."""
        return f"{self._prefixes[self.shard_of(entity)]}{KIND_LETTERS[kind]}:{entity & HASH_MASK:016x}".encode()

    def is_history(self, key: bytes) -> bool:
        """Tell whether a key is a history of this deployment."""
        return self.parse(key) is not None

    def parse(self, key: bytes) -> tuple[Entity, int] | None:
        """Return kind and hash of a history, from 0 up, by its key; None for any other key."""
        begin, _, digits = key.decode(errors="replace").rpartition(":")
        kinds = {letter: kind for kind, letter in KIND_LETTERS.items()}
        kind = kinds.get(begin[-1:])
        if kind is None or begin[:-1] not in self._prefixes or _HASH.fullmatch(digits) is None:
            return None
        return kind, int(digits, 16)

    def group_by_shard(self, entities: Iterable[int]) -> dict[int, list[int]]:
        """Return, by shard, the indexes of its `entities`, in order."""
        places: dict[int, list[int]] = {}
        for place, entity in enumerate(entities):
            places.setdefault((entity & HASH_MASK) % self.shard_count, []).append(place)
        return places


def _tag(deployment: str, shard: int, shard_count: int) -> str:
    """Return the first tag whose slot is in the shard's part; a deployment's name has no `/`, so tags never collide."""
    first, behind = shard * SLOTS // shard_count, (shard + 1) * SLOTS // shard_count
    return next(tag for n in count() if first <= slot(tag := f"{deployment}/{n}") < behind)
