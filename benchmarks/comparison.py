"""`bench features`: our histories against two other designs, in one run, alternating, on the same payments.

Each store has keys of its own and gets every payment; batches of each size are measured, round by round.
"""

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from statistics import median
from typing import NamedTuple

from redis.asyncio import Redis
from redis.exceptions import RedisError

from benchmarks.alternatives import Counters, SortedSets
from benchmarks.stores import ComparedStore, key_prefix, mean_bytes, server_cpu_s, stream_store
from benchmarks.workload import Workload
from features.declaration import FeatureSet
from features.history.store import Entity, Transactions
from features.redis.client import without_password
from features.redis.sentinel import open_client
from fraudstream.bench.keys import delete_keys, keys_of
from stream.clock import now_ms
from stream.errors import MeasurementError
from stream.settings import Settings

OURS, COLD, SETS, COUNTERS = "ours", "ours, nothing remembered", "sorted sets", "counters"
NAMES = {OURS: "ours", COLD: "cold", SETS: "sets", COUNTERS: "counters"}
SIZES = (1, 32, 256)
SINGLE_SHARE = 8
"""Batches of one take longest: an eighth of the events is measured in them."""
_WARM_UP = 500
_TIDY_EVERY = 20
_SEED = 5


class ComparisonEffort(NamedTuple):
    """How much to measure: cards, events of each batch size in each round, and rounds."""

    cards: int
    events: int
    rounds: int

    def batches(self, size: int) -> int:
        """Return the number of batches of this size in a round."""
        return max(1, self.events // (SINGLE_SHARE if size == 1 else size))


class ComparisonRound(NamedTuple):
    """One store's batches of one size in one round, in microseconds per event.

    `redis_us` is CPU of the server, its network included; `python_us` is CPU of this thread, the median of the batches;
    `wall_us` is elapsed time, likewise. Other load on the machine hardly disturbs the CPU figures.
    """

    redis_us: float
    python_us: float
    wall_us: float


class ComparisonLine(NamedTuple):
    """One store at one batch size: medians of its rounds, and the sum of both CPU times.

    `times_ours` is that sum divided by ours; `least_us` is the sum of the cheapest round, `spread` the dearest over it.
    """

    contestant: str
    batch: int
    redis_us: float
    python_us: float
    both_us: float
    times_ours: float
    least_us: float
    spread: float
    wall_us: float


class ComparisonResult(NamedTuple):
    """All lines, and the mean bytes of a card and of a merchant in Redis, by store."""

    lines: list[ComparisonLine]
    bytes_each: dict[str, dict[str, int]]


Rounds = dict[tuple[str, int], list[ComparisonRound]]


async def compare(settings: Settings, feature_set: FeatureSet, effort: ComparisonEffort) -> ComparisonResult:
    """Measure all stores.

    Raises:
        MeasurementError: the server is a cluster, or fails.
    """
    where = without_password(settings.redis_url)
    if "+cluster:" in where:
        raise MeasurementError(
            f"{where}: the alternatives work on one server only. Set FRAUDSTREAM_REDIS_URL to a single server."
        )
    prefix, workload = f"bench-{now_ms()}", Workload(effort.cards, _SEED)
    try:
        async with compared_stores(settings, feature_set, prefix) as (client, stores):
            await _warm_up(list(stores.values()), workload)
            rounds = await _alternate(client, stores, workload, effort)
            sizes = {name: await _bytes_each(client, f"{prefix}-{NAMES[name]}") for name in stores}
    except RedisError as error:
        raise MeasurementError(f"{where}: {error}") from error
    return ComparisonResult(list(_lines(rounds)), sizes)


@asynccontextmanager
async def compared_stores(
    settings: Settings, feature_set: FeatureSet, prefix: str
) -> AsyncIterator[tuple[Redis, dict[str, ComparedStore]]]:
    """Yield a client and all stores, whose keys begin with `prefix` and are deleted afterwards."""
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(open_client(settings.redis_url))
        stack.push_async_callback(delete_keys, client, keys_of(prefix))
        names = {name: f"{prefix}-{short}" for name, short in NAMES.items()}
        yield (
            client,
            {
                OURS: await stack.enter_async_context(stream_store(settings, names[OURS], feature_set)),
                COLD: await stack.enter_async_context(stream_store(settings, names[COLD], feature_set, cache_bytes=0)),
                SETS: SortedSets(client, names[SETS], feature_set),
                COUNTERS: Counters(client, names[COUNTERS], feature_set),
            },
        )


async def _warm_up(stores: list[ComparedStore], workload: Workload) -> None:
    """Fill the histories to the length that is measured."""
    for number in range(workload.before // _WARM_UP):
        labelled = workload.next(_WARM_UP)
        for store in stores:
            await store.vectors(labelled.batch)
            await store.label(labelled.labels)
            if number % _TIDY_EVERY == 0:
                await store.compact()


async def _alternate(
    client: Redis, stores: dict[str, ComparedStore], workload: Workload, effort: ComparisonEffort
) -> Rounds:
    rounds: Rounds = {(name, size): [] for size in SIZES for name in stores}
    for _ in range(effort.rounds):
        for size in SIZES:
            batches = [workload.next(size).batch for _ in range(effort.batches(size))]
            for name, store in stores.items():
                rounds[name, size].append(await _measure(client, store, batches))
        for store in stores.values():
            await store.compact()
    return rounds


async def _measure(client: Redis, store: ComparedStore, batches: list[Transactions]) -> ComparisonRound:
    python_s, wall_s, before_s = [], [], await server_cpu_s(client)
    for batch in batches:
        began, cpu = time.perf_counter(), time.thread_time()
        await store.vectors(batch)
        python_s.append(time.thread_time() - cpu)
        wall_s.append(time.perf_counter() - began)
    redis_s = (await server_cpu_s(client) - before_s) / len(batches)
    return ComparisonRound(*(each / len(batches[0]) * 1e6 for each in (redis_s, median(python_s), median(wall_s))))


async def _bytes_each(client: Redis, name: str) -> dict[str, int]:
    kinds = (Entity.CARD, Entity.MERCHANT)
    return {kind.value: await mean_bytes(client, key_prefix(name, kind)) for kind in kinds}


def _lines(rounds: Rounds) -> Iterator[ComparisonLine]:
    """Summarise the rounds, size by size, ours first."""
    for size in SIZES:
        ours_us = median(one.redis_us + one.python_us for one in rounds[OURS, size])
        for name in NAMES:
            redis, python, wall = zip(*rounds[name, size], strict=True)
            both = [one.redis_us + one.python_us for one in rounds[name, size]]
            yield ComparisonLine(
                name,
                size,
                redis_us=round(median(redis), 2),
                python_us=round(median(python), 2),
                both_us=round(median(both), 2),
                times_ours=round(median(both) / ours_us, 2),
                least_us=round(min(both), 2),
                spread=round(max(both) / min(both), 2),
                wall_us=round(median(wall), 2),
            )
