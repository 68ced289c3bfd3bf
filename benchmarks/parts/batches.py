"""The time and memory of batches: all payments at one merchant or of one card with a long history, or ordinary ones.

A batch is observed and its features computed part by part, as a worker does. Time is CPU of this thread, which other
load on the machine hardly disturbs. Memory is what Python and numpy allocate at most meanwhile, beyond what was there
before, in a batch that is not timed.
"""

import tracemalloc
from collections.abc import Iterator
from statistics import median
from time import thread_time
from typing import NamedTuple

import numpy as np
from redis.asyncio import Redis

from features.declaration import DAY_MS, FeatureSet
from features.history import records
from features.history.store import Entity, Transactions, observe_all
from features.redis.cache import CachedHistory
from features.redis.client import open_client
from features.redis.keys import SINGLE_SERVER_SHARDS, KeyLayout
from features.redis.store import RedisStore, StoreOptions
from features.vector.vectorise import vectorise
from fraudstream.bench.keys import PREFIX, own_keys
from stream.clock import now_ms
from stream.settings import Settings

SIZES = (1, 16, 128, 512)
HORIZONS_MS = {Entity.MERCHANT: 44 * DAY_MS, Entity.CARD: 37 * DAY_MS}
ONE_MERCHANT, ONE_CARD, ORDINARY = "one merchant", "one card", "ordinary"
CARDS, MERCHANTS, WARM_UP = 2_000, 300, 30_000
_ROUNDS = {1: 41, 16: 11, 128: 3, 512: 3}


class BatchLine(NamedTuple):
    """One kind and size of batches: the median microseconds of CPU, the parts of a batch, and the peak of memory."""

    payments_at: str
    batch: int
    us_a_payment: float
    parts: int
    peak_bytes: int


async def measure_batches(settings: Settings, feature_set: FeatureSet, visible: int) -> list[BatchLine]:
    """Measure batches of each kind and size."""
    deployment = f"bench-{now_ms()}"
    options = StoreOptions(cache_bytes=settings.cache_mb << 20, batch_bytes=settings.batch_mb << 20)
    store = RedisStore(settings.redis_url, deployment, feature_set, now_ms, options)
    async with own_keys(settings.redis_url, deployment), open_client(settings.redis_url) as client:
        try:
            await store.connect()
            await _write(client, deployment, (Entity.MERCHANT, ONE_MERCHANT), visible)
            await _write(client, deployment, (Entity.CARD, ONE_CARD), visible)
            source = _Payments()
            for _ in range(WARM_UP // 500):
                await store.observe(source.next(ORDINARY, 500))
            return [await _measure(store, feature_set, (source, kind, size)) for kind, size in _cases()]
        finally:
            await store.close()


def _cases() -> Iterator[tuple[str, int]]:
    for kind in (ONE_MERCHANT, ONE_CARD, ORDINARY):
        for size in SIZES:
            yield kind, size


async def _write(client: Redis, deployment: str, whose: tuple[Entity, str], visible: int) -> None:
    """Write the history of the merchant or the card, evenly over its horizon."""
    kind, name = whose
    entity = records.HASHES[kind](name)
    key = KeyLayout(PREFIX, deployment, SINGLE_SERVER_SHARDS).key(kind, entity)
    rows = np.zeros((visible, records.COLUMNS[kind]), records.STORED)
    rows[:, records.TIME] = now_ms() - np.arange(visible, 0, -1) * (HORIZONS_MS[kind] // (visible + 1))
    rows[:, records.AMOUNT] = np.arange(visible) % 100_000
    rows[:, records.ID] = rows[:, records.OTHER] = np.arange(visible) + (1 << 40)
    rows[:, records.OFFSET] = np.arange(visible)
    header = CachedHistory(kind, entity, name, key).header()
    await client.set(key, header + rows.tobytes())


async def _measure(store: RedisStore, feature_set: FeatureSet, what: tuple["_Payments", str, int]) -> BatchLine:
    source, kind, size = what
    spent, parts = list[float](), 0
    await _decide(store, feature_set, source.next(kind, size))
    for _ in range(_ROUNDS[size]):
        batch = source.next(kind, size)
        started = thread_time()
        parts = await _decide(store, feature_set, batch)
        spent.append((thread_time() - started) / size * 1e6)
    batch = source.next(kind, size)
    tracemalloc.start()
    try:
        await _decide(store, feature_set, batch)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    return BatchLine(kind, size, median(spent), parts, peak_bytes)


async def _decide(store: RedisStore, feature_set: FeatureSet, batch: Transactions) -> int:
    """Observe a batch and compute its features; return in how many parts."""
    parts = 0
    async for some, observed in observe_all(store, batch):
        vectorise(feature_set, some, observed)
        parts += 1
        del observed  # the next part needs the memory
    return parts


class _Payments:
    """Payments one a millisecond, each of another card than the one before, or all of one."""

    def __init__(self) -> None:
        self._made = 0
        self._began_ms = now_ms()

    def next(self, kind: str, count: int) -> Transactions:
        """Return the next payments, at one merchant, of one card, or ordinary ones."""
        numbers = np.arange(self._made, self._made + count)
        self._made += count
        zeros = np.zeros(count, np.int64)
        return Transactions(
            transaction_ids=[f"t-{number}" for number in numbers.tolist()],
            card_ids=[kind if kind == ONE_CARD else f"card-{number % CARDS}" for number in numbers.tolist()],
            merchant_ids=[
                kind if kind == ONE_MERCHANT else f"shop-{number % MERCHANTS}" for number in numbers.tolist()
            ],
            occurred_ms=self._began_ms + numbers,
            utc_offset_minutes=zeros,
            amount_minor=numbers % 100_000,
            exponent=zeros + 2,
            content=numbers.astype(np.uint64),
            partition=zeros,
            offset=numbers,
            device_ids=[None] * count,
            place=zeros,
            traits=zeros,
        )
