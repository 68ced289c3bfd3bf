"""What one and two workers decide together, on the cores that they share with Kafka, Redis and the load."""

import asyncio
import signal
from collections.abc import Sequence
from itertools import islice
from statistics import median

from benchmarks.growth.series import GrowthPoint, GrowthSeries
from fraudstream.bench.fleet import BenchFleet
from fraudstream.bench.payments import PublishedPayment, payments
from fraudstream.bench.worker import WorkerBench, cpu_seconds, own_names
from models.commands import CommandKind
from stream.clock import now_ms
from stream.errors import MeasurementError
from stream.settings import Settings

WORKERS = (1, 2)
PARTITIONS = 4
_ROUNDS = 3
_BACKLOGS = 4
"""Times the backlog of the other questions: two workers would decide that before they are awake."""
_WARM_UP, _RATE, _SEED = 1_000, 200.0, 11
_LEAST_SHARE = 0.25
"""Of the CPU of all, by the number of workers; a worker with less had no partitions."""
_LINES = ("decisions a second, together", "µs of CPU a decision, of all workers")


def by_workers(settings: Settings, digest: str, backlog: int) -> GrowthSeries:
    """Measure decisions a second and CPU of one and of two workers on four partitions, medians of three rounds.

    The workers are ready and stand still (SIGSTOP) while the backlog is published, and decide it from the same moment
    on. No process is held to a core.
    """
    some = payments(_WARM_UP + _BACKLOGS * backlog, _SEED)
    found: dict[int, list[tuple[float, float]]] = {count: [] for count in WORKERS}
    for _ in range(_ROUNDS):
        for count in WORKERS:
            found[count].append(asyncio.run(_measure(settings, digest, some, count)))
    points = (GrowthPoint(count, tuple(map(median, zip(*found[count], strict=True)))) for count in WORKERS)
    return GrowthSeries("Workers on four partitions", "workers", "", _LINES, tuple(points))


async def _measure(
    settings: Settings, digest: str, some: Sequence[PublishedPayment], workers: int
) -> tuple[float, float]:
    supply = iter(some)
    async with WorkerBench(own_names(settings), PARTITIONS) as run:
        fleet = BenchFleet(run)
        try:
            fleet.start()
            await run.command(CommandKind.PROMOTE, digest)
            await fleet.await_size(workers)
            await run.inject(list(islice(supply, _WARM_UP)), _RATE)
            return await _decided(run, fleet, list(supply))
        finally:
            fleet.stop()


async def _decided(run: WorkerBench, fleet: BenchFleet, backlog: Sequence[PublishedPayment]) -> tuple[float, float]:
    """Return decisions a second from a backlog, and µs of CPU of each."""
    children, before = [one.child for one in fleet.running], len(run.seen)
    for child in children:
        child.signal(signal.SIGSTOP)
    await run.publish(backlog)
    cpu, began_ms = [cpu_seconds(child) for child in children], now_ms()
    for child in children:
        child.signal(signal.SIGCONT)
    await run.await_seen(before + len(backlog))
    spent = [cpu_seconds(child) - at for child, at in zip(children, cpu, strict=True)]
    if min(spent) < _LEAST_SHARE * sum(spent) / len(spent):
        raise MeasurementError(f"a worker took hardly any part: {spent} s of CPU; logs: {run.folder}")
    return len(backlog) / (run.seen[-1].at_ms - began_ms) * 1000, sum(spent) / len(backlog) * 1e6
