"""Microseconds of `observe` on several Redis servers or clusters, in turns, on the same payments, histories remembered.

Each has keys of its own, which expire by themselves. Servers' own CPU is not seen from here.
"""

import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from statistics import median
from typing import NamedTuple

from features.history.store import Transactions
from features.redis.client import without_password
from features.redis.store import RedisStore
from features.vector.sets import FeatureSets
from stream.bench.crowd import payments
from stream.bench.stages import ConsumedRecord, told
from stream.clock import now_ms
from stream.scoring.decode import decode

SIZES = (1, 32, 256)
ROUNDS = 7
_BATCHES = {1: 200, 32: 50, 256: 20}
_WARM_UP = 40
_WARM_UP_BATCH = 500
_SKEW_MS = 10**15


class ServerLine(NamedTuple):
    """One place at one batch size, per event: this thread's CPU, and all of the time; medians of rounds' medians."""

    where: str
    batch: int
    python_us: float
    wall_us: float


async def compare_servers(urls: Sequence[str], sets: FeatureSets) -> list[ServerLine]:
    """Measure all places.

    Raises:
        StoreUnavailableError: one does not answer.
        StoreRefusedError: one must not be used.
    """
    lots = _lots()
    found: dict[tuple[int, str], list[tuple[float, float]]] = {}
    async with AsyncExitStack() as stack:
        stores = {url: RedisStore(url, f"bench-{now_ms()}", sets, now_ms) for url in urls}
        for store in stores.values():
            stack.push_async_callback(store.close)
            await store.connect()
            for lot in lots[0]:
                await store.observe(lot)
        for part in range(ROUNDS):
            for number, size in enumerate(SIZES):
                for url, store in stores.items():
                    spent = await _measure(store, lots[1 + part * len(SIZES) + number])
                    found.setdefault((size, url), []).append(spent)
    return [
        ServerLine(
            without_password(url), size, *(round(median(each) / size * 1e6, 1) for each in zip(*spent, strict=True))
        )
        for (size, url), spent in found.items()
    ]


def _lots() -> list[list[Transactions]]:
    """Return the batches of the warm-up, and of each round's sizes."""
    sizes = [[_WARM_UP_BATCH] * _WARM_UP] + [[size] * _BATCHES[size] for _ in range(ROUNDS) for size in SIZES]
    records = iter([told(sent, offset) for offset, sent in enumerate(payments(sum(map(sum, sizes)), seed=1))])
    return [[_columns([next(records) for _ in range(size)]) for size in lot] for lot in sizes]


def _columns(records: list[ConsumedRecord]) -> Transactions:
    return decode(records, _SKEW_MS).columns  # type: ignore[arg-type] # as told


async def _measure(store: RedisStore, lots: Sequence[Transactions]) -> tuple[float, float]:
    """Return the median seconds of a batch, of CPU and of time."""
    python_s, wall_s = [], []
    for lot in lots:
        began, cpu = time.perf_counter(), time.thread_time()
        await store.observe(lot)
        python_s.append(time.thread_time() - cpu)
        wall_s.append(time.perf_counter() - began)
    return median(python_s), median(wall_s)
