"""Record batches that are written to their broker at once, without aiokafka's sender and its tasks.

The sender needs six turns of the event loop and several tasks for a request to produce. Here the request is written in
the call that sends it, and its answer settles the batches in the reader's turn. Sequence numbers, the batches, and the
marks of brokers and partitions with a request on its way stay aiokafka's, so its sender can go on at any time: it gets
whatever cannot be written at once, and each request that fails or is refused, to be tried again by its own rules.

It uses private attributes of aiokafka 0.14, which is pinned.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from types import MappingProxyType
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.client import ConnectionGroup
from aiokafka.errors import KafkaError, ProducerClosed
from aiokafka.producer.message_accumulator import BatchBuilder, MessageBatch
from aiokafka.producer.sender import Sender
from aiokafka.protocol.produce import ProduceRequest, ProduceResponse_v7
from aiokafka.structs import RecordMetadata

from stream.engine.ending import ProduceHandler, tasks_of
from stream.engine.wire import PRODUCE, PRODUCE_VERSION, Produced, close_silent, produce_body, produced, speaks, write
from stream.tasks import Once, look_at_error

log = logging.getLogger("fraudstream.direct")

Acknowledgement = asyncio.Future[RecordMetadata]
"""A batch's: aiokafka settles it, and only aiokafka may."""


class ProduceRequestOnItsWay:
    """A request to produce that was written to a connection, and gets its answer.

    Attributes:
        settled: done once each batch is acknowledged or has failed, or whoever waited has given up.
    """

    def __init__(self, sender: Sender, node: int, batches: Mapping[TopicPartition, MessageBatch]) -> None:
        self._sender, self._node, self._batches = sender, node, batches
        self._connection = sender.client._conns[node, ConnectionGroup.DEFAULT]  # noqa: SLF001
        self._outcome: bytes | BaseException | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._sent_at = 0.0
        self._settling = Once(self._loop)
        self.settled = self._settling.happened

    def send(self) -> None:
        """Write the request."""
        self._sent_at = self._loop.time()
        self._sender._in_flight.add(self._node)  # noqa: SLF001
        self._sender._muted_partitions.update(self._batches)  # noqa: SLF001
        topics: defaultdict[str, list[tuple[int, bytes]]] = defaultdict(list)
        for tp, batch in self._batches.items():
            topics[tp.topic].append((tp.partition, batch.get_data_buffer()))
        body = produce_body(self._sender._acks, self._sender._request_timeout_ms, topics)  # noqa: SLF001
        write(self._connection, (PRODUCE, PRODUCE_VERSION), body, _with_frame, self)

    async def wait(self, timeout: float) -> None:  # noqa: ASYNC109 - a patience
        """Wait until it is settled, at most `timeout` seconds; for one caller."""
        await self._settling.until(self._loop.time() + timeout)

    def limit(self) -> None:
        """Close the connection if no answer comes in the client's time, as aiokafka does.

        For those who have stopped waiting: it costs a timer, and looks at errors that nobody may look at any more.
        """
        if self._outcome is None and self._timer is None:
            last_at = self._sent_at + self._connection._request_timeout  # noqa: SLF001
            self._timer = self._loop.call_at(last_at, close_silent, self._connection)
            for batch in self._batches.values():
                batch.future.add_done_callback(look_at_error)

    # --- what the connection's reader calls

    def done(self) -> bool:
        """Tell whether there is an answer, or an error."""
        return self._outcome is not None

    def set_result(self, answer: tuple[bytes, Mapping[tuple[str, int], Produced]]) -> None:
        """Settle the batches if all were appended; else leave the answer to aiokafka."""
        self._outcome, found = answer
        self._end_limit()
        results = [found.get(tp) for tp in self._batches]
        if not all(one is not None and one.code == 0 for one in results):
            self._recover(self._outcome)
            return
        pending = self._sender._message_accumulator._pending_batches  # noqa: SLF001
        for batch, (_, *place) in zip(self._batches.values(), results, strict=True):  # type: ignore[misc] # none is None
            pending.discard(batch)
            batch.done(*place)
        self._release()
        self._settling.happen()

    def set_exception(self, error: BaseException) -> None:
        """Leave the error to aiokafka."""
        self._outcome = error
        self._end_limit()
        self._recover(error)

    def _end_limit(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    # --- afterwards

    def _recover(self, outcome: bytes | BaseException) -> None:
        """Let aiokafka do what it does after such an answer or error: try again, or fail the batches."""
        for batch in self._batches.values():
            batch.future.add_done_callback(look_at_error)
            batch.future.add_done_callback(lambda _, batch=batch: self._ended(batch))
        accumulator = self._sender._message_accumulator  # noqa: SLF001
        if accumulator._exception is not None or self._sender._sender_task.done():  # noqa: SLF001 - it has stopped or was ended: nobody would try again
            for batch in self._batches.values():
                batch.failure(outcome if isinstance(outcome, BaseException) else ProducerClosed())
            self._release()
            return
        handler = _Handler(self._sender, self._batches, outcome)
        recovering = self._loop.create_task(handler.do(self._node))
        tasks_of(self._sender).add(recovering)  # where an end of the producer finds it; and it is kept alive
        recovering.add_done_callback(self._recovered)

    def _ended(self, batch: MessageBatch) -> None:
        """Forget a batch that is acknowledged or has failed after all."""
        self._sender._message_accumulator._pending_batches.discard(batch)  # noqa: SLF001
        if all(one.future.done() for one in self._batches.values()):
            self._settling.happen()

    def _recovered(self, task: asyncio.Task[None]) -> None:
        """Go on; what aiokafka cannot handle ends its sender and fails all batches, as it does there."""
        tasks_of(self._sender).discard(task)
        accumulator = self._sender._message_accumulator  # noqa: SLF001
        if not task.cancelled() and (error := task.exception()) is not None and accumulator._exception is None:  # noqa: SLF001
            log.error("what became of a request to produce could not be handled", exc_info=error)
            self._sender._sender_task.cancel()  # noqa: SLF001
            accumulator.fail_all(KafkaError(f"what became of a request to produce could not be handled: {error!r}"))
        self._release()

    def _release(self) -> None:
        """Let others send to the broker and the partitions."""
        sender, accumulator = self._sender, self._sender._message_accumulator  # noqa: SLF001
        sender._in_flight.discard(self._node)  # noqa: SLF001
        sender._muted_partitions.difference_update(self._batches)  # noqa: SLF001
        if accumulator._batches and not accumulator._waiter_future.done():  # noqa: SLF001
            accumulator._waiter_future.set_result(None)  # noqa: SLF001 - the sender looks again


class _Handler(ProduceHandler):
    """aiokafka's handler of a request that was sent already, with its answer or error."""

    def __init__(
        self, sender: Sender, batches: Mapping[TopicPartition, MessageBatch], outcome: bytes | BaseException
    ) -> None:
        super().__init__(sender, batches)
        self._client = _Answered(sender.client, outcome)

    def create_request(self) -> ProduceRequest:
        """Return a request that says what aiokafka looks at: that acknowledgements are wanted."""
        return ProduceRequest(None, self._sender._acks, 0, [])  # noqa: SLF001


class _Answered:
    """A client whose request is answered already."""

    def __init__(self, client: Any, outcome: bytes | BaseException) -> None:  # noqa: ANN401 - aiokafka's
        self._client, self._outcome = client, outcome

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - aiokafka's
        return getattr(self._client, name)

    async def send(self, node: int, request: ProduceRequest) -> Any:  # noqa: ANN401, ARG002 - aiokafka's
        if isinstance(self._outcome, bytes):
            return ProduceResponse_v7.decode(BytesIO(self._outcome[4:]))
        raise self._outcome


class SentAtOnce(NamedTuple):
    """What was sent: the acknowledgement of each batch, the requests that were written, and the other batches'."""

    acknowledgements: Mapping[TopicPartition, Acknowledgement] = MappingProxyType({})
    requests: Sequence[ProduceRequestOnItsWay] = ()
    handed_over: Sequence[Acknowledgement] = ()


def send_at_once(producer: AIOKafkaProducer, builders: Mapping[TopicPartition, BatchBuilder]) -> SentAtOnce:
    """Send closed batches, each to its partition's leader; what cannot be written now is left to aiokafka's sender.

    None of the partitions may have a batch that waits.
    """
    by_leader: defaultdict[int | None, list[TopicPartition]] = defaultdict(list)
    for tp in builders:
        by_leader[producer.client.cluster.leader_for_partition(tp)].append(tp)
    sender, accumulator = producer._sender, producer._message_accumulator  # noqa: SLF001
    acknowledgements: dict[TopicPartition, Acknowledgement] = {}
    requests: list[ProduceRequestOnItsWay] = []
    handed_over: list[Acknowledgement] = []
    for leader, partitions in by_leader.items():
        if leader is not None and _may_write(sender, leader, partitions):
            batches = {tp: _drained(sender, tp, builders[tp]) for tp in partitions}
            requests.append(ProduceRequestOnItsWay(sender, leader, batches))
            requests[-1].send()
            acknowledgements |= {tp: batch.future for tp, batch in batches.items()}
            continue
        for tp in partitions:
            acknowledgements[tp] = accumulator._append_batch(builders[tp], tp).future  # noqa: SLF001
            acknowledgements[tp].add_done_callback(look_at_error)
            handed_over.append(acknowledgements[tp])
    return SentAtOnce(acknowledgements, requests, handed_over)


def _may_write(sender: Sender, leader: int, partitions: Iterable[TopicPartition]) -> bool:
    """Tell whether a request may be written now: the sender would write it at once, too."""
    transactions = sender._txn_manager  # noqa: SLF001
    numbered = transactions is None or (transactions.transactional_id is None and transactions.has_pid())
    running = sender._sender_task is not None and not sender._sender_task.done()  # noqa: SLF001
    if not numbered or not running or leader in sender._in_flight:  # noqa: SLF001
        return False
    connection = sender.client._conns.get((leader, ConnectionGroup.DEFAULT))  # noqa: SLF001
    if connection is None or not speaks(connection, PRODUCE, PRODUCE_VERSION) or sender._acks == 0:  # noqa: SLF001
        return False
    return bool(sender._muted_partitions.isdisjoint(partitions))  # noqa: SLF001


def _drained(sender: Sender, tp: TopicPartition, builder: BatchBuilder) -> MessageBatch:
    """Return a batch as aiokafka's accumulator hands it to the sender: numbered, and known as on its way."""
    accumulator, transactions = sender._message_accumulator, sender._txn_manager  # noqa: SLF001
    batch = MessageBatch(tp, builder, accumulator._batch_ttl, accumulator._linger_time)  # noqa: SLF001
    if transactions is not None:
        batch.set_producer_state(
            producer_id=transactions.producer_id,
            producer_epoch=transactions.producer_epoch,
            base_sequence=transactions.sequence_number(tp),
        )
        transactions.increment_sequence_number(tp, batch.record_count)
    batch.drain_ready()
    accumulator._pending_batches.add(batch)  # noqa: SLF001
    return batch


def _with_frame(frame: bytes) -> tuple[bytes, Mapping[tuple[str, int], Produced]]:
    return frame, produced(frame)
