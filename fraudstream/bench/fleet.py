"""Workers of a measurement that are started, drained and replaced while payments flow, and their group's lag."""

import asyncio
import signal
import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from fraudstream.bench.worker import WorkerBench
from fraudstream.demo.services.processes import Child, free_port
from fraudstream.demo.services.readiness import not_ready_reasons
from stream.errors import MeasurementError
from stream.kafka.client import committed_offsets
from stream.kafka.topics import TRANSACTIONS
from stream.settings import Settings

_START_SECONDS = 90.0
_DRAIN_SECONDS = 60.0
_LOOK_SECONDS = 0.25
_MIN_READY_SECONDS = 3.0
"""For so long a new worker is ready before an old one is taken away."""


class RunningWorker(NamedTuple):
    """A worker, the address of its pages, and since when it counts (seconds of the monotonic clock)."""

    child: Child
    address: str
    since: float


class BenchFleet:
    """The workers that run, in the order of their start, and those that drain.

    Args:
        run: what they decide for.
        variables: of each worker, on top of the settings.

    Attributes:
        running: the workers that were not told to drain.
        changes: how many were started or drained.
    """

    def __init__(self, run: WorkerBench, variables: Mapping[str, str] = MappingProxyType({})) -> None:
        self._run = run
        self._variables = variables
        self.running: list[RunningWorker] = []
        self._draining: list[asyncio.Task[None]] = []
        self.changes = 0
        self._spent = 0.0

    def start(self, command: Sequence[str] = ()) -> RunningWorker:
        """Start a worker, or another command of one; do not wait until it is ready."""
        address = f"127.0.0.1:{free_port()}"
        child = self._run.start_worker({**self._variables, "FRAUDSTREAM_HTTP": address}, command)
        one = RunningWorker(child, address, time.monotonic())
        self.running.append(one)
        self.changes += 1
        return one

    def drain(self, one: RunningWorker) -> asyncio.Task[None]:
        """Let a worker drain; the task ends with it."""
        self.running.remove(one)
        self.changes += 1
        task = asyncio.create_task(self._drained(one))
        self._draining.append(task)
        return task

    async def _drained(self, one: RunningWorker) -> None:
        await asyncio.to_thread(one.child.stop, _DRAIN_SECONDS)
        self._spent += time.monotonic() - one.since
        if one.child.exit_code != 0:
            raise MeasurementError(f"a worker ended with {one.child.exit_code} when it was drained: {one.child.log}")

    def set_size(self, count: int) -> None:
        """Start workers, or let the youngest drain; do not wait."""
        while len(self.running) < count:
            self.start()
        while len(self.running) > count:
            self.drain(self.running[-1])

    async def await_size(self, count: int) -> None:
        """Have so many workers, all of them ready.

        Raises:
            MeasurementError: one did not become ready.
        """
        self.set_size(count)
        for one in self.running:
            await await_ready(one)

    async def settle(self) -> None:
        """Wait until what drains has ended.

        Raises:
            MeasurementError: a worker ended with an error.
        """
        await asyncio.gather(*self._draining)
        self._draining.clear()

    def stop(self) -> None:
        """End all workers at once."""
        for one in self.running:
            one.child.signal(signal.SIGTERM)
        for one in self.running:
            one.child.stop(_DRAIN_SECONDS)

    async def roll(self, command: Sequence[str] = ()) -> None:
        """Replace each worker by one of a command: start one, await that it is ready, drain an old one."""
        for old in list(self.running):
            await await_ready(self.start(command))
            await asyncio.sleep(_MIN_READY_SECONDS)
            await self.drain(old)

    def worker_seconds(self) -> float:
        """Return the seconds since the last call, over all workers that ran since then."""
        now = time.monotonic()
        spent = self._spent + sum(now - one.since for one in self.running)
        self.running = [one._replace(since=now) for one in self.running]
        self._spent = 0.0
        return spent


async def await_ready(one: RunningWorker) -> None:
    """Wait until a worker is ready.

    Raises:
        MeasurementError: it ended, or took too long.
    """
    until = time.monotonic() + _START_SECONDS
    while reasons := await asyncio.to_thread(not_ready_reasons, one.address):
        if not one.child.running or time.monotonic() > until:
            why = f"{'; '.join(reasons)}; {one.child.log} ends with:\n{one.child.tail()}"
            raise MeasurementError(f"a worker did not become ready: {why}")
        await asyncio.sleep(_LOOK_SECONDS)


class CommittedLag:
    """Records of `transactions` behind the group's commits, as an autoscaler asks brokers for them."""

    def __init__(self, settings: Settings, admin: AIOKafkaAdminClient, consumer: AIOKafkaConsumer, parts: int) -> None:
        self._settings = settings
        self._admin = admin
        self._consumer = consumer
        self._tps = [TopicPartition(settings.topic(TRANSACTIONS.name), number) for number in range(parts)]
        self.last = 0

    async def read(self) -> int:
        """Return the lag; while brokers do not tell it, the last one."""
        try:
            commits = await committed_offsets(self._settings, self._admin, self._tps)
            ends = await self._consumer.end_offsets(self._tps)
        except KafkaError:
            return self.last
        self.last = sum(ends[tp] - max(0, commits[tp].offset) for tp in self._tps)
        return self.last
