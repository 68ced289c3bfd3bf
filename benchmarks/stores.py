"""What `bench features` compares: the interface of each store, the stream's own store, and figures of the Redis server.

The keys of a compared store begin with `fraudstream:` and its name, and are deleted at the end.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from redis.asyncio import Redis

from features.declaration import FeatureSet
from features.history.frames import Floats
from features.history.store import Entity, Label, Transactions
from features.redis.keys import KIND_LETTERS
from features.redis.store import DEFAULT, RedisStore, StoreOptions
from features.vector.vectorise import vectorise
from fraudstream.bench.keys import keys_of
from stream.clock import now_ms
from stream.settings import Settings

_SCAN_COUNT = 1_000
_SAMPLE = 500


class ComparedStore(Protocol):
    """One design of histories in Redis, with the features computed from them."""

    async def vectors(self, batch: Transactions) -> Floats:
        """Store a batch and return its vectors, of shape (n, number of features); NaN for what it cannot know."""
        ...

    async def label(self, labels: Sequence[Label]) -> None:
        """Store labels."""
        ...

    async def compact(self) -> None:
        """Delete what no window reaches any more; not measured."""
        ...


class StreamStore:
    """The store of the stream, with all its features."""

    def __init__(self, store: RedisStore, feature_set: FeatureSet) -> None:
        self._store = store
        self._feature_set = feature_set

    async def vectors(self, batch: Transactions) -> Floats:
        """Observe and vectorise, as the pipeline does."""
        return vectorise(self._feature_set, batch, await self._store.observe(batch))

    async def label(self, labels: Sequence[Label]) -> None:
        """Store labels as the stream does."""
        await self._store.label(labels)

    async def compact(self) -> None:
        """Trim as the worker does in the background."""
        await self._store.compact()


@asynccontextmanager
async def stream_store(
    settings: Settings, name: str, feature_set: FeatureSet, cache_bytes: int = DEFAULT.cache_bytes
) -> AsyncIterator[StreamStore]:
    """Connect a store of the stream; with `cache_bytes` 0 it caches no history between batches."""
    options = StoreOptions(prefix=keys_of(""), cache_bytes=cache_bytes)
    store = RedisStore(settings.redis_url, name, feature_set, now_ms, options)
    await store.connect()
    try:
        yield StreamStore(store, feature_set)
    finally:
        await store.close()


def key_prefix(name: str, kind: Entity) -> str:
    """Return the prefix of a store's keys of one kind of entity."""
    return f"{keys_of(name)}:{KIND_LETTERS[kind]}:"


async def server_cpu_s(client: Redis) -> float:
    """Return the seconds of CPU that the server has used."""
    info = await client.info("cpu")
    return float(info["used_cpu_user"] + info["used_cpu_sys"])


async def mean_bytes(client: Redis, prefix: str) -> int:
    """Return the mean memory of a key with this prefix, over a sample of some hundreds."""
    pipeline = client.pipeline(transaction=False)
    async for key in client.scan_iter(match=f"{prefix}*", count=_SCAN_COUNT):
        pipeline.memory_usage(key, samples=0)
        if len(pipeline) >= _SAMPLE:
            break
    sizes: list[int] = await pipeline.execute()
    return round(sum(sizes) / max(1, len(sizes)))
