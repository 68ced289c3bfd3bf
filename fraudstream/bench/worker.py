"""Measure one worker from outside: throughput from a backlog, latency in an open loop, the gap after a SIGKILL.

The load generator keeps its schedule whatever the worker does, and latency counts from the scheduled time. Results are
facts to print: name and unit, and figure.
"""

import asyncio
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Self

import msgspec
import numpy as np
from aiokafka import TopicPartition
from aiokafka.structs import RecordMetadata

from fraudstream.bench.keys import own_keys
from fraudstream.bench.payments import PublishedPayment
from fraudstream.demo.services.processes import Child, free_port
from fraudstream.lab.dataset.injector import InjectionReport, Injector, ScheduledRecord
from models.commands import CommandKind, EventKind
from stream.clock import now_ms
from stream.control.client import CommandRequest
from stream.errors import MeasurementError
from stream.kafka.client import connection_options, open_admin, producer_options
from stream.kafka.stray import PlainConsumer, PlainProducer
from stream.kafka.topics import SCORES, TRANSACTIONS, apply, layouts_of
from stream.settings import Settings
from stream.tasks import end_tasks
from stream.telemetry.command_line import command_traced

PARTITIONS = 4
WORKER: tuple[str, ...] = (sys.executable, "-P", "-m", "fraudstream.cli", "worker")
_READY_SECONDS = 60.0
_DONE_SECONDS = 120.0
Facts = dict[str, Any]

_CPU_FIELDS = slice(11, 13)
"""Of /proc/PID/stat, behind the process's name: `utime` and `stime`, in clock ticks."""
KILL_COUNT = 5_000
_KILL_RATE = 500.0


class SeenScore(NamedTuple):
    """One score as a consumer read it: the transaction, when (epoch milliseconds), its partition, what decided it."""

    transaction_id: str
    at_ms: int
    partition: int
    decided_by: str


class _ScoreId(msgspec.Struct):
    transaction_id: str
    decided_by: str


class Offered(NamedTuple):
    """Payments that were sent in an open loop: when each was due, in epoch milliseconds, and how well that was kept."""

    due_ms: dict[str, int]
    report: InjectionReport


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from the scheduled time to a consumer of scores."""

    rate: float
    count: int
    p50: float
    p99: float
    worst: float


def own_names(settings: Settings) -> Settings:
    """Return settings with topics, group and Redis keys of the measurement's own."""
    name = f"bench-{now_ms()}"
    return msgspec.structs.replace(settings, topic_prefix=f"{name}-", group=name, deployment=name)


class WorkerBench:
    """A worker under measurement, a producer of its payments and a consumer of its scores.

    Its topics and Redis keys are deleted at the end, when its workers have been stopped.
    """

    def __init__(self, settings: Settings, partitions: int = PARTITIONS) -> None:
        self.settings = settings
        self.partitions = partitions
        self.seen: list[SeenScore] = []
        self.folder = Path(tempfile.mkdtemp(prefix="fraudstream-bench-"))
        self._started = 0
        self._arrived = asyncio.Event()
        self._producer = PlainProducer(**producer_options(settings), linger_ms=1)
        self._consuming: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await apply(self.settings, self.partitions, 1)
        await self._producer.start()
        self._consuming = asyncio.create_task(self._consume())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._consuming is not None:
            await end_tasks(self._consuming)
        await self._producer.stop()
        await delete_own(self.settings)

    def start_worker(self, variables: Mapping[str, str] = MappingProxyType({}), command: Sequence[str] = ()) -> Child:
        """Start a worker with variables on top of the settings, or another command; do not wait until it is ready."""
        self._started += 1
        environment = {**worker_environment(self.settings), "FRAUDSTREAM_WORKER_ID": f"bench-{self._started}"}
        log = self.folder / f"{self._started}.log"
        child = Child(tuple(command) or WORKER, log, {**environment, **variables})
        child.start()
        return child

    async def command(self, kind: CommandKind, digest: str) -> None:
        """Make a model live, or make it the challenger.

        Raises:
            MeasurementError: the fleet refused, or did not answer.
        """
        await command_accepted(self.settings, kind, digest, self.folder)

    async def publish(
        self, records: Sequence[PublishedPayment], topic: str = TRANSACTIONS.name, rate: float | None = None
    ) -> None:
        """Publish, without a rate as fast as possible; do not wait for decisions."""
        await self.offer(records, rate, topic)

    async def inject(self, records: list[PublishedPayment], rate: float) -> Latency:
        """Publish at a fixed rate and wait until all are decided."""
        before = len(self.seen)
        due = (await self.offer(records, rate)).due_ms
        await self.await_seen(before + len(records))
        late = np.array(
            [one.at_ms - due[one.transaction_id] for one in self.seen[before:] if one.transaction_id in due]
        )
        return Latency(rate, len(late), *np.percentile(late, [50, 99, 100]).round(1).tolist())

    async def await_seen(self, count: int, seconds: float = _DONE_SECONDS) -> None:
        """Wait until so many scores have been read.

        Raises:
            MeasurementError: there are fewer after a long time.
        """
        try:
            async with asyncio.timeout(seconds):
                while len(self.seen) < count:
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError as error:
            raise MeasurementError(
                f"{len(self.seen):,} of {count:,} payments have a score after {seconds:g} s; the workers' logs are "
                f"in {self.folder}"
            ) from error

    async def offer(
        self,
        records: Sequence[PublishedPayment],
        rate: float | Callable[[int], float] | None,
        topic: str = TRANSACTIONS.name,
    ) -> Offered:
        """Send records in an open loop, at a rate or a schedule of `Injector`; do not wait for decisions."""
        topic, due = self.settings.topic(topic), dict[str, int]()
        injector = Injector(self._producer, rate, lambda item, due_ms: due.update({item.name: due_ms}), _ignore)
        report = await injector.run(ScheduledRecord(topic, one.key, one.value, one.transaction_id) for one in records)
        return Offered(due, report)

    async def _consume(self) -> None:
        consumer = PlainConsumer(**connection_options(self.settings), enable_auto_commit=False, fetch_max_wait_ms=5)
        try:
            await consumer.start()
            consumer.assign(
                [TopicPartition(self.settings.topic(SCORES.name), number) for number in range(self.partitions)]
            )
            await consumer.seek_to_beginning()
            while True:
                fetched = await consumer.getmany(timeout_ms=500)
                now = now_ms()
                for tp, records in fetched.items():
                    ids = (msgspec.json.decode(record.value or b"", type=_ScoreId) for record in records)
                    self.seen += [SeenScore(one.transaction_id, now, tp.partition, one.decided_by) for one in ids]
                self._arrived.set()
        finally:
            await consumer.stop()


def _ignore(_scheduled: ScheduledRecord, _where: RecordMetadata) -> None:
    """Ignore an acknowledgement; the injector raises if one is missing."""


def worker_environment(settings: Settings) -> dict[str, str]:
    """Return the variables that give a worker these settings, and an address of its own."""
    values = msgspec.structs.asdict(settings).items()
    named = {f"FRAUDSTREAM_{name.upper()}": _text(value) for name, value in values}
    return named | {"FRAUDSTREAM_HTTP": f"127.0.0.1:{free_port()}"}


async def command_accepted(settings: Settings, kind: CommandKind, digest: str, logs: Path) -> None:
    """Send a command about a model, and wait until it is accepted; an error names the folder of the workers' logs.

    Raises:
        MeasurementError: the fleet refused, or did not answer.
    """
    request = CommandRequest(kind, "bench", "a measurement", _READY_SECONDS, digest)
    command_id, answer = await command_traced(settings, request)
    if answer is None or answer.kind is not EventKind.ACCEPTED:
        why = "; ".join(problem.detail for problem in answer.problems) if answer else "no answer"
        raise MeasurementError(f"{kind} {digest[:12]} ({command_id}) was not accepted: {why}; logs: {logs}")


async def delete_own(settings: Settings) -> None:
    """Delete the topics and the keys of a measurement."""
    async with own_keys(settings.redis_url, settings.deployment), open_admin(settings) as admin:
        await admin.delete_topics([settings.topic(one.name) for one in layouts_of(settings)])


def resident_mib(pid: int) -> float:
    """Return a process's resident memory, from /proc."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def cpu_seconds(child: Child) -> float:
    """Return the CPU that a process has taken, user and system, from /proc; its children's not included."""
    behind_name = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, behind_name[_CPU_FIELDS])) / os.sysconf("SC_CLK_TCK")


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


async def measure_backlog(run: WorkerBench, digest: str, backlog: list[PublishedPayment]) -> tuple[Facts, Child]:
    """Start a worker on a backlog; measure the time to its first decision, its throughput and its memory."""
    first = run.start_worker()
    await run.command(CommandKind.PROMOTE, digest)
    first.stop()
    await run.publish(backlog)
    started, child = time.monotonic(), run.start_worker()
    await run.await_seen(1)
    until_first = time.monotonic() - started
    await run.await_seen(len(backlog))
    spent = (run.seen[-1].at_ms - run.seen[0].at_ms) / 1000
    return {
        "start to first decision, s": round(until_first, 2),
        "from backlog, decisions/s": round(len(backlog) / spent),
        "resident after backlog, MiB": round(resident_mib(child.pid)),
    }, child


async def measure_rate(run: WorkerBench, records: list[PublishedPayment], rate: float) -> Facts:
    """Measure latency at a fixed rate."""
    latency = await run.inject(records, rate)
    return {f"at {rate:g}/s: p50, p99, worst, ms": (latency.p50, latency.p99, latency.worst)}


async def measure_kill(run: WorkerBench, records: list[PublishedPayment], child: Child) -> Facts:
    """Kill one of two workers under load; measure the longest that a payment waits."""
    other, before = run.start_worker(), len(run.seen)
    await asyncio.sleep(5)  # a rebalance
    injecting = asyncio.create_task(run.inject(records, _KILL_RATE))
    await asyncio.sleep(3)
    child.signal(signal.SIGKILL)
    latency = await injecting
    other.stop()
    return {
        f"SIGKILL of one of two at {_KILL_RATE:g}/s: worst, ms": latency.worst,
        "  session timeout, s": run.settings.session_timeout,
        "  scores more than transactions": len(run.seen) - before - len(records),
    }
