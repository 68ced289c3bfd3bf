# ruff: noqa: SLF001
"""A producer that can be ended at once: nothing of it is sent any more, and no connection, task or timer of it stays.

aiokafka's own `stop` waits until everything is written, which may be for ever, and meanwhile tries again and again: a
write that its caller has given up would reach its topic long after what replaced it.

It uses private attributes of aiokafka 0.14, which is pinned.
"""

import asyncio
import socket
import struct
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any, TypeVar
from weakref import WeakSet

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    InvalidTopicError,
    KafkaConnectionError,
    LeaderNotAvailableError,
    MessageSizeTooLargeError,
    ProducerClosed,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
    for_code,
)
from aiokafka.producer.message_accumulator import BatchBuilder, MessageAccumulator, MessageBatch
from aiokafka.producer.sender import Sender, SendProduceReqHandler

from stream.kafka.stray import PlainProducer
from stream.tasks import end_tasks, look_at_error

Part = TypeVar("Part")

_CLOSE_SECONDS = 1.0
_RESET_AT_CLOSE = struct.pack("ii", 1, 0)
_TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)


class Refusal:
    """Marks an error of a batch that is certain not to be written: a broker has refused it, or it was never sent."""


_REFUSALS: dict[Any, Any] = {
    kind: type(kind.__name__, (Refusal, kind), {"__module__": kind.__module__})
    for kind in (
        *_TOO_LARGE,
        TopicAuthorizationFailedError,
        ClusterAuthorizationFailedError,
        InvalidTopicError,
        LeaderNotAvailableError,
    )
}
"""aiokafka's errors of a batch that a broker has looked at and not appended, or that has no leader, with the mark."""


def is_too_large(error: BaseException) -> bool:
    """Tell whether a broker has refused a batch as too large for its topic."""
    return isinstance(error, Refusal) and isinstance(error, _TOO_LARGE)


class EndableProducer(PlainProducer):
    """aiokafka's producer, which can also be ended without writing what it holds."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - aiokafka's
        super().__init__(**options)
        # aiokafka has no way to pass its parts; these have not been used yet.
        self._connections = _Connections()
        self.client: AIOKafkaClient = _as(AIOKafkaClient, self.client, _conns=self._connections)
        accumulator: MessageAccumulator = self._message_accumulator
        self._message_accumulator: _Accumulator = _as(_Accumulator, accumulator)
        sender: Sender = self._sender
        parts = {"client": self.client, "_message_accumulator": self._message_accumulator}
        self._sender: _EndableSender = _as(_EndableSender, sender, **parts)

    @property
    def has_failed(self) -> bool:
        """Whether nothing will be sent any more: its sender has met an error that it does not survive, or has ended."""
        task = self._sender.sender_task
        return self._message_accumulator._exception is not None or (task is not None and task.done())

    def end(self) -> "asyncio.Task[None]":
        """End in this call: what is not acknowledged fails, and nothing of it is sent after the call.

        A broker may have a request that it has not answered; that alone may still be appended. The task is done when no
        connection and no task is left.
        """
        self._closed = True
        self._message_accumulator.end()
        tasks = [one for one in (self._sender.sender_task, self.client._sync_task) if one is not None]
        tasks += tasks_of(self._sender)
        for task in tasks:
            task.cancel()
        connections = tuple(self._connections.values())
        self._connections.cut()
        if (update := self.client._md_update_fut) is not None:
            update.cancel()
        return asyncio.create_task(_ended(tasks, connections))


def _as(kind: type[Part], part: object, **other: object) -> Part:
    made = kind.__new__(kind)
    made.__dict__.update(part.__dict__, **other)
    return made


async def _ended(tasks: list["asyncio.Task[Any]"], connections: tuple[AIOKafkaConnection, ...]) -> None:
    """Wait for what was cancelled, then let the connections fail requests that nobody waits for, and end their timers.

    In this order: a task that learns of a broken connection in the turn in which it is cancelled would try again.
    """
    await end_tasks(*tasks)
    closed = [one.close(reason=CloseReason.SHUTDOWN) for one in connections]
    if closed:
        await asyncio.wait(closed, timeout=_CLOSE_SECONDS)


class _Connections(dict[Any, AIOKafkaConnection]):
    """A client's connections by broker, which can be cut: also those it has closed that have bytes left to send."""

    def __init__(self) -> None:
        super().__init__()
        self._transports = WeakSet[asyncio.Transport]()
        self._is_cut = False

    def __setitem__(self, broker: object, connection: AIOKafkaConnection) -> None:
        writer = connection._writer
        if writer is not None:
            self._transports.add(writer.transport)
        if self._is_cut:
            self.cut()
            connection.close()
            raise KafkaConnectionError("the producer was ended while it connected")
        super().__setitem__(broker, connection)

    def cut(self) -> None:
        """Cut all, and each that is made from now on; what is still to be sent is dropped, by the kernel as well."""
        self._is_cut = True
        for transport in tuple(self._transports):
            if (connected := transport.get_extra_info("socket")) is not None:
                with suppress(OSError):  # it is closed
                    connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
            transport.abort()


def tasks_of(sender: Sender) -> set["asyncio.Task[None]"]:
    """Return the tasks that send for a sender or handle its answers; whoever starts one adds it."""
    tasks: set[asyncio.Task[None]] = sender.__dict__.setdefault("_fraudstream_tasks", set())
    return tasks


class _EndableSender(Sender):  # type: ignore[misc] # aiokafka ships no types
    """aiokafka's sender, which knows its requests: its own routine keeps them to itself."""

    async def _send_produce_req(self, node_id: int, batches: Mapping[TopicPartition, MessageBatch]) -> None:
        if self._message_accumulator._exception is not None:
            return  # it was ended before this task ran for the first time
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - it is one
        tasks_of(self).add(task)
        try:
            await ProduceHandler(self, batches).do(node_id)
        finally:
            tasks_of(self).discard(task)
        self._in_flight.remove(node_id)
        self._muted_partitions.difference_update(batches)


class _Accumulator(MessageAccumulator):  # type: ignore[misc] # aiokafka ships no types
    """aiokafka's accumulator, which can be ended, and tells of a batch that was never sent that this is certain."""

    def end(self) -> None:
        """Fail all batches: those that wait, those on their way, and those about to be tried again."""
        self._closed = True
        waiting = [batch for batches in self._batches.values() for batch in batches]
        self._batches.clear()
        self._pending_batches.update(waiting)  # from where each is removed when it is done, if it was tried
        held = tuple(self._pending_batches)
        self.fail_all(ProducerClosed("the producer was ended: a write was not acknowledged in time"))
        for batch in held:
            for future in (batch.future, batch._drain_waiter, *(one for one, _ in batch._msg_futures)):
                future.add_done_callback(look_at_error)

    def _append_batch(self, builder: BatchBuilder, tp: TopicPartition) -> MessageBatch:
        if self._exception is not None:
            raise ProducerClosed  # a caller had waited for room
        return super()._append_batch(builder, tp)

    def drain_by_nodes(
        self, ignore_nodes: Collection[int], muted_partitions: Collection[TopicPartition] = frozenset()
    ) -> Any:  # noqa: ANN401 - aiokafka's
        """Fail what has had no leader for too long, and return what can be sent."""
        for tp, batches in tuple(self._batches.items()):
            batch = batches[0]
            has_leader = self._cluster.leader_for_partition(tp) not in (None, -1)
            if tp not in muted_partitions and not has_leader and batch.retry_count == 0 and batch.expired():
                batches.popleft()
                if not batches:
                    del self._batches[tp]
                batch.failure(_REFUSALS[LeaderNotAvailableError]())
                batch._drain_waiter.add_done_callback(look_at_error)
        return super().drain_by_nodes(ignore_nodes, muted_partitions)


class ProduceHandler(SendProduceReqHandler):  # type: ignore[misc] # aiokafka ships no types
    """aiokafka's handler of a request to produce; a batch that a broker refuses leaves no gap in sequence numbers.

    aiokafka's leaves one, and brokers refuse all that follows on that partition. The partition has nothing else on its
    way until this has been handled, so its numbers go back to those of the refused batch.
    """

    def handle_response(self, response: Any) -> None:  # noqa: ANN401 - aiokafka's
        """Take refused batches' numbers back, and handle all else as aiokafka does."""
        for topic, partitions in response.topics:
            for partition, code, *_ in partitions:
                tp = TopicPartition(topic, partition)
                refusal, batch = _REFUSALS.get(for_code(code)), self._batches.get(tp)
                # Sent more than once, an earlier request may have been appended, or may still be.
                if refusal is not None and not refusal.retriable and batch is not None and batch.retry_count == 1:
                    batch.failure(refusal(topic) if issubclass(refusal, TopicAuthorizationFailedError) else refusal())
                    self._take_back(tp, batch)
        super().handle_response(response)

    def _take_back(self, tp: TopicPartition, batch: MessageBatch) -> None:
        numbers = self._sender._txn_manager
        if numbers is not None:
            before = numbers.sequence_number(tp) - batch.record_count
            numbers._sequence_numbers[tp] = before if before >= -(2**31) else before + 2**32
