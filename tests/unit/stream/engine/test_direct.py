"""A batch that is written at once is settled by its answer; whatever goes wrong is left to aiokafka's own sender."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from io import BytesIO
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.client import ConnectionGroup
from aiokafka.errors import MessageSizeTooLargeError, ProducerFenced, TopicAuthorizationFailedError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.producer.transaction_manager import PidAndEpoch
from aiokafka.protocol.produce import ProduceRequest_v7, ProduceResponse_v7
from aiokafka.record.default_records import DefaultRecordBatch

from stream.engine.direct import send_at_once
from stream.engine.ending import ProduceHandler, Refusal
from stream.engine.wire import PRODUCE
from support.broker_connection import open_connection

NODE, PID, EPOCH = 1, 77, 3
ONE, TWO = TopicPartition("scores", 0), TopicPartition("scores", 1)
NOT_LEADER, TOO_LARGE, FORBIDDEN, DUPLICATE, FENCED = 6, 10, 29, 46, 47


class Broker:
    """A producer of aiokafka's, with a connection to a broker that a test answers for, and no sender that runs."""

    def __init__(self, producer: Any, connection: Any) -> None:
        self.producer, self.connection, self._writer = producer, connection, connection._writer
        self.sender, self.accumulator = producer._sender, producer._message_accumulator
        self.metadata_asked_for = 0

    def ask_for_metadata(self) -> None:
        self.metadata_asked_for += 1

    def send(self, *partitions: TopicPartition, records: int = 2) -> Any:
        builders = {tp: builder(records) for tp in partitions}
        return send_at_once(self.producer, builders)

    def answer(self, *codes: tuple[TopicPartition, int], offset: int = 40) -> None:
        """Answer the oldest request, with a code for each partition."""
        topics = [(tp.topic, [(tp.partition, code, offset, 1_000, 5)]) for tp, code in codes]
        number = self.connection._requests[0][0]
        self.connection._handle_frame(number.to_bytes(4, "big") + ProduceResponse_v7(topics, 0).encode())

    def written(self) -> list[dict[TopicPartition, tuple[int, int, int, int]]]:
        """Return what each request writes to each partition: producer, epoch, first sequence, records."""
        return [_parts(request) for request in self._writer.written]

    @property
    def is_free(self) -> bool:
        """Whether nothing is on its way, to aiokafka's knowledge."""
        sender = self.sender
        return not sender._in_flight and not sender._muted_partitions and not self.accumulator._pending_batches


def _parts(request: bytes) -> dict[TopicPartition, tuple[int, int, int, int]]:
    body = ProduceRequest_v7.decode(BytesIO(request[4 + 8 + 2 + len("fraudstream-1") :]))
    found = {}
    for topic, partitions in body.topics:
        for partition, batch in partitions:
            read = DefaultRecordBatch(batch)
            assert read.validate_crc()
            found[TopicPartition(topic, partition)] = (
                read.producer_id, read.producer_epoch, read.base_sequence, len(list(read)),
            )  # fmt: skip
    return found


def builder(records: int) -> BatchBuilder:
    made = BatchBuilder(1_000_000, 0)
    for at in range(records):
        made.append(timestamp=None, key=b"card", value=b"%d" % at)
    made.close()
    return made


@pytest.fixture
async def broker() -> AsyncIterator[Broker]:
    producer: Any = AIOKafkaProducer(enable_idempotence=True, retry_backoff_ms=1)
    producer._closed = True  # it was never started, so that there is nothing to close
    producer._txn_manager.set_pid_and_epoch(PID, EPOCH)
    running = asyncio.create_task(asyncio.sleep(60))
    producer._sender._sender_task = running
    producer.client.cluster.leader_for_partition = lambda _tp: NODE
    with open_connection() as connection:
        made = Broker(producer, connection)
        producer.client._conns[NODE, ConnectionGroup.DEFAULT] = connection
        producer.client.force_metadata_update = made.ask_for_metadata
        yield made
        del producer.client._conns[NODE, ConnectionGroup.DEFAULT]
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - aiokafka has no events for it
            await asyncio.sleep(0)


def acknowledged(begun: Any, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
    return {tp: begun.acknowledgements[tp].result().offset for tp in partitions}


async def test_an_answer_settles_all_batches_of_its_request_in_the_readers_turn(broker: Broker) -> None:
    begun = broker.send(ONE, TWO)
    assert (len(begun.requests), begun.handed_over) == (1, [])
    assert broker.sender._in_flight == {NODE}
    assert not begun.requests[0].settled.done()
    broker.answer((ONE, 0), (TWO, 0))
    assert begun.requests[0].settled.done()
    assert acknowledged(begun, [ONE, TWO]) == {ONE: 40, TWO: 40}
    assert broker.is_free


async def test_batches_are_numbered_as_aiokafka_numbers_them(broker: Broker) -> None:
    for _ in range(2):
        broker.send(ONE, records=3)
        broker.answer((ONE, 0))
    broker.send(TWO)
    numbers = [(ONE, (PID, EPOCH, 0, 3)), (ONE, (PID, EPOCH, 3, 3)), (TWO, (PID, EPOCH, 0, 2))]
    assert broker.written() == [dict([one]) for one in numbers]


async def test_what_a_broker_with_a_request_on_its_way_gets_next_is_left_to_the_sender(broker: Broker) -> None:
    first, second = broker.send(ONE), broker.send(TWO)
    assert (len(first.requests), len(second.requests)) == (1, 0)
    assert second.handed_over == [second.acknowledgements[TWO]]
    assert list(broker.accumulator._batches) == [TWO]
    waiter = broker.accumulator._waiter_future = asyncio.get_running_loop().create_future()
    broker.answer((ONE, 0))
    assert waiter.done(), "the sender looks again"


@pytest.mark.parametrize(
    "because",
    [
        lambda it: setattr(it.producer._txn_manager, "_pid_and_epoch", PidAndEpoch(-1, -1)),
        lambda it: it.connection.close(),
        lambda it: setattr(it.connection, "_versions", {PRODUCE: (0, 6)}),
        lambda it: it.sender._muted_partitions.add(ONE),
        lambda it: it.producer.client._conns.pop((NODE, ConnectionGroup.DEFAULT)),
    ],
    ids=["no producer id", "closed", "older broker", "muted", "no connection"],
)
async def test_what_cannot_be_written_now_is_left_to_the_sender(broker: Broker, because: Any) -> None:
    because(broker)
    begun = broker.send(ONE)
    assert (begun.requests, broker.written()) == ([], [])
    assert broker.accumulator._batches[ONE][0].future is begun.acknowledgements[ONE]
    broker.producer.client._conns[NODE, ConnectionGroup.DEFAULT] = broker.connection


async def test_a_refusal_that_may_pass_is_tried_again_with_the_same_number(broker: Broker) -> None:
    begun = broker.send(ONE, TWO)
    broker.answer((ONE, NOT_LEADER), (TWO, 0))
    await until(lambda: not broker.sender._in_flight)
    assert begun.acknowledgements[TWO].result().offset == 40
    (batch,) = broker.accumulator._batches[ONE]
    assert batch.future is begun.acknowledgements[ONE]
    assert not begun.requests[0].settled.done()
    assert broker.metadata_asked_for
    assert broker.is_free
    drained = broker.accumulator._pop_batch(ONE)  # as the sender does
    assert drained is batch
    assert DefaultRecordBatch(drained.get_data_buffer()).base_sequence == 0
    drained.done(base_offset=90)
    await until(begun.requests[0].settled.done)
    assert not broker.accumulator._pending_batches


@pytest.mark.parametrize(
    ("code", "error"),
    [(TOO_LARGE, MessageSizeTooLargeError), (FORBIDDEN, TopicAuthorizationFailedError), (FENCED, ProducerFenced)],
)
async def test_a_refusal_for_good_fails_its_batch_alone(broker: Broker, code: int, error: type[Exception]) -> None:
    begun = broker.send(ONE, TWO)
    broker.answer((ONE, code), (TWO, 0))
    await until(begun.requests[0].settled.done)
    assert isinstance(begun.acknowledgements[ONE].exception(), error)
    assert begun.acknowledgements[TWO].result().offset == 40
    await until(lambda: broker.is_free)
    assert not broker.accumulator._batches


@pytest.mark.parametrize(("code", "certain"), [(TOO_LARGE, True), (FORBIDDEN, True), (FENCED, False)])
async def test_a_batch_that_a_broker_refused_at_its_first_request_leaves_no_gap_in_the_numbers(
    broker: Broker, code: int, *, certain: bool
) -> None:
    begun = broker.send(ONE, records=3)
    broker.answer((ONE, code))
    await until(begun.requests[0].settled.done)
    assert isinstance(begun.acknowledgements[ONE].exception(), Refusal) is certain
    await until(lambda: broker.is_free)
    broker.send(ONE, records=2)
    assert broker.written()[-1] == {ONE: (PID, EPOCH, 0 if certain else 3, 2)}


async def test_a_refusal_of_a_batch_that_was_sent_before_is_not_certain(broker: Broker) -> None:
    begun = broker.send(ONE)
    broker.answer((ONE, NOT_LEADER))
    await until(lambda: broker.accumulator._batches)
    await until(lambda: broker.is_free)
    again = broker.accumulator._pop_batch(ONE)  # as the sender does
    ProduceHandler(broker.sender, {ONE: again}).handle_response(
        ProduceResponse_v7([(ONE.topic, [(ONE.partition, TOO_LARGE, -1, -1, -1)])], 0)
    )
    error = begun.acknowledgements[ONE].exception()
    assert isinstance(error, MessageSizeTooLargeError)
    assert not isinstance(error, Refusal), "the first request may have been appended"


async def test_a_batch_that_was_written_before_is_acknowledged(broker: Broker) -> None:
    begun = broker.send(ONE)
    broker.answer((ONE, DUPLICATE), offset=-1)
    await until(begun.requests[0].settled.done)
    assert acknowledged(begun, [ONE]) == {ONE: -1}


async def test_a_connection_that_breaks_leaves_the_batches_to_be_tried_again(broker: Broker) -> None:
    begun = broker.send(ONE)
    broker.connection.close()
    await until(lambda: not broker.sender._in_flight)
    assert broker.accumulator._batches[ONE][0].future is begun.acknowledgements[ONE]
    assert not begun.acknowledgements[ONE].done()


async def test_who_waits_gives_up_after_a_moment_and_a_broker_that_stays_silent_loses_its_connection(
    broker: Broker,
) -> None:
    begun = broker.send(ONE)
    (request,) = begun.requests
    await request.wait(0.001)
    assert not begun.acknowledgements[ONE].done()
    broker.connection._request_timeout = 0.001
    request.limit()
    await until(lambda: not broker.connection.connected())
    await until(lambda: broker.accumulator._batches)


async def test_batches_of_a_producer_that_has_stopped_fail(broker: Broker) -> None:
    begun = broker.send(ONE)
    broker.sender._sender_task.cancel()
    await until(broker.sender._sender_task.done)
    broker.connection.close()
    assert "closed" in str(begun.acknowledgements[ONE].exception())
    await until(lambda: broker.is_free)


async def test_who_is_cancelled_while_it_waits_leaves_the_batch_to_its_answer(broker: Broker) -> None:
    begun = broker.send(ONE)
    waiting = asyncio.create_task(begun.requests[0].wait(10))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait((waiting,))
    broker.answer((ONE, 0))
    assert acknowledged(begun, [ONE]) == {ONE: 40}
    assert broker.is_free


async def test_a_refusal_ends_the_limit_while_it_is_recovered_from(broker: Broker) -> None:
    (request,) = broker.send(ONE).requests
    broker.connection._request_timeout = 0.05
    request.limit()
    asking = asyncio.Event()

    async def hangs() -> None:
        asking.set()
        await asyncio.sleep(60)

    broker.producer.client._maybe_wait_metadata = hangs
    broker.answer((ONE, NOT_LEADER))
    await asyncio.wait_for(asking.wait(), 5)
    assert broker.sender._in_flight == {NODE}
    await asyncio.sleep(0.1)
    assert broker.connection.connected()


async def test_what_aiokafka_cannot_handle_fails_all_batches_and_ends_the_sender(broker: Broker) -> None:
    begun = broker.send(ONE)
    del broker.producer.client.force_metadata_update
    broker.producer.client._maybe_wait_metadata = lambda: 1 / 0
    broker.answer((ONE, NOT_LEADER))
    await until(begun.requests[0].settled.done)
    assert "ZeroDivisionError" in str(begun.acknowledgements[ONE].exception())
    await until(broker.sender._sender_task.done)
    broker.accumulator._batches[ONE][0]._drain_waiter.exception()
    assert broker.accumulator._exception is begun.acknowledgements[ONE].exception()
    await until(lambda: broker.is_free)
