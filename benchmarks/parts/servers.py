"""Microseconds of `observe` on several Redis servers or clusters, alternating, on the same payments, with a warm cache.

Each has keys of its own, which are deleted at the end. The CPU of the servers is not measured.
"""

import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from statistics import median
from typing import NamedTuple

from benchmarks.parts.stages import ConsumedRecord, consumed
from features.history.store import Transactions
from features.redis.client import without_password
from features.redis.store import RedisStore
from features.vector.sets import FeatureSets
from fraudstream.bench.keys import own_keys
from fraudstream.bench.payments import payments
from stream.clock import now_ms
from stream.scoring.decode import decode

SIZES = (1, 32, 256)
ROUNDS = 7
_BATCHES = {1: 200, 32: 50, 256: 20}
_WARM_UP = 40
_WARM_UP_BATCH = 500
_SKEW_MS = 10**15


class ServerLine(NamedTuple):
    """One server at one batch size, per event: this thread's CPU, and elapsed time; medians of the rounds' medians."""

    where: str
    batch: int
    python_us: float
    wall_us: float


async def compare_servers(urls: Sequence[str], sets: FeatureSets) -> list[ServerLine]:
    """Measure all servers.

    Raises:
        StoreUnavailableError: a server does not answer.
        StoreRefusedError: a server must not be used.
    """
    batches = _batches()
    found: dict[tuple[int, str], list[tuple[float, float]]] = {}
    async with AsyncExitStack() as stack:
        deployment = f"bench-{now_ms()}"
        stores = {url: RedisStore(url, deployment, sets, now_ms) for url in urls}
        for url, store in stores.items():
            await stack.enter_async_context(own_keys(url, deployment))
            stack.push_async_callback(store.close)
            await store.connect()
            for batch in batches[0]:
                await store.observe(batch)
        for part in range(ROUNDS):
            for number, size in enumerate(SIZES):
                for url, store in stores.items():
                    spent = await _measure(store, batches[1 + part * len(SIZES) + number])
                    found.setdefault((size, url), []).append(spent)
    return [
        ServerLine(
            without_password(url), size, *(round(median(each) / size * 1e6, 1) for each in zip(*spent, strict=True))
        )
        for (size, url), spent in found.items()
    ]


def _batches() -> list[list[Transactions]]:
    """Return the batches of the warm-up, then those of each size in each round."""
    sizes = [[_WARM_UP_BATCH] * _WARM_UP] + [[size] * _BATCHES[size] for _ in range(ROUNDS) for size in SIZES]
    records = iter([consumed(sent, offset) for offset, sent in enumerate(payments(sum(map(sum, sizes)), seed=1))])
    return [[_columns([next(records) for _ in range(size)]) for size in part] for part in sizes]


def _columns(records: list[ConsumedRecord]) -> Transactions:
    return decode(records, _SKEW_MS).columns  # type: ignore[arg-type] # as consumed


async def _measure(store: RedisStore, batches: Sequence[Transactions]) -> tuple[float, float]:
    """Return the median seconds of a batch: CPU, and elapsed time."""
    python_s, wall_s = [], []
    for batch in batches:
        began, cpu = time.perf_counter(), time.thread_time()
        await store.observe(batch)
        python_s.append(time.thread_time() - cpu)
        wall_s.append(time.perf_counter() - began)
    return median(python_s), median(wall_s)
