"""Open-loop load generator: sends each record when it is due, however slow the broker and the workers are.

The timestamp of a record is the time at which it was due, even if it is sent late, so that latencies measured from it
include the delay. A prediction has the time of its sending instead, since that decides whether it is late.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError
from aiokafka.structs import RecordMetadata

from stream.clock import now_ms
from stream.engine.publisher import Headers
from stream.engine.tracing import OperationTrace, UntracedOperation, sent_attributes
from stream.errors import StreamError
from stream.kafka.client import missing_topic

_YIELD_EVERY = 256
"""Records after which a sender that is late gives other tasks a turn."""


class InjectionError(StreamError):
    """The broker did not take all records; the message says how many. Send the file again: repeats are recognised."""


class ScheduledRecord(NamedTuple):
    """One record to send; with `shares_slot` it is due together with the record before it."""

    topic: str
    key: bytes
    value: bytes
    name: str
    """The sender's name for it; not sent."""
    shares_slot: bool = False
    headers: Headers = ()
    timestamp_ms: int | None = None
    """The record's timestamp; None: when it was due."""
    has_time_of_sending: bool = False
    """Whether its timestamp is when it is sent, however late that is, and not when it was due."""

    def timestamp(self, due_ms: int) -> int:
        """Return the timestamp to send it with now."""
        if self.timestamp_ms is not None:
            return self.timestamp_ms
        return now_ms() if self.has_time_of_sending else due_ms


def _untraced(scheduled: ScheduledRecord) -> OperationTrace:
    return UntracedOperation(scheduled.headers)


class InjectionReport(NamedTuple):
    """How many records were sent, in how many seconds, and by how many milliseconds the latest was late."""

    sent: int
    seconds: float
    worst_lag_ms: int


class Injector:
    """Sends records in order.

    Args:
        producer: a started producer; it chooses the partition by the key.
        rate: records a second, or the seconds after the start at which a record is due, by its number from 0; None for
            as fast as the broker takes them.
        on_due: called with each record and its due time in epoch milliseconds just before it is sent.
        on_acknowledged: called with each record and its partition and offset once the broker has it.
        begin: begins the traced operation of sending a record; its headers are sent with the record.
    """

    def __init__(
        self,
        producer: AIOKafkaProducer,
        rate: float | Callable[[int], float] | None,
        on_due: Callable[[ScheduledRecord, int], None],
        on_acknowledged: Callable[[ScheduledRecord, RecordMetadata], None],
        begin: Callable[[ScheduledRecord], OperationTrace] = _untraced,
    ) -> None:
        self._producer = producer
        self._rate = rate
        self._on_due = on_due
        self._on_acknowledged = on_acknowledged
        self._begin = begin
        self._failures: Counter[str] = Counter()

    async def run(self, items: Iterable[ScheduledRecord]) -> InjectionReport:
        """Send all records and wait for their acknowledgements.

        Raises:
            InjectionError: some were not acknowledged, or the topic is gone.
        """
        began, began_ms = time.monotonic(), now_ms()
        slots, sent, worst = 0, 0, 0.0
        for item in items:
            offset = self._offset(slots, time.monotonic() - began)
            worst = max(worst, await self._wait_until(began + offset, sent))
            await self._send(item, began_ms + int(offset * 1000))
            slots += not item.shares_slot
            sent += 1
        try:
            await self._producer.flush()
        except KafkaError as error:  # also on each record's own future, where it is counted
            self._failures[f"{type(error).__name__}: {error}"] += 0
        await asyncio.sleep(0)  # let the last callbacks run
        if self._failures:
            raise InjectionError(f"of {sent} records, the broker did not take {_summary(self._failures)}")
        return InjectionReport(sent, time.monotonic() - began, round(worst * 1000))

    def _offset(self, slots: int, elapsed: float) -> float:
        if self._rate is None:
            return elapsed
        return self._rate(slots) if callable(self._rate) else slots / self._rate

    async def _wait_until(self, due: float, sent: int) -> float:
        """Wait for the due time; return by how many seconds it was missed."""
        ahead = due - time.monotonic()
        if ahead > 0:
            await asyncio.sleep(ahead)
        elif sent % _YIELD_EVERY == 0:  # late, or without a rate: let other tasks run
            await asyncio.sleep(0)
        return max(0.0, -ahead) if self._rate else 0.0

    async def _send(self, scheduled: ScheduledRecord, due_ms: int) -> None:
        self._on_due(scheduled, due_ms)
        operation = self._begin(scheduled)
        try:
            future = await self._producer.send(
                scheduled.topic,
                value=scheduled.value,
                key=scheduled.key,
                timestamp_ms=scheduled.timestamp(due_ms),
                headers=list(operation.headers),
            )
        except UnknownTopicOrPartitionError as error:  # aiokafka has looked for it for 10 s, and would for each record
            operation.failed(type(error).__name__)
            raise InjectionError(f"sending was stopped: {missing_topic(scheduled.topic)}") from error
        except KafkaError as error:
            self._record_failure(operation, type(error).__name__, str(error))
            return
        future.add_done_callback(lambda done: self._complete(scheduled, operation, done))

    def _complete(
        self, scheduled: ScheduledRecord, operation: OperationTrace, done: "asyncio.Future[RecordMetadata]"
    ) -> None:
        if done.cancelled():
            self._record_failure(operation, "cancelled")
        elif (error := done.exception()) is not None:
            self._record_failure(operation, type(error).__name__, str(error))
        else:
            place = done.result()
            operation.done(sent_attributes(place.topic, place.partition, place.offset))
            self._on_acknowledged(scheduled, place)

    def _record_failure(self, operation: OperationTrace, kind: str, why: str = "") -> None:
        operation.failed(kind)
        self._failures[f"{kind}: {why}" if why else kind] += 1


def _summary(failures: Counter[str]) -> str:
    return "; ".join(f"{count} ({why})" for why, count in failures.most_common(3))
