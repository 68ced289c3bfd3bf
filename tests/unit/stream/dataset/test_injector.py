"""The open loop keeps its schedule, and says of every record whether the broker has it."""

import asyncio
import time
from collections.abc import Iterable
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError
from aiokafka.structs import RecordMetadata, TopicPartition

from stream.dataset.injector import InjectionError, Injector, ScheduledRecord


class Broker:
    """Keeps what a producer sends; may be slow to take it, and may refuse it."""

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
        """Nothing is kept back."""


class Heard:
    """What an injector tells."""

    def __init__(self) -> None:
        self.due: list[tuple[str, int]] = []
        self.places: list[tuple[str, int]] = []

    def injector(self, broker: Broker, rate: float | None) -> Injector:
        return Injector(
            broker,  # type: ignore[arg-type] - it has what is used of a producer
            rate,
            lambda item, due_ms: self.due.append((item.name, due_ms)),
            lambda item, placed: self.places.append((item.name, placed.offset)),
        )


def items(count: int) -> list[ScheduledRecord]:
    return [ScheduledRecord("transactions", b"card", b"{}", str(number)) for number in range(count)]


async def test_records_go_out_at_the_rate_and_carry_their_due_time() -> None:
    broker, heard = Broker(), Heard()
    began = time.monotonic()
    done = await heard.injector(broker, 100).run(items(21))
    assert 0.2 <= time.monotonic() - began < 10
    assert done.sent == 21
    times = [due_ms - heard.due[0][1] for _, due_ms in heard.due]
    assert times == [10 * number for number in range(21)]
    assert [stamp for _, _, stamp in broker.taken] == [due_ms for _, due_ms in heard.due]
    assert heard.places == [(str(number), number) for number in range(21)]


async def test_a_broker_that_stalls_moves_no_due_time() -> None:
    broker, heard = Broker(slow=[5]), Heard()
    done = await heard.injector(broker, 100).run(items(30))
    times = [due_ms - heard.due[0][1] for _, due_ms in heard.due]
    assert times == [10 * number for number in range(30)]
    assert done.worst_lag_ms >= 180
    assert done.seconds < 0.6  # 0.3 s of schedule: the stall was made up for


async def test_a_record_that_shares_a_slot_takes_no_time_of_its_own() -> None:
    broker, heard = Broker(), Heard()
    mixed = [item._replace(shares_slot=number % 2 == 1) for number, item in enumerate(items(20))]
    await heard.injector(broker, 100).run(mixed)
    times = [due_ms - heard.due[0][1] for _, due_ms in heard.due]
    assert times[::2] == [10 * number for number in range(10)]


async def test_without_a_rate_everything_goes_at_once() -> None:
    broker = Broker()
    done = await Heard().injector(broker, None).run(items(1000))
    assert (done.sent, done.worst_lag_ms) == (1000, 0)
    assert done.seconds < 2


async def test_refused_records_are_counted_and_the_reason_is_named() -> None:
    broker, heard = Broker(refused=[3, 4]), Heard()
    with pytest.raises(InjectionError, match=r"of 10 records, the broker did not take 2 \(KafkaTimeoutError"):
        await heard.injector(broker, None).run(items(10))
    assert len(heard.places) == 8


class Way:
    """A step that keeps what is said of it."""

    headers = (("traceparent", b"00-x"),)

    def __init__(self) -> None:
        self.ends: list[Any] = []

    def done(self, said: Any) -> None:
        self.ends.append(said)

    def failed(self, error: str) -> None:
        self.ends.append(error)


async def test_a_records_way_out_is_a_step_whose_headers_are_sent_and_which_hears_its_end() -> None:
    broker, way = Broker(refused=[1]), Way()
    injector = Injector(broker, None, lambda _item, _due_ms: None, lambda _item, _place: None, lambda _item: way)  # type: ignore[arg-type] - it has what is used of a producer
    with pytest.raises(InjectionError):
        await injector.run(items(2))
    assert broker.headers == [list(Way.headers)] * 2
    first, second = way.ends
    assert (first["messaging.destination.name"], first["messaging.kafka.offset"]) == ("transactions", 0)
    assert second == "KafkaTimeoutError"


async def test_an_items_own_headers_go_out_with_it() -> None:
    broker = Broker()
    await Heard().injector(broker, None).run([items(1)[0]._replace(headers=[("correlation-id", b"1")])])
    assert broker.headers == [[("correlation-id", b"1")]]
