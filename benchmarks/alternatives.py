"""Two other designs of histories, for `bench features`: sorted sets of records, and hashes of counters.

A sorted set has the same records as our histories, by time, so a redelivery changes nothing and the features are equal
to the bit, but a retry at another offset or with other content is a second record. Counters know counts, sums, means
and shares alone, each wrong by up to a pane at the ends of its window, and count a redelivery again.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple, Protocol

import numpy as np
from redis.asyncio import Redis

from benchmarks.stores import key_prefix
from features.aggregates import Aggregate
from features.declaration import DAY_MS, Feature, FeatureSet
from features.history import records
from features.history.append import NO_ENTITY, EntityRows, rows_by_entity
from features.history.frames import FINEST, PER_MAJOR, POWERS, Floats
from features.history.store import NOWHERE, Entity, Fate, Histories, Ints, Label, Observed, Transactions
from features.vector.vectorise import vectorise

PANES = 10
"""Panes of a window, or of its delay if that is longer; fewer panes are cheaper and less exact."""
KINDS = (Entity.CARD, Entity.MERCHANT)
COUNT, AMOUNT, FRAUDS = range(3)
NEEDS = {
    Aggregate.COUNT: (COUNT,),
    Aggregate.AMOUNT_SUM: (AMOUNT,),
    Aggregate.AMOUNT_MEAN: (COUNT, AMOUNT),
    Aggregate.FRAUD_SHARE: (COUNT, FRAUDS),
}
FIELD = struct.Struct("<qqq")
"""A field's name: what is counted, the length of its panes, and the pane's number."""


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


class SortedSets:
    """A sorted set for each entity, two commands an event and entity, pipelined; keys begin with `name`."""

    def __init__(self, client: Redis, name: str, feature_set: FeatureSet) -> None:
        self._client = client
        self._queries = SortedSetQueries(name, feature_set)
        self._key = self._queries.key
        self._horizons_ms = feature_set.horizons_ms
        self._touched: dict[str, tuple[Entity, int]] = {}

    async def vectors(self, batch: Transactions) -> Floats:
        """Read each history and add to it, event by event, in one pipeline; then compute the features."""
        pipeline = self._client.pipeline(transaction=False)
        asked = self._queries.ask(pipeline, batch)
        times = batch.occurred_ms.tolist()
        for kind, i in asked.places:
            self._touched[self._key(kind, asked.entities[kind].hashes[i])] = kind, times[i]
        return self._queries.read(asked, await pipeline.execute())

    async def label(self, labels: Sequence[Label]) -> None:
        """Add a label to the histories of its card and its merchant."""
        pipeline = self._client.pipeline(transaction=False)
        for label in labels:
            row = records.label_row(label)
            card = self._key(Entity.CARD, records.card_hash(label.card_id))
            merchant = self._key(Entity.MERCHANT, records.merchant_hash(label.merchant_id or ""))
            pipeline.zadd(card, {row.tobytes(): label.labelled_ms})
            pipeline.zadd(merchant, {row[: records.SHARED_COLUMNS].tobytes(): label.labelled_ms})
        await pipeline.execute()

    async def compact(self) -> None:
        """Delete what is older than the horizon, and let keys expire."""
        pipeline = self._client.pipeline(transaction=False)
        for key, (kind, time_ms) in self._touched.items():
            horizon_ms = self._horizons_ms[kind]
            pipeline.zremrangebyscore(key, "-inf", time_ms - horizon_ms)
            pipeline.pexpire(key, horizon_ms + DAY_MS)
        self._touched.clear()
        await pipeline.execute()


def _side_by_side(hashes: Sequence[int], own: Sequence[bytes], seen: Sequence[list[bytes]]) -> Histories:
    """Concatenate the replies, each with the event's own record last, once."""
    parts = [[*(other for other in others if other != mine), mine] for mine, others in zip(own, seen, strict=True)]
    rows = np.frombuffer(b"".join(chain.from_iterable(parts)), records.STORED).reshape(
        -1, len(own[0]) // records.COLUMN_BYTES
    )
    lengths = np.array(list(map(len, parts)), np.int64)
    return Histories(rows, lengths, np.where(np.array(hashes) == NO_ENTITY, NOWHERE, lengths - 1))


class PaneKind(NamedTuple):
    """The panes of a window: the entity, what is counted, and the panes' length."""

    kind: Entity
    what: int
    length_ms: int


class Fields(NamedTuple):
    """All fields of the hashes of n events, as columns: the event's index, the three parts of the name, the value."""

    owners: Ints
    whats: Ints
    lengths_ms: Ints
    numbers: Ints
    values: Floats


class Counters:
    """A hash of counters for each card and merchant, a field for each pane; keys begin with `name`."""

    def __init__(self, client: Redis, name: str, feature_set: FeatureSet) -> None:
        self._client = client
        self._prefixes = {kind: key_prefix(name, kind) for kind in feature_set.horizons_ms}
        self._feature_set = feature_set
        self._panes = dict.fromkeys(pane for row in feature_set.rows for pane in _panes(row))
        self._reach_ms: dict[tuple[Entity, int], int] = {}
        for row in feature_set.rows:
            for pane in _panes(row):
                longest_ms = self._reach_ms.get((pane.kind, pane.length_ms), 0)
                self._reach_ms[pane.kind, pane.length_ms] = max(row.reach_ms, longest_ms)
        self._touched: dict[str, tuple[Entity, int]] = {}

    async def vectors(self, batch: Transactions) -> Floats:
        """Increment each hash and read it, event by event, in one pipeline; then sum the panes."""
        times = batch.occurred_ms.tolist()
        adding = {COUNT: [1] * len(batch), AMOUNT: (batch.amount_minor * POWERS[FINEST - batch.exponent]).tolist()}
        pipeline = self._client.pipeline(transaction=False)
        for kind, ids in zip(KINDS, (batch.card_ids, batch.merchant_ids), strict=True):
            panes = [pane for pane in self._panes if pane.kind is kind and pane.what in adding]
            for i, entity_id in enumerate(ids):
                key = f"{self._prefixes[kind]}{entity_id}"
                self._touched[key] = kind, times[i]
                for pane in panes:
                    field = FIELD.pack(pane.what, pane.length_ms, times[i] // pane.length_ms)
                    pipeline.hincrby(key, field, adding[pane.what][i])
                pipeline.hgetall(key)
        hashes = [reply for reply in await pipeline.execute() if isinstance(reply, dict)]
        read = dict(zip(KINDS, (_fields(hashes[: len(batch)]), _fields(hashes[len(batch) :])), strict=True))
        vectors = np.full((len(batch), len(self._feature_set)), np.nan)
        for column, feature in enumerate(self._feature_set.rows):
            if feature.aggregate in NEEDS and feature.entity in read:
                vectors[:, column] = _value(feature, read[feature.entity], batch.occurred_ms)
        return vectors

    async def label(self, labels: Sequence[Label]) -> None:
        """Count frauds at their merchants."""
        pipeline = self._client.pipeline(transaction=False)
        for label in labels:
            for pane in self._panes:
                if pane.what == FRAUDS and label.fraud and label.occurred_ms is not None:
                    field = FIELD.pack(pane.what, pane.length_ms, label.occurred_ms // pane.length_ms)
                    pipeline.hincrby(f"{self._prefixes[pane.kind]}{label.merchant_id}", field, 1)
        await pipeline.execute()

    async def compact(self) -> None:
        """Delete panes that no window reaches any more, and let keys expire."""
        reading = self._client.pipeline(transaction=False)
        for key in self._touched:
            reading.hkeys(key)
        names = await reading.execute()
        dropping = self._client.pipeline(transaction=False)
        for (key, (kind, time_ms)), fields in zip(self._touched.items(), names, strict=True):
            old = [field for field in fields if self._is_old(kind, field, time_ms)]
            if old:
                dropping.hdel(key, *old)
            dropping.pexpire(key, self._feature_set.horizons_ms[kind] + DAY_MS)
        self._touched.clear()
        await dropping.execute()

    def _is_old(self, kind: Entity, field: bytes, time_ms: int) -> bool:
        _, length_ms, number = FIELD.unpack(field)
        return bool(number < (time_ms - self._reach_ms[kind, length_ms]) // length_ms)


def _panes(row: Feature) -> Iterator[PaneKind]:
    """Yield the panes of a feature; none if counters cannot compute it."""
    if row.entity in KINDS and row.window_ms is not None:
        length_ms = max(row.window_ms, row.delay_ms) // PANES
        needs = NEEDS.get(row.aggregate, ()) if isinstance(row.aggregate, Aggregate) else ()
        for what in needs:
            yield PaneKind(row.entity, what, length_ms)


def _fields(hashes: Sequence[Mapping[bytes, bytes]]) -> Fields:
    owners = np.repeat(np.arange(len(hashes)), [len(one) for one in hashes])
    names = np.frombuffer(b"".join([b"".join(one) for one in hashes]), np.int64).reshape(-1, 3)
    values = [int(value) for one in hashes for value in one.values()]
    return Fields(owners, names[:, 0], names[:, 1], names[:, 2], np.array(values, np.float64))


def _value(row: Feature, fields: Fields, times: Ints) -> Floats:
    """Compute one feature from the panes of its window, without the oldest, incomplete one."""
    sums = [_total(row, pane, fields, times) for pane in _panes(row)]
    divisor: Floats | float = 1.0
    match row.aggregate:
        case Aggregate.AMOUNT_SUM:
            divisor = PER_MAJOR
        case Aggregate.AMOUNT_MEAN:
            divisor = sums[0] * PER_MAJOR
        case Aggregate.FRAUD_SHARE:
            divisor = np.maximum(sums[0], 1.0)
    value: Floats = sums[-1] / divisor
    return value


def _total(row: Feature, pane: PaneKind, fields: Fields, times: Ints) -> Floats:
    age = ((times - row.delay_ms) // pane.length_ms)[fields.owners] - fields.numbers
    inside = (age >= 0) & (age < (row.window_ms or 0) // pane.length_ms)
    which = inside & (fields.whats == pane.what) & (fields.lengths_ms == pane.length_ms)
    return np.bincount(fields.owners[which], fields.values[which], len(times)).astype(np.float64)
