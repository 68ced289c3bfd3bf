"""The memory of one history, on the server and in a worker, and the time of a transaction that reads it.

Each history is written record by record, evenly over its horizon, so that the server's buffers are as a stream leaves
them.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from statistics import median
from time import perf_counter
from typing import NamedTuple

import numpy as np
from redis.asyncio import Redis

from features.declaration import DAY_MS, FeatureSet, load
from features.history import records
from features.history.append import rows_by_entity
from features.history.store import Entity, Ints, Transactions
from features.redis.cache import CachedHistory
from features.redis.client import open_client
from features.redis.keys import SINGLE_SERVER_SHARDS, KeyLayout
from features.redis.store import RedisStore
from features.rows import device, paned
from features.vector.vectorise import vectorise
from fraudstream.bench.keys import PREFIX, own_keys
from stream.clock import now_ms
from stream.settings import Settings

MONTH_MS = 30 * DAY_MS
_CHUNK = 1_000
_OTHERS = 32
_READERS = 1 << 40
"""The first offset of the payments that read the history."""
_ROUNDS = {1: 40, 32: 5}
_NAMES = {Entity.CARD: "card-of-all", Entity.MERCHANT: "shop-of-all", Entity.DEVICE: "phone-of-all"}


class MemoryCase(NamedTuple):
    """One kind of history under one feature set."""

    kind: Entity
    windows: str
    feature_set: FeatureSet


class MemoryLine(NamedTuple):
    """The figures of a history with so many records a month.

    Bytes on the server as records came in and after tidying, and in a worker's memory; microseconds of a worker and its
    server for a transaction that reads it, alone and in a batch of 32.
    """

    kind: str
    windows: str
    a_month: int
    fresh_bytes: int
    tidy_bytes: int
    worker_bytes: int
    alone_us: float
    together_us: float


def cases() -> Iterator[MemoryCase]:
    """Yield cards, merchants and devices with exact windows, and the latter two with paned windows too."""
    default, counted = load(None), device("count", "30d")
    yield MemoryCase(Entity.CARD, "exact", default)
    yield MemoryCase(Entity.MERCHANT, "exact", default)
    yield MemoryCase(Entity.MERCHANT, "paned", load("features.hot_merchants_set"))
    yield MemoryCase(Entity.DEVICE, "exact", FeatureSet((counted,)))
    yield MemoryCase(Entity.DEVICE, "paned", FeatureSet((paned(counted, "6h"),)))


async def measure(settings: Settings, a_month: int, case: MemoryCase) -> MemoryLine:
    """Write one history, and measure it."""
    deployment = f"bench-{now_ms()}"
    async with _opened(settings, deployment, case.feature_set) as (client, store):
        newest_ms = now_ms() - 60_000
        key = await _write(client, deployment, case, a_month, newest_ms)
        readers = _Readers(case, newest_ms)
        await store.observe(readers.next(1))
        fresh_bytes = await client.memory_usage(key) or 0
        held = store.cache_stats[case.kind].held_bytes
        await store.compact()
        tidy_bytes = await client.memory_usage(key) or 0
        await store.observe(readers.next(1))
        held = min(held, store.cache_stats[case.kind].held_bytes)
        alone_us, together_us = [await _cost_us(store, case.feature_set, readers, size) for size in _ROUNDS]
        return MemoryLine(case.kind.value, case.windows, a_month, fresh_bytes, tidy_bytes, held, alone_us, together_us)


@asynccontextmanager
async def _opened(
    settings: Settings, deployment: str, feature_set: FeatureSet
) -> AsyncIterator[tuple[Redis, RedisStore]]:
    """Yield a client and a store; the deployment's keys are deleted afterwards."""
    store = RedisStore(settings.redis_url, deployment, feature_set, now_ms)
    async with own_keys(settings.redis_url, deployment), open_client(settings.redis_url) as client:
        try:
            await store.connect()
            yield client, store
        finally:
            await store.close()


async def _write(client: Redis, deployment: str, case: MemoryCase, a_month: int, newest_ms: int) -> bytes:
    """Append records one by one up to now, and return the key."""
    horizon_ms = case.feature_set.horizons_ms[case.kind]
    times_ms = newest_ms - np.arange(horizon_ms * a_month // MONTH_MS, -1, -1) * (MONTH_MS // a_month)
    ours = rows_by_entity(_payments(case.kind, times_ms, 0), (case.kind,))[case.kind]
    entity = ours.hashes[0]
    key = KeyLayout(PREFIX, deployment, SINGLE_SERVER_SHARDS).key(case.kind, entity)
    written = [row.tobytes() for row in ours.rows.astype(records.STORED, copy=False)]
    written[0] = CachedHistory(case.kind, entity, _NAMES[case.kind], key).header() + written[0]
    for begin in range(0, len(written), _CHUNK):
        async with client.pipeline(transaction=False) as pipeline:
            for record in written[begin : begin + _CHUNK]:
                pipeline.append(key, record)
            await pipeline.execute()
    return key


class _Readers:
    """Payments after those that were written, one a millisecond, with few other parties."""

    def __init__(self, case: MemoryCase, newest_ms: int) -> None:
        self._kind = case.kind
        self._newest_ms = newest_ms
        self._made = 0

    def next(self, count: int) -> Transactions:
        """Return the next payments."""
        times_ms = self._newest_ms + 1 + np.arange(self._made, self._made + count)
        self._made += count
        return _payments(self._kind, times_ms, _READERS)


def _payments(kind: Entity, times_ms: Ints, first: int) -> Transactions:
    """Return payments at these times, all of one entity of this kind; the other parties alternate."""
    count = len(times_ms)
    names = {
        each: [_NAMES[each] if each is kind else f"{each.value}-{number % _OTHERS}" for number in range(count)]
        for each in _NAMES
    }
    return Transactions(
        transaction_ids=[f"{first}-{time_ms}" for time_ms in times_ms.tolist()],
        card_ids=names[Entity.CARD],
        merchant_ids=names[Entity.MERCHANT],
        occurred_ms=times_ms,
        utc_offset_minutes=np.zeros(count, np.int64),
        amount_minor=times_ms % 100_000,
        exponent=np.full(count, 2, np.int64),
        content=times_ms.astype(np.uint64),
        partition=np.zeros(count, np.int64),
        offset=first + np.arange(count),
        device_ids=names[Entity.DEVICE],
        place=np.zeros(count, np.int64),
        traits=np.zeros(count, np.int64),
    )


async def _cost_us(store: RedisStore, feature_set: FeatureSet, readers: _Readers, size: int) -> float:
    """Return the median microseconds per transaction of observing and vectorising a batch of this size."""
    spent = []
    await store.observe(readers.next(_OTHERS))
    for _ in range(_ROUNDS[size]):
        batch = readers.next(size)
        started = perf_counter()
        vectorise(feature_set, batch, await store.observe(batch))
        spent.append((perf_counter() - started) / size * 1e6)
    return median(spent)
