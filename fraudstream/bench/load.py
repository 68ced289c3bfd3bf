"""Workers under an open loop at one rate after another: latency, what waits, and how long they take to catch up.

The generator keeps its schedule whatever the workers do, and latency counts from the scheduled time. Beyond what the
workers can decide, what waits grows for as long as the load lasts, so latency there says how long that was; what they
decide a second says where the limit is.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np

from fraudstream.bench.payments import PublishedPayment, payments
from fraudstream.bench.worker import WorkerBench, cpu_seconds, own_names
from fraudstream.demo.services.processes import Child
from fraudstream_client.outputs import DecidedBy
from models.commands import CommandKind
from stream.clock import now_ms
from stream.settings import Settings

_WARM_UP = 2_000
_WARM_UP_RATE = 500.0
_PATIENCE_SECONDS = 1_800.0
_PERCENTILES = (50.0, 99.0, 99.9, 100.0)


@dataclass(frozen=True)
class LoadPlan:
    """What is offered, and to how many workers.

    Attributes:
        rates: payments a second, in the order in which they are offered.
        seconds: for which each is offered.
        workers: how many decide.
        partitions: of the topics.
    """

    rates: tuple[float, ...]
    seconds: float
    workers: int
    partitions: int

    @property
    def counts(self) -> tuple[int, ...]:
        """Payments at each rate, at least one."""
        return tuple(max(1, round(rate * self.seconds)) for rate in self.rates)


class LoadLine(NamedTuple):
    """The workers at one rate.

    Attributes:
        rate: payments a second that were to be offered.
        offered: that were offered; less than `rate` if the generator could not keep up.
        payments: in all.
        decided: a second, while the load lasted.
        p50_ms, p99_ms, p999_ms, worst_ms: from the time at which a payment was due to its score at a consumer.
        late: payments decided later than the deadline of the settings.
        by_rules: payments that rules decided in place of the model.
        waiting: payments without a decision when the load ended.
        recovery_s: from then until all were decided.
        cores: processor time that the workers took, in cores, until all were decided.
    """

    rate: float
    offered: float
    payments: int
    decided: float
    p50_ms: float
    p99_ms: float
    p999_ms: float
    worst_ms: float
    late: int
    by_rules: int
    waiting: int
    recovery_s: float
    cores: float


async def measure_load(
    settings: Settings, digest: str, plan: LoadPlan, done: Callable[[LoadLine], None]
) -> list[LoadLine]:
    """Offer each rate after the other, with all decided in between; call `done` with each line.

    Raises:
        MeasurementError: the model cannot be made live, or payments are not decided.
        InjectionError: a broker did not take payments.
        aiokafka.errors.KafkaError: the brokers do not respond.
    """
    made = iter(payments(_WARM_UP + sum(plan.counts), seed=4))
    lines = []
    async with WorkerBench(own_names(settings), plan.partitions) as run:
        workers = [run.start_worker() for _ in range(plan.workers)]
        await run.command(CommandKind.PROMOTE, digest)
        await run.inject(list(islice(made, _WARM_UP)), _WARM_UP_RATE)
        for rate, count in zip(plan.rates, plan.counts, strict=True):
            lines.append(await _measure(run, workers, list(islice(made, count)), rate))
            done(lines[-1])
        for worker in workers:
            worker.stop()
    return lines


async def _measure(run: WorkerBench, workers: list[Child], records: list[PublishedPayment], rate: float) -> LoadLine:
    before, cpu_before, began = len(run.seen), _cpu(workers), time.monotonic()
    offered = await run.offer(records, rate)
    ended, waiting = now_ms(), len(records) - (len(run.seen) - before)
    await run.await_seen(before + len(records), _PATIENCE_SECONDS)
    spent = time.monotonic() - began
    seen = run.seen[before:]
    late_ms = np.array([one.at_ms - offered.due_ms[one.transaction_id] for one in seen])
    p50, p99, p999, worst = np.percentile(late_ms, _PERCENTILES).round(1).tolist()
    seconds = offered.report.seconds
    return LoadLine(
        rate=rate,
        offered=round(len(records) / seconds, 1),
        payments=len(records),
        decided=round((len(records) - waiting) / seconds, 1),
        p50_ms=p50,
        p99_ms=p99,
        p999_ms=p999,
        worst_ms=worst,
        late=int((late_ms > run.settings.deadline_ms).sum()),
        by_rules=sum(one.decided_by != DecidedBy.MODEL for one in seen),
        waiting=waiting,
        recovery_s=round(max(0, max(one.at_ms for one in seen) - ended) / 1000, 2),
        cores=round((_cpu(workers) - cpu_before) / spent, 2),
    )


def _cpu(workers: list[Child]) -> float:
    return sum(cpu_seconds(worker) for worker in workers)


def cells(line: LoadLine) -> Iterator[str]:
    """Yield a line as texts of a table."""
    yield from (f"{line.rate:,g}", f"{line.offered:,.0f}", f"{line.decided:,.0f}")
    yield from (f"{value:,.0f}" for value in (line.p50_ms, line.p99_ms, line.p999_ms, line.worst_ms))
    yield from (
        f"{line.late:,}",
        f"{line.by_rules:,}",
        f"{line.waiting:,}",
        f"{line.recovery_s:.1f}",
        f"{line.cores:.2f}",
    )


HEADINGS = (
    "rate, 1/s",
    "offered",
    "decided",
    "p50, ms",
    "p99",
    "p99.9",
    "worst",
    "late",
    "by rules",
    "waiting",
    "recovery, s",
    "cores",
)
