"""One run of one contender: topics and keys of its own, its process on one core, and what it did.

The process is held to the last core; load and reader run on any, brokers and Redis where they are.
"""

import asyncio
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import numpy as np
from confluent_kafka.admin import (  # type: ignore[attr-defined] # documented there
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from benchmarks.contenders.load import Load, Patience, ScoreReader
from benchmarks.contenders.registry import CONTENDERS, OURS
from benchmarks.contenders.results import AfterKill, AtRate, Backlog
from benchmarks.contenders.steps import FollowedPayment, place_of
from benchmarks.contenders.task import ContenderTask, Line
from fraudstream.bench.payments import PublishedPayment
from fraudstream.bench.worker import (
    WORKER,
    command_accepted,
    cpu_seconds,
    delete_own,
    own_names,
    resident_mib,
    worker_environment,
)
from fraudstream.demo.services.processes import Child
from models.commands import CommandKind
from stream.clock import now_ns
from stream.errors import MeasurementError
from stream.kafka.topics import SCORES, TRANSACTIONS, apply
from stream.settings import Settings

PARTITIONS = 4
_PATIENCE_SECONDS = 300.0
_FLAT_SECONDS = 0.25
"""Payments of so long may wait more at the end of a test than when two thirds were sent; more is growth."""
SEARCH_STEPS = 5
_SEARCH_FACTOR = 1.2
_SEARCH_FIRST = 0.8
"""Of what it decides from a backlog, so much is tried first: open loops have smaller batches."""
_WARM_UP_RATE = 200.0
_DRAIN_SECONDS = 30.0
_SETTLE_SECONDS = 5.0
_EXPORT_SECONDS = 3.0
_QUIET_SECONDS = 75.0
"""librdkafka's group waits 45 s for a member that was killed."""
_CONFIGS_SECONDS = 30.0
_KILL_AT = 0.4
"""Of the payments of the run, so many are sent before the kill."""


class ContenderRun:
    """A contender with topics and keys of its own, which are deleted at the end of its context.

    Args:
        settings: of Kafka, Redis and the model repository.
        name: of the contender.
        digest: of the model.
        line: what is held equal.
        partitions: of its topics.

    Attributes:
        scores: what it has written.
        settings: with the names of its topics and keys.
    """

    scores: ScoreReader

    def __init__(self, settings: Settings, name: str, digest: str, line: Line, partitions: int = PARTITIONS) -> None:
        self.settings = own_names(settings)
        self._name, self._partitions = name, partitions
        self._task = ContenderTask(
            brokers=settings.brokers,
            redis_url=settings.redis_url,
            keys=self.settings.deployment,
            models=settings.models,
            digest=digest,
            inputs=self.settings.topic(TRANSACTIONS.name),
            outputs=self.settings.topic(SCORES.name),
            group=self.settings.group,
            line=line,
        )
        self._folder = Path(tempfile.mkdtemp(prefix="fraudstream-contender-"))
        self._stack = ExitStack()
        self._child: Child | None = None
        self._is_live = False

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            asyncio.run(apply(self.settings, self._partitions, 1))
            stack.callback(lambda: asyncio.run(delete_own(self.settings)))
            _keep_append_times(self._task.brokers, self._task.outputs)
            self.scores = stack.enter_context(ScoreReader(self._task.brokers, self._task.outputs, self._partitions))
            self._load = Load(self._task.brokers, self._task.inputs)
            stack.callback(self.stop)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # --- the process

    def start(self) -> None:
        """Start the contender on the last core."""
        if self._name == OURS:
            command, environment = WORKER, worker_environment(self.settings)
        else:
            command, environment = CONTENDERS[self._name].command, self._task.environment()
        self._child = Child(command, self._folder / "log", environment | {"PYTHONPATH": os.pathsep.join(sys.path)})
        self._child.start()
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) > 1:
            os.sched_setaffinity(self._child.pid, cores[-1:])
        if self._name == OURS and not self._is_live:
            promoted = command_accepted(self.settings, CommandKind.PROMOTE, self._task.digest, self._folder)
            asyncio.run(promoted)
            self._is_live = True

    def stop(self) -> None:
        """Let the contender end."""
        if self._child is not None:
            self._child.stop(_DRAIN_SECONDS)

    @property
    def _patience(self) -> Patience:
        return Patience(_PATIENCE_SECONDS, lambda: self._process)

    @property
    def _process(self) -> Child:
        if self._child is None or not self._child.running:
            raise MeasurementError(f"{self._name} does not run; its log: {self._folder / 'log'}")
        return self._child

    # --- what is measured

    def warm_up(self, payments: Sequence[PublishedPayment]) -> None:
        """Start, and let it decide a few payments."""
        self.start()
        self._load.offer(payments, _WARM_UP_RATE, self.scores, self._patience)

    def at_rate(self, payments: Sequence[PublishedPayment], rate: float) -> AtRate:
        """Offer payments at a rate to the contender that runs.

        Raises:
            MeasurementError: there are none left, or they have no scores in time.
        """
        if not payments:
            raise MeasurementError("all payments of the round are used up: more are decided a second than was expected")
        before = cpu_seconds(self._process)
        found = self._load.offer(payments, rate, self.scores, self._patience)
        return AtRate(found, (cpu_seconds(self._process) - before) / len(payments) * 1e6)

    def follow(self, payments: Sequence[PublishedPayment], rate: float) -> list[FollowedPayment]:
        """Offer payments at a rate to the worker that runs, and return what became of each once its spans are sent."""
        before, due = len(self.scores.first_at), dict[str, float]()
        for one, due_at in zip(payments, self._load.paced(payments, rate), strict=True):
            due[one.transaction_id] = due_at
        self._load.flush()
        self.scores.await_count(before + len(payments), self._patience)
        time.sleep(_EXPORT_SECONDS)
        epoch = now_ns() / 1e9 - time.monotonic()  # spans have the wall clock
        found = []
        for name, due_at in due.items():
            due_ns, there_ns = (round((at + epoch) * 1e9) for at in (due_at, self.scores.first_at[name]))
            found.append(FollowedPayment(due_ns, there_ns, place_of(self.scores.values[name])))
        return found

    def backlog(self, payments: Sequence[PublishedPayment], first: int | None = None) -> Backlog:
        """Publish payments while it does not run, and let it decide them; the first ones, a quarter, do not count."""
        self.stop()
        self._load.publish(payments)
        before, first = len(self.scores.first_at), len(payments) // 4 if first is None else first
        times_before = len(self.scores.appended_ms)
        self.start()
        self.scores.await_count(before + first, self._patience)
        left, cpu = before + len(payments) - len(self.scores.first_at), cpu_seconds(self._process)
        self.scores.await_count(before + len(payments), self._patience)
        if left < (len(payments) - first) * 2 // 3:  # it is done before it can be looked at: its start counts, too
            left, cpu = len(payments), 0.0
        cpu = cpu_seconds(self._process) - cpu
        times = np.sort(np.array(self.scores.appended_ms[times_before:]))[first:]
        seconds = max(1, int(times[-1] - times[0])) / 1000
        return Backlog(len(times) / seconds, cpu / left * 1e6, self.resident_mib())

    def resident_mib(self) -> float:
        """Return the resident memory of the process that runs."""
        return resident_mib(self._process.pid)

    def capacity(self, supply: Callable[[int], Sequence[PublishedPayment]], guess: float, seconds: float) -> float:
        """Return the highest rate at which what waits does not grow, found by bisection from a guess."""
        low, high = 0.0, guess * _SEARCH_FACTOR
        for step in range(SEARCH_STEPS):
            rate = (low + high) / 2 if step else guess * _SEARCH_FIRST
            found = self.at_rate(supply(int(rate * seconds)), rate).load
            if found.waiting - found.waiting_before <= rate * _FLAT_SECONDS:
                low = rate
            else:
                high = rate
        return low

    def after_kill(self, payments: Sequence[PublishedPayment], rate: float) -> AfterKill:
        """Kill the contender under load, start it again at once, and count."""
        names = [one.transaction_id for one in payments]
        process, due, kill_at = self._process, dict[str, float](), int(len(payments) * _KILL_AT)
        for at, (name, due_at) in enumerate(zip(names, self._load.paced(payments, rate), strict=True)):
            due[name] = due_at
            if at == kill_at:
                process.signal(signal.SIGKILL)
                self.start()
        self._load.flush()
        self._await_quiet(names)
        waits = [self.scores.first_at[name] - due[name] for name in names if name in self.scores.first_at]
        return AfterKill(
            sum(name not in self.scores.first_at for name in names),
            sum(self.scores.counts[name] > 1 for name in names),
            max(waits, default=0.0),
        )

    def _await_quiet(self, names: Sequence[str]) -> None:
        """Wait until all payments have a score, or none has come for a while; then for a redelivery."""
        quiet_since, seen = time.monotonic(), -1
        while time.monotonic() - quiet_since < _QUIET_SECONDS:
            count = sum(self.scores.counts[name] for name in names)
            if count != seen:
                quiet_since, seen = time.monotonic(), count
            if all(name in self.scores.first_at for name in names) and time.monotonic() - quiet_since > _SETTLE_SECONDS:
                return
            time.sleep(0.5)


def _keep_append_times(brokers: str, topic: str) -> None:
    """Let the broker write its own time into each record of a topic."""
    entry = ConfigEntry("message.timestamp.type", "LogAppendTime", incremental_operation=AlterConfigOpType.SET)
    asked = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    admin = AdminClient({"bootstrap.servers": brokers})  # its answers come while it lives
    for done in admin.incremental_alter_configs([asked]).values():
        done.result(_CONFIGS_SECONDS)
