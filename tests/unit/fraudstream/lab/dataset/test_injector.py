"""The injector keeps its open-loop schedule, and reports each record that the broker acknowledged or refused."""

import asyncio
import time
from collections.abc import Iterable
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError, UnknownTopicOrPartitionError
from aiokafka.structs import RecordMetadata, TopicPartition

from fraudstream.lab.dataset.injector import InjectionError, Injector, ScheduledRecord


class FakeProducer:
    """A producer that keeps what it is given; it may be slow to accept a record, or fail to deliver it."""

    def __init__(self, slow: Iterable[int] = (), refused: Iterable[int] = ()) -> None:
        self.taken: list[tuple[str, bytes, int]] = []
        self.headers: list[list[tuple[str, bytes]]] = []
        self._slow, self._refused = set(slow), set(refused)

    async def send(
        self, topic: str, *, value: bytes, key: bytes, timestamp_ms: int, headers: list[tuple[str, bytes]]
    ) -> "asyncio.Future[Any]":
        number = len(self.taken)
        self.headers.append(headers)
        self.taken.append((topic, value, timestamp_ms))
        if number in self._slow:
            await asyncio.sleep(0.2)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if number in self._refused:
            future.set_exception(KafkaTimeoutError())
        else:
            future.set_result(RecordMetadata(topic, 0, TopicPartition(topic, 0), number, timestamp_ms, 0, 0))
        assert key == b"card"
        return future

    async def flush(self) -> None:
        """Do nothing: no record is buffered."""


class Callbacks:
    """Records the calls of an injector's callbacks."""

    def __init__(self) -> None:
        self.due: list[tuple[str, int]] = []
        self.places: list[tuple[str, int]] = []

    def injector(self, producer: FakeProducer, rate: float | None) -> Injector:
        return Injector(
            producer,  # type: ignore[arg-type] - it has the methods that are used
            rate,
            lambda item, due_ms: self.due.append((item.name, due_ms)),
            lambda item, placed: self.places.append((item.name, placed.offset)),
        )


def items(count: int) -> list[ScheduledRecord]:
    return [ScheduledRecord("transactions", b"card", b"{}", str(number)) for number in range(count)]


async def test_records_are_sent_at_the_rate_with_their_due_time_as_timestamp() -> None:
    producer, callbacks = FakeProducer(), Callbacks()
    began = time.monotonic()
    done = await callbacks.injector(producer, 100).run(items(21))
    assert 0.2 <= time.monotonic() - began < 10
    assert done.sent == 21
    times = [due_ms - callbacks.due[0][1] for _, due_ms in callbacks.due]
    assert times == [10 * number for number in range(21)]
    assert [stamp for _, _, stamp in producer.taken] == [due_ms for _, due_ms in callbacks.due]
    assert callbacks.places == [(str(number), number) for number in range(21)]


async def test_a_record_with_the_time_of_sending_is_stamped_when_it_is_sent_and_not_when_it_was_due() -> None:
    producer, callbacks = FakeProducer(slow=[5]), Callbacks()
    await callbacks.injector(producer, 100).run(one._replace(has_time_of_sending=True) for one in items(7))
    (_, due_ms), (_, _, sent_ms) = callbacks.due[6], producer.taken[6]
    assert sent_ms - due_ms >= 150  # the sixth took 200 ms, and the seventh was due 10 ms after it


async def test_a_stalled_broker_does_not_shift_due_times_and_the_lag_is_made_up() -> None:
    producer, callbacks = FakeProducer(slow=[5]), Callbacks()
    done = await callbacks.injector(producer, 100).run(items(30))
    times = [due_ms - callbacks.due[0][1] for _, due_ms in callbacks.due]
    assert times == [10 * number for number in range(30)]
    assert done.worst_lag_ms >= 180
    assert done.seconds < 0.6  # 0.3 s of schedule: the stall was made up


async def test_a_record_that_shares_a_slot_does_not_delay_the_next_slot() -> None:
    producer, callbacks = FakeProducer(), Callbacks()
    mixed = [item._replace(shares_slot=number % 2 == 1) for number, item in enumerate(items(20))]
    await callbacks.injector(producer, 100).run(mixed)
    times = [due_ms - callbacks.due[0][1] for _, due_ms in callbacks.due]
    assert times[::2] == [10 * number for number in range(10)]


async def test_without_a_rate_records_are_sent_without_pauses() -> None:
    producer = FakeProducer()
    done = await Callbacks().injector(producer, None).run(items(1000))
    assert (done.sent, done.worst_lag_ms) == (1000, 0)
    assert done.seconds < 2


async def test_refused_records_are_counted_and_the_reason_is_named() -> None:
    producer, callbacks = FakeProducer(refused=[3, 4]), Callbacks()
    with pytest.raises(InjectionError, match=r"of 10 records, the broker did not take 2 \(KafkaTimeoutError"):
        await callbacks.injector(producer, None).run(items(10))
    assert len(callbacks.places) == 8


class RecordingTrace:
    """An operation trace that records how operations ended."""

    headers = (("traceparent", b"00-x"),)

    def __init__(self) -> None:
        self.ends: list[Any] = []

    def done(self, attributes: Any) -> None:
        self.ends.append(attributes)

    def failed(self, error: str) -> None:
        self.ends.append(error)


async def test_the_traced_operation_of_a_record_supplies_its_headers_and_gets_the_outcome() -> None:
    producer, trace = FakeProducer(refused=[1]), RecordingTrace()
    injector = Injector(producer, None, lambda _item, _due_ms: None, lambda _item, _place: None, lambda _item: trace)  # type: ignore[arg-type] - it has the methods that are used
    with pytest.raises(InjectionError):
        await injector.run(items(2))
    assert producer.headers == [list(RecordingTrace.headers)] * 2
    first, second = trace.ends
    assert (first["messaging.destination.name"], first["messaging.kafka.offset"]) == ("transactions", 0)
    assert second == "KafkaTimeoutError"


async def test_a_topic_that_is_gone_stops_sending_with_the_first_record_and_is_named() -> None:
    class Gone(FakeProducer):
        async def send(self, topic: str, **record: Any) -> "asyncio.Future[Any]":
            if len(self.taken) == 2:
                self.taken.append((topic, b"", 0))
                raise UnknownTopicOrPartitionError
            return await super().send(topic, **record)

    producer, callbacks = Gone(), Callbacks()
    with pytest.raises(
        InjectionError, match=r"topic transactions is missing: create it with `fraudstream topics apply"
    ):
        await callbacks.injector(producer, None).run(items(50))
    assert len(producer.taken) == 3
