"""Who competes in `bench features`: what each has to do, ours, and the server's side of it.

Keys of contestants begin `fraudstream:` and the contestant's name, and are gone when the contest ends.
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
from stream.clock import now_ms
from stream.settings import Settings

_AT_ONCE = 1_000
_WEIGHED = 500


class Contestant(Protocol):
    """One way to keep histories in Redis and to make features of them."""

    async def vectors(self, batch: Transactions) -> Floats:
        """Keep a batch, and return its vectors, of shape (n, number of features); NaN for what cannot be known."""
        ...

    async def label(self, labels: Sequence[Label]) -> None:
        """Keep labels."""
        ...

    async def compact(self) -> None:
        """Drop what is out of sight; not measured."""
        ...


class Ours:
    """The store of the stream, and all features of what it lets see."""

    def __init__(self, store: RedisStore, feature_set: FeatureSet) -> None:
        self._store = store
        self._feature_set = feature_set

    async def vectors(self, batch: Transactions) -> Floats:
        """Observe and vectorise, as the pipeline does."""
        return vectorise(self._feature_set, batch, await self._store.observe(batch))

    async def label(self, labels: Sequence[Label]) -> None:
        """Keep labels as the stream does."""
        await self._store.label(labels)

    async def compact(self) -> None:
        """Trim as the worker does in the background."""
        await self._store.compact()


@asynccontextmanager
async def ours(
    settings: Settings, name: str, feature_set: FeatureSet, cache_bytes: int = DEFAULT.cache_bytes
) -> AsyncIterator[Ours]:
    """Connect a store of the stream; with `cache_bytes` 0 it remembers nothing from one batch to the next."""
    options = StoreOptions(prefix=keys_of(""), cache_bytes=cache_bytes)
    store = RedisStore(settings.redis_url, name, feature_set, now_ms, options)
    await store.connect()
    try:
        yield Ours(store, feature_set)
    finally:
        await store.close()


def keys_of(name: str) -> str:
    """Return how a contestant's keys begin."""
    return f"fraudstream:{name}"


def key_begin(name: str, kind: Entity) -> str:
    """Return how its keys of one kind of entity begin."""
    return f"{keys_of(name)}:{KIND_LETTERS[kind]}:"


async def server_cpu_s(client: Redis) -> float:
    """Return the seconds of CPU that the server has used."""
    info = await client.info("cpu")
    return float(info["used_cpu_user"] + info["used_cpu_sys"])


async def mean_bytes(client: Redis, begin: str) -> int:
    """Return what Redis takes for a key that begins so, on average over some hundreds."""
    pipeline = client.pipeline(transaction=False)
    async for key in client.scan_iter(match=f"{begin}*", count=_AT_ONCE):
        pipeline.memory_usage(key, samples=0)
        if len(pipeline) >= _WEIGHED:
            break
    sizes: list[int] = await pipeline.execute()
    return round(sum(sizes) / max(1, len(sizes)))


async def sweep(client: Redis, begin: str) -> None:
    """Delete all keys that begin so."""
    found = [key async for key in client.scan_iter(match=f"{begin}*", count=_AT_ONCE)]
    for at in range(0, len(found), _AT_ONCE):
        await client.unlink(*found[at : at + _AT_ONCE])
