"""`bench features`: our histories against two other ways to keep them, in one run, in turns, on the same payments.

Each contestant has keys of its own and meets every payment; what is measured is batches of each size, round by round.
"""

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from statistics import median
from typing import NamedTuple

from redis.asyncio import Redis
from redis.exceptions import RedisError

from features.declaration import FeatureSet
from features.history.store import Entity, Transactions
from features.redis.client import without_password
from stream.bench.contestants import Contestant, key_begin, keys_of, mean_bytes, ours, server_cpu_s, sweep
from stream.bench.crowd import Crowd
from stream.bench.rivals import Counters, SortedSets
from stream.clock import now_ms
from stream.errors import MeasurementError
from stream.settings import Settings

OURS, COLD, SETS, COUNTERS = "ours", "ours, nothing remembered", "sorted sets", "counters"
NAMES = {OURS: "ours", COLD: "cold", SETS: "sets", COUNTERS: "counters"}
SIZES = (1, 32, 256)
ALONE = 8
"""So much fewer events are measured in batches of one, which take longest."""
_WARM_UP = 500
_TIDY_EVERY = 20
_SEED = 5


class ContestEffort(NamedTuple):
    """How many cards there are, how many events of each batch size in each round, and how many rounds."""

    cards: int
    events: int
    rounds: int

    def batches(self, size: int) -> int:
        """Return how many batches of this size make a round."""
        return max(1, self.events // (ALONE if size == 1 else size))


class ContestRound(NamedTuple):
    """One contestant's batches of one size in one round: microseconds per event.

    `redis_us` is CPU of the server, its network included; `python_us` is CPU of this thread, the median of the batches;
    `wall_us` is all of the time, waiting included, likewise. CPU is hardly disturbed by whoever else is at work.
    """

    redis_us: float
    python_us: float
    wall_us: float


class ContestLine(NamedTuple):
    """One contestant at one batch size: medians of its rounds, and the sum of both CPUs.

    `times_ours` is that sum by that of ours; `least_us` is that of the cheapest round, `spread` the dearest's by it.
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


class ContestResult(NamedTuple):
    """What a contest came to, and the mean bytes that a card and a merchant take in Redis, by contestant."""

    lines: list[ContestLine]
    bytes_each: dict[str, dict[str, int]]


Rounds = dict[tuple[str, int], list[ContestRound]]


async def compete(settings: Settings, feature_set: FeatureSet, effort: ContestEffort) -> ContestResult:
    """Measure everyone.

    Raises:
        MeasurementError: the server does not take part.
    """
    where = without_password(settings.redis_url)
    if "+cluster:" in where:
        raise MeasurementError(f"{where}: the alternatives know one server only. Set FRAUDSTREAM_REDIS_URL to one.")
    begin, crowd = f"bench-{now_ms()}", Crowd(effort.cards, _SEED)
    try:
        async with contestants_of(settings, feature_set, begin) as (client, contestants):
            await _warm_up(list(contestants.values()), crowd)
            rounds = await _in_turns(client, contestants, crowd, effort)
            sizes = {name: await _bytes_each(client, f"{begin}-{NAMES[name]}") for name in contestants}
    except RedisError as error:
        raise MeasurementError(f"{where}: {error}") from error
    return ContestResult(list(_lines(rounds)), sizes)


@asynccontextmanager
async def contestants_of(
    settings: Settings, feature_set: FeatureSet, begin: str
) -> AsyncIterator[tuple[Redis, dict[str, Contestant]]]:
    """Yield a client, and everyone, whose keys begin with `begin`; afterwards their keys are gone."""
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(Redis.from_url(settings.redis_url))
        stack.push_async_callback(sweep, client, keys_of(begin))
        names = {name: f"{begin}-{short}" for name, short in NAMES.items()}
        yield (
            client,
            {
                OURS: await stack.enter_async_context(ours(settings, names[OURS], feature_set)),
                COLD: await stack.enter_async_context(ours(settings, names[COLD], feature_set, cache_bytes=0)),
                SETS: SortedSets(client, names[SETS], feature_set),
                COUNTERS: Counters(client, names[COUNTERS], feature_set),
            },
        )


async def _warm_up(contestants: list[Contestant], crowd: Crowd) -> None:
    """Make histories as long as they will be."""
    for number in range(crowd.before // _WARM_UP):
        lot = crowd.next(_WARM_UP)
        for contestant in contestants:
            await contestant.vectors(lot.batch)
            await contestant.label(lot.labels)
            if number % _TIDY_EVERY == 0:
                await contestant.compact()


async def _in_turns(client: Redis, contestants: dict[str, Contestant], crowd: Crowd, effort: ContestEffort) -> Rounds:
    rounds: Rounds = {(name, size): [] for size in SIZES for name in contestants}
    for _ in range(effort.rounds):
        for size in SIZES:
            lots = [crowd.next(size).batch for _ in range(effort.batches(size))]
            for name, contestant in contestants.items():
                rounds[name, size].append(await _measure(client, contestant, lots))
        for contestant in contestants.values():
            await contestant.compact()
    return rounds


async def _measure(client: Redis, contestant: Contestant, lots: list[Transactions]) -> ContestRound:
    python_s, wall_s, before_s = [], [], await server_cpu_s(client)
    for lot in lots:
        began, cpu = time.perf_counter(), time.thread_time()
        await contestant.vectors(lot)
        python_s.append(time.thread_time() - cpu)
        wall_s.append(time.perf_counter() - began)
    redis_s = (await server_cpu_s(client) - before_s) / len(lots)
    return ContestRound(*(each / len(lots[0]) * 1e6 for each in (redis_s, median(python_s), median(wall_s))))


async def _bytes_each(client: Redis, name: str) -> dict[str, int]:
    kinds = (Entity.CARD, Entity.MERCHANT)
    return {kind.value: await mean_bytes(client, key_begin(name, kind)) for kind in kinds}


def _lines(rounds: Rounds) -> Iterator[ContestLine]:
    """Sum up, size by size, ours first."""
    for size in SIZES:
        ours_us = median(one.redis_us + one.python_us for one in rounds[OURS, size])
        for name in NAMES:
            redis, python, wall = zip(*rounds[name, size], strict=True)
            both = [one.redis_us + one.python_us for one in rounds[name, size]]
            yield ContestLine(
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
