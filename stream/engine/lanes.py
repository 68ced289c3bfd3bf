"""The pollers of a topic, each with its batch in progress, and the partitions that cannot go on for now.

These are kept out of the batches of the others, so that no partition waits for another one's trouble. A partition
that is tried again and again waits longer each time, with jitter, so that workers do not try in step.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from aiokafka import TopicPartition
from numpy.random import Generator

from stream.engine.batches import Batch
from stream.engine.budgets import Budgets
from stream.tasks import set_by_tick

IDLE_SECONDS = 0.05
CALM_SECONDS = 1.0
_FIRST_SECONDS = 0.1
_LONGEST_SECONDS = 2.0
_JITTER = 0.25


class LaneKind(Enum):
    """What a lane polls; its value is how a message names it behind the topic."""

    SHARED = ""
    """All partitions that are well, into one batch."""
    RETRIES = ", retries"
    """Those that were set aside, when they are to be tried again."""
    APART = ", over their budget"
    """Those that take more than their share of time, one after the other, in small pieces."""


@dataclass(slots=True, eq=False)
class Lane:
    """One of the pollers of a topic, and its batch in progress; `polls` counts its polls, for the watchdog."""

    topic: str
    kind: LaneKind
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    polls: int = 0
    batch: Batch | None = None

    def count_poll(self) -> None:
        """Count one more poll."""
        self.polls += 1

    @contextmanager
    def working_on(self, batch: Batch) -> Iterator[None]:
        """Count the batch's beats as the lane's, while it is worked on."""
        self.batch = batch
        try:
            yield
        finally:
            self.polls += batch.beats
            self.batch = None

    @property
    def pulse(self) -> int:
        """A count that rises while the lane polls or its batch is worked on."""
        return self.polls + (0 if self.batch is None else self.batch.beats)


class SetAside(NamedTuple):
    """A partition that is set aside: why, the number of failures in a row, and when to try it again."""

    reason: str
    failures: int
    due: float


@dataclass(slots=True)
class AsidePartitions:
    """The partitions that are set aside; `clock` returns seconds, `randomness` gives the jitter."""

    clock: Callable[[], float]
    randomness: Generator
    _partitions: dict[TopicPartition, SetAside] = field(default_factory=dict)
    _added: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, partition: TopicPartition, reason: str) -> None:
        """Set a partition aside, for longer at each failure in a row."""
        before = self._partitions.get(partition)
        failures = 1 if before is None else before.failures + 1
        pause = min(_LONGEST_SECONDS, _FIRST_SECONDS * 2.0 ** (failures - 1))
        pause *= 1 + _JITTER * self.randomness.uniform(-1, 1)
        self._partitions[partition] = SetAside(reason, failures, self.clock() + pause)
        self._added.set()

    async def wait_for_one(self, timeout: float) -> None:  # noqa: ASYNC109 - a poll, not a failure
        """Wait while none is set aside, at most until the next tick of `timeout` seconds."""
        if not self._partitions:
            self._added.clear()
            await set_by_tick(self._added, timeout)

    def remove(self, partition: TopicPartition) -> None:
        """Take a partition back: it has gone on."""
        self._partitions.pop(partition, None)

    def hurry(self, partition: TopicPartition) -> None:
        """Try a partition that is set aside at once: what it waited for has happened."""
        if partition in self._partitions:
            self._partitions[partition] = self._partitions[partition]._replace(due=self.clock())

    def clear(self) -> None:
        """Forget all partitions: the assignment has changed."""
        self._partitions.clear()

    def __contains__(self, partition: TopicPartition) -> bool:
        """Tell whether a partition is set aside."""
        return partition in self._partitions

    def __len__(self) -> int:
        """Return the number of partitions that are set aside."""
        return len(self._partitions)

    def is_due(self, partition: TopicPartition) -> bool:
        """Tell whether a partition that is set aside should be tried again."""
        one = self._partitions.get(partition)
        return one is not None and one.due <= self.clock()

    def reasons(self) -> list[str]:
        """Return why each partition is set aside."""
        return [f"{tp.topic} partition {tp.partition}: {one.reason}" for tp, one in sorted(self._partitions.items())]


def polls(kind: LaneKind, tp: TopicPartition, aside: AsidePartitions, budgets: Budgets) -> bool:
    """Tell whether a lane of this kind polls a partition now."""
    if kind is LaneKind.RETRIES:
        return aside.is_due(tp)
    return tp not in aside and (tp in budgets) is (kind is LaneKind.APART)


async def wait_for_work(kind: LaneKind, aside: AsidePartitions, budgets: Budgets) -> None:
    """Wait a moment in a lane that has nothing to poll; longer where nothing is set aside or apart."""
    if kind is LaneKind.RETRIES and not aside:
        await aside.wait_for_one(CALM_SECONDS)
    elif kind is LaneKind.APART and not budgets:
        await budgets.wait_for_one(CALM_SECONDS)
    else:
        await asyncio.sleep(IDLE_SECONDS)
