"""Histories as sorted sets of records by time, as contenders keep them that compute our features.

A redelivery changes nothing and the features are equal to the bit, but a retry at another offset or with other content
is a second record.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple, Protocol

import numpy as np

from features.declaration import FeatureSet
from features.history import records
from features.history.append import NO_ENTITY, EntityRows, rows_by_entity
from features.history.frames import Floats
from features.history.store import NOWHERE, Entity, Fate, Histories, Observed, Transactions
from features.redis.keys import KIND_LETTERS
from features.vector.vectorise import vectorise
from fraudstream.bench.keys import keys_of


class CommandQueue(Protocol):
    """Commands that are sent together: a pipeline of redis-py, with or without an event loop."""

    def zrange(self, name: str, start: Any, end: Any, *, byscore: bool) -> Any:  # noqa: ANN401 - redis-py's types
        """Queue ZRANGE."""
        ...

    def zadd(self, name: str, mapping: Mapping[Any, Any]) -> Any:  # noqa: ANN401 - likewise
        """Queue ZADD."""
        ...


class AskedSets(NamedTuple):
    """A batch whose commands are sent: its records by kind, and which place of which kind each pair is about."""

    batch: Transactions
    entities: Mapping[Entity, EntityRows]
    own: Mapping[Entity, list[bytes]]
    places: list[tuple[Entity, int]]


class SortedSetQueries:
    """What is asked of a sorted set for each entity, and what follows from the answers; keys begin with `name`."""

    def __init__(self, name: str, feature_set: FeatureSet) -> None:
        self._prefixes = {kind: key_prefix(name, kind) for kind in feature_set.horizons_ms}
        self._feature_set = feature_set
        self._horizons_ms = feature_set.horizons_ms

    def ask(self, pipeline: CommandQueue, batch: Transactions) -> AskedSets:
        """Queue the commands of a batch: for each event and entity the history before it, then its own record."""
        entities = rows_by_entity(batch, tuple(self._horizons_ms))
        places = [
            (kind, i) for kind, one in entities.items() for i, entity in enumerate(one.hashes) if entity != NO_ENTITY
        ]
        times = batch.occurred_ms.tolist()
        own = {kind: [row.tobytes() for row in one.rows] for kind, one in entities.items()}
        for kind, i in places:
            key = self.key(kind, entities[kind].hashes[i])
            pipeline.zrange(key, f"({times[i] - self._horizons_ms[kind]}", "+inf", byscore=True)
            pipeline.zadd(key, {own[kind][i]: times[i]})
        return AskedSets(batch, entities, own, places)

    def read(self, asked: AskedSets, replies: Sequence[Any]) -> Floats:
        """Compute the features of a batch from the replies to its commands."""
        seen = dict(zip(asked.places, replies[::2], strict=True))
        histories = {
            kind: _side_by_side(one.hashes, asked.own[kind], [seen.get((kind, i), []) for i in range(len(asked.batch))])
            for kind, one in asked.entities.items()
        }
        observed = Observed([Fate.DECIDE] * len(asked.batch), histories, history_epoch=1, incomplete=False)
        return vectorise(self._feature_set, asked.batch, observed)

    def key(self, kind: Entity, entity: int) -> str:
        """Return the key of an entity's sorted set."""
        return f"{self._prefixes[kind]}{entity & records.HASH_MASK:016x}"


def _side_by_side(hashes: Sequence[int], own: Sequence[bytes], seen: Sequence[list[bytes]]) -> Histories:
    """Concatenate the replies, each with the event's own record last, once."""
    parts = [[*(other for other in others if other != mine), mine] for mine, others in zip(own, seen, strict=True)]
    rows = np.frombuffer(b"".join(chain.from_iterable(parts)), records.STORED).reshape(
        -1, len(own[0]) // records.COLUMN_BYTES
    )
    lengths = np.array(list(map(len, parts)), np.int64)
    return Histories(rows, lengths, np.where(np.array(hashes) == NO_ENTITY, NOWHERE, lengths - 1))


def key_prefix(name: str, kind: Entity) -> str:
    """Return the prefix of a store's keys of one kind of entity."""
    return f"{keys_of(name)}:{KIND_LETTERS[kind]}:"
