"""A batch as the transport delivers it to an agent, and the ledger that decides which offsets may be committed."""

import asyncio
import time
import types
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, ParamSpec, Protocol, TypeVar

from aiokafka import TopicPartition

from stream.engine.unpacking import OBJECT_BYTES


class Record(Protocol):
    """The fields of an aiokafka record that are used; `timestamp` is in epoch milliseconds."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    left_out: Sequence[str]
    """Headers that could not be read and are not among `headers`, by name."""
    left_out_more: int
    """How many more there are."""
    damage: str
    """Why the record cannot be read; empty if it can."""


_worked_on: "ContextVar[Batch | None]" = ContextVar("batch", default=None)
"""The batch on which a task works."""
Result = TypeVar("Result")
Parameters = ParamSpec("Parameters")

_LARGE_BYTES = 256 * 1024
"""Decoding or redacting as much takes up to 50 ms, for which the event loop does not wait."""


def size_of(*records: Record) -> int:
    """Return about how many bytes the keys, values and headers of records take; an empty header is not free."""
    size = 0
    for record in records:
        size += len(record.value or b"") + len(record.key or b"")
        for name, value in record.headers:
            size += len(name) + len(value or b"") + OBJECT_BYTES
    return size


async def in_thread_if_large(
    size: int, function: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
) -> Result:
    """Call a function on `size` bytes of records, in another thread if they are many: the event loop goes on."""
    if size < _LARGE_BYTES:
        return function(*args, **kwargs)
    return await in_thread(function, *args, **kwargs)


async def in_thread(
    function: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
) -> Result:
    """Call a function in another thread; what it takes counts as a cost of the batch that is worked on."""
    return await asyncio.to_thread(_call_counted, partial(function, *args, **kwargs))


def _call_counted(function: Callable[[], Result]) -> Result:
    batch, before = _worked_on.get(), time.thread_time()
    try:
        return function()
    finally:
        if batch is not None:  # nobody else counts meanwhile: the task of the batch waits for this call
            batch.cost_seconds += time.thread_time() - before


@types.coroutine
def counted(work: Coroutine[Any, Any, None], batch: "Batch") -> Generator[Any, Any, None]:
    """Await the work on a batch, and count the processor time of each of its steps; no other task runs in a step."""
    _worked_on.set(batch)
    answer: Any = None
    failure: BaseException | None = None
    while True:
        before = time.thread_time()
        try:
            awaited = work.send(answer) if failure is None else work.throw(failure)
        except StopIteration:
            return
        finally:
            batch.cost_seconds += time.thread_time() - before
        answer, failure = None, None
        try:
            answer = yield awaited
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the work's
            failure = error


class Commit(NamedTuple):
    """The offset after the last finished record, and metadata for the partition's next owner."""

    offset: int
    metadata: str


class _Slice(NamedTuple):
    """One partition's part of a batch, by its group generation and last offset."""

    generation: int
    last_offset: int


@dataclass(slots=True)
class CommitLedger:
    """The slices of batches in progress, in log order, and which of them are acknowledged.

    A slice is one partition's part of a batch. It is keyed by its group generation: an acknowledgement for a slice that
    was delivered under an earlier assignment is ignored.
    """

    _in_progress: dict[TopicPartition, deque[_Slice]] = field(default_factory=lambda: defaultdict(deque))
    _acknowledged: dict[TopicPartition, dict[_Slice, str]] = field(default_factory=lambda: defaultdict(dict))
    _committable: dict[TopicPartition, Commit] = field(default_factory=dict)
    _finished: dict[TopicPartition, int] = field(default_factory=dict)
    _least: dict[TopicPartition, int] = field(default_factory=dict)
    """The commit of a partition that is read again from before it: a lower one would hide what was read up to there."""

    def track(self, partition: TopicPartition, generation: int, last_offset: int) -> None:
        """Record that the records up to `last_offset` are in progress."""
        self._in_progress[partition].append(_Slice(generation, last_offset))

    def is_current(self, partition: TopicPartition, generation: int, last_offset: int) -> bool:
        """Tell whether this slice still belongs to us."""
        return self.holds(partition, _Slice(generation, last_offset))

    def holds(self, partition: TopicPartition, one: _Slice) -> bool:
        """Tell whether a slice still belongs to us."""
        return one in self._in_progress[partition]

    def acknowledge(self, partition: TopicPartition, generation: int, last_offset: int, metadata: str = "") -> None:
        """Record that a slice's outputs are acknowledged; an offset after a gap does not become committable."""
        acknowledged = _Slice(generation, last_offset)
        if acknowledged not in self._in_progress[partition]:
            return
        self._acknowledged[partition][acknowledged] = metadata
        in_progress, done = self._in_progress[partition], self._acknowledged[partition]
        while in_progress and in_progress[0] in done:
            first = in_progress.popleft()
            commit = Commit(first.last_offset + 1, done.pop(first))
            self._finished[partition] = commit.offset
            if commit.offset >= self._least.get(partition, 0):
                self._committable[partition] = commit

    def withdraw(self, partition: TopicPartition, generation: int, last_offset: int) -> None:
        """Forget a slice that was not processed: its records will be delivered again."""
        withdrawn = _Slice(generation, last_offset)
        if withdrawn in self._in_progress[partition]:
            self._in_progress[partition].remove(withdrawn)

    def finished_offset(self, partition: TopicPartition) -> int | None:
        """Return the offset after the last finished record; None if none is finished under this assignment."""
        return self._finished.get(partition)

    def committable(self) -> dict[TopicPartition, Commit]:
        """Return the commits that may be made and have not been."""
        return dict(self._committable)

    def committed(self, commits: Mapping[TopicPartition, Commit]) -> None:
        """Record that these commits were made."""
        for partition, commit in commits.items():
            if self._committable.get(partition) == commit:
                del self._committable[partition]

    def drop(self, partition: TopicPartition) -> None:
        """Drop the state of a partition that was revoked, or is read again from another offset."""
        for state in (self._in_progress, self._acknowledged, self._committable, self._finished, self._least):
            state.pop(partition, None)

    def keep_commit(self, partition: TopicPartition, offset: int) -> None:
        """Commit nothing below an offset that is committed, though the partition is read again from before it."""
        self._least[partition] = offset


@dataclass(slots=True, eq=False)
class Batch:
    """The records that one poll returned for one topic, over all its partitions that can go on.

    `records` holds at least one record for each of its partitions, in log order. The agent calls `start` before its
    first side effect, `acknowledge` for each partition whose outputs are acknowledged, `set_aside` for each that cannot
    go on, and `finish` at the end in any case; the next poll waits for that. `beats` rises while the agent works.
    """

    topic: str
    generation: int
    records: Mapping[int, Sequence[Record]]
    ledger: CommitLedger
    draining: asyncio.Event
    started: bool = False
    finished: asyncio.Event = field(default_factory=asyncio.Event)
    aside: dict[int, str] = field(default_factory=dict)
    """The partitions that were set aside, and why."""
    acknowledged: set[int] = field(default_factory=set)
    beats: int = 0
    cost_seconds: float = 0.0
    """The processor time that the work on it has taken so far."""
    _slices: dict[int, tuple[TopicPartition, _Slice]] = field(init=False)

    def __post_init__(self) -> None:
        self._slices = {
            partition: (TopicPartition(self.topic, partition), _Slice(self.generation, records[-1].offset))
            for partition, records in self.records.items()
        }

    def is_current(self, partition: int) -> bool:
        """Tell whether the partition still belongs to us under this batch's assignment, and is not set aside."""
        return partition not in self.aside and self.ledger.holds(*self._slices[partition])

    def current(self) -> list[int]:
        """Return the partitions that still belong to us and are not set aside."""
        return [partition for partition in self.records if self.is_current(partition)]

    def may_start(self) -> bool:
        """Tell whether side effects may start (or be retried): not while partitions are being revoked."""
        self.beats += 1
        return not self.draining.is_set() and bool(self.current())

    def start(self) -> bool:
        """Start if that is allowed; from then on a revocation waits for `finish`."""
        self.started = self.may_start()
        return self.started

    def acknowledge(self, partition: int, metadata: str = "") -> None:
        """Record that the broker has acknowledged all outputs of the partition's records."""
        self.acknowledged.add(partition)
        self.ledger.acknowledge(
            TopicPartition(self.topic, partition), self.generation, self.records[partition][-1].offset, metadata
        )

    def set_aside(self, partition: int, reason: str) -> None:
        """Give a partition up for now: its records are delivered again later, and no other partition waits for it."""
        self.aside[partition] = reason

    @asynccontextmanager
    async def alive(self) -> AsyncIterator[None]:
        """Count beats while work goes on that may wait for long, for example for Kafka to come back."""
        beating = asyncio.create_task(self._beat())
        try:
            yield
        finally:
            beating.cancel()

    async def _beat(self) -> None:
        while True:
            self.beats += 1
            await asyncio.sleep(1)

    def finish(self) -> None:
        """Record that processing of this batch has ended."""
        self.finished.set()
