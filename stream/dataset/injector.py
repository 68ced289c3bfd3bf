"""An open loop: records are sent when they are due, whatever the broker and the workers do.

A record that is sent late carries the time at which it was due, so a latency counted from it leaves no wait out.
Nothing here knows what the records say.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.structs import RecordMetadata

from stream.clock import now_ms
from stream.errors import StreamError
from stream.kafka.publisher import Headers
from stream.kafka.tracing import OperationTrace, UntracedOperation, sent_attributes

_BREATH = 256


class InjectionError(StreamError):
    """The broker did not take all records; how many it did is in the message. Send the file again: repeats are told."""


class ScheduledRecord(NamedTuple):
    """One record; one that `rides` goes out with the record before it and takes no time of its own."""

    topic: str
    key: bytes
    value: bytes
    name: str
    """What its sender calls it; not sent."""
    rides: bool = False
    headers: Headers = ()


def _untraced(item: ScheduledRecord) -> OperationTrace:
    return UntracedOperation(item.headers)


class Injected(NamedTuple):
    """What was sent: how many, in how many seconds, and how late the latest of them was, in milliseconds."""

    sent: int
    seconds: float
    worst_lag_ms: int


class Injector:
    """Sends items in order.

    Args:
        producer: started; it chooses the partition by the key.
        rate: items a second, or None for as fast as the broker takes them.
        due: told each item and its due time in epoch milliseconds just before it goes out.
        acknowledged: told each item and where it is once the broker has it.
        begin: begins the step that is an item's way out; the step's headers are sent.
    """

    def __init__(
        self,
        producer: AIOKafkaProducer,
        rate: float | None,
        due: Callable[[ScheduledRecord, int], None],
        acknowledged: Callable[[ScheduledRecord, RecordMetadata], None],
        begin: Callable[[ScheduledRecord], OperationTrace] = _untraced,
    ) -> None:
        self._producer = producer
        self._rate = rate
        self._due = due
        self._acknowledged = acknowledged
        self._begin = begin
        self._failures: Counter[str] = Counter()

    async def run(self, items: Iterable[ScheduledRecord]) -> Injected:
        """Send all items and wait for their acknowledgements.

        Raises:
            InjectionError: some were not acknowledged.
        """
        began, began_ms = time.monotonic(), now_ms()
        slots, sent, worst = 0, 0, 0.0
        for item in items:
            offset = self._offset(slots, time.monotonic() - began)
            worst = max(worst, await self._wait_until(began + offset, sent))
            await self._send(item, began_ms + int(offset * 1000))
            slots += not item.rides
            sent += 1
        try:
            await self._producer.flush()
        except KafkaError as error:  # each record's own future has it as well
            self._failures[f"{type(error).__name__}: {error}"] += 0
        await asyncio.sleep(0)  # the last callbacks
        if self._failures:
            raise InjectionError(f"of {sent} records, the broker did not take {_summed(self._failures)}")
        return Injected(sent, time.monotonic() - began, round(worst * 1000))

    def _offset(self, slots: int, elapsed: float) -> float:
        return elapsed if self._rate is None else slots / self._rate

    async def _wait_until(self, due: float, sent: int) -> float:
        """Wait for the due time and return by how many seconds it had been missed."""
        ahead = due - time.monotonic()
        if ahead > 0:
            await asyncio.sleep(ahead)
        elif sent % _BREATH == 0:  # behind, or without a rate: let others run
            await asyncio.sleep(0)
        return max(0.0, -ahead) if self._rate else 0.0

    async def _send(self, item: ScheduledRecord, due_ms: int) -> None:
        self._due(item, due_ms)
        step = self._begin(item)
        try:
            future = await self._producer.send(
                item.topic, value=item.value, key=item.key, timestamp_ms=due_ms, headers=list(step.headers)
            )
        except KafkaError as error:
            self._failed(step, type(error).__name__, str(error))
            return
        future.add_done_callback(lambda done: self._done(item, step, done))

    def _done(self, item: ScheduledRecord, step: OperationTrace, done: "asyncio.Future[RecordMetadata]") -> None:
        if done.cancelled():
            self._failed(step, "cancelled")
        elif (error := done.exception()) is not None:
            self._failed(step, type(error).__name__, str(error))
        else:
            place = done.result()
            step.done(sent_attributes(place.topic, place.partition, place.offset))
            self._acknowledged(item, place)

    def _failed(self, step: OperationTrace, kind: str, why: str = "") -> None:
        step.failed(kind)
        self._failures[f"{kind}: {why}" if why else kind] += 1


def _summed(failures: Counter[str]) -> str:
    return "; ".join(f"{count} ({why})" for why, count in failures.most_common(3))
