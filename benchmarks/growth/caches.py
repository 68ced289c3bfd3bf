"""Whether a process's memory grows beyond its cache of histories: payments decided in one process, without servers."""

import asyncio
import gc
import os
from collections.abc import Iterator
from itertools import pairwise

from benchmarks.growth.series import GrowthPoint, GrowthSeries
from benchmarks.stage_costs import LARGE, NOW_MS, Replay, connected
from fraudstream.bench.payments import payments
from fraudstream.bench.worker import resident_mib
from stream.engine.unpacking import FetchedRecord
from stream.pipeline import Pipeline
from stream.settings import Settings

_SEED = 11
_POINTS = 12


def by_payments(count: int, cache_mib: int) -> GrowthSeries:
    """Return by how many MiB memory has grown, and how many of them cached histories hold, by payments decided."""
    sent = payments(count, _SEED)
    records = [FetchedRecord("payments", 0, at, NOW_MS, 0, one.key, one.value, ()) for at, one in enumerate(sent)]
    with asyncio.Runner() as runner:
        points = runner.run(_decided(Replay.prepared(), records, cache_mib))
    lines = "resident memory, MiB more than before", "histories in the cache, MiB"
    return GrowthSeries(f"One process with a cache of {cache_mib} MiB", "payments decided", "", lines, tuple(points))


async def _decided(replay: Replay, records: list[FetchedRecord], cache_mib: int) -> list[GrowthPoint]:
    store = await connected(replay.sets, cache_mib << 20)
    pipeline, before, points = Pipeline(Settings(), replay.sets, store), 0.0, list[GrowthPoint]()
    for first, last in _stretches(len(records)):
        for at in range(first, last, LARGE):
            await replay.decide(pipeline, records[at : min(at + LARGE, last)])
        gc.collect()
        now, held = resident_mib(os.getpid()), sum(one.held_bytes for one in store.cache_stats.values()) / 2**20
        before = before or now - held
        points.append(GrowthPoint(last, (now - before, held)))
    return points


def _stretches(count: int) -> Iterator[tuple[int, int]]:
    """Yield the first and the last payment of each stretch; the first is one batch, after which memory counts."""
    ends = [LARGE, *(count * number // _POINTS for number in range(1, _POINTS + 1))]
    yield 0, LARGE
    yield from pairwise(ends)
