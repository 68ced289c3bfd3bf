"""A fetcher asks a broker again as soon as it has an answer, as long as nothing else is to be done."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.client import ConnectionGroup
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.protocol.fetch import FetchRequest_v11, FetchResponse_v11

from stream.engine.fetcher import QueueingFetcher
from support.broker_connection import open_connection
from support.record_batches import packed

NODE, HEADER_BYTES = 1, 4 + 8 + 2 + len("fraudstream-1")
ONE, TWO = TopicPartition("transactions", 0), TopicPartition("transactions", 1)
STORAGE_ERROR = 56


class Client:
    """A client with one connection, whose broker a test answers for; what goes another way is kept."""

    def __init__(self, connection: Any) -> None:
        self._loop = asyncio.get_running_loop()
        self._metadata_max_age_ms = 300_000
        self._conns = {(NODE, ConnectionGroup.DEFAULT): connection}
        self.cluster = SimpleNamespace(leader_for_partition=lambda _: NODE)
        self.sent: list[Any] = []

    def force_metadata_update(self) -> Any:
        return asyncio.get_running_loop().create_future()

    async def send(self, _node: int, request: Any) -> Any:
        self.sent.append(request)
        await asyncio.sleep(60)


class Reading:
    """A fetcher of two partitions, and its broker."""

    def __init__(self, connection: Any) -> None:
        self.connection, self.client = connection, Client(connection)
        self.subscriptions = SubscriptionState()
        self.subscriptions.assign_from_user({ONE, TWO})
        for tp in (ONE, TWO):
            self.subscriptions.seek(tp, 0)
        self.fetcher = QueueingFetcher(self.client, self.subscriptions, resets=False, retry_backoff_ms=10)

    async def asked(self, number: int) -> dict[int, int]:
        """Return the offsets that a request asks for, by partition, once it was written."""
        async with asyncio.timeout(5):
            while len(self.connection._writer.written) <= number:  # noqa: ASYNC110 - the writer has no event
                await asyncio.sleep(0.001)
        request = FetchRequest_v11.decode(BytesIO(self.connection._writer.written[number][HEADER_BYTES:]))
        return {partition: offset for _, parts in request.topics for partition, _, offset, *_ in parts}

    def answer(self, *parts: tuple[Any, ...]) -> None:
        number = self.connection._requests[0][0]
        topics = [("transactions", list(parts))]
        self.connection._handle_frame(number.to_bytes(4, "big") + FetchResponse_v11(0, 0, 0, topics).encode())

    def records(self, tp: TopicPartition, offset: int, code: int = 0) -> tuple[Any, ...]:
        some = b"" if code else packed([(b"k", b"v", ())], base=offset)
        return tp.partition, code, offset + 1, offset + 1, 0, [], -1, some


@pytest.fixture
async def reading() -> AsyncIterator[Reading]:
    with open_connection() as connection:
        made = Reading(connection)
        yield made
        await made.fetcher.close()


@contextmanager
def without_routine(reading: Reading) -> Iterator[list[int]]:
    """Count how often aiokafka's routine looks what to request."""
    looks: list[int] = []
    before = reading.fetcher._get_actions_per_node

    def look(assignment: Any) -> Any:
        looks.append(1)
        return before(assignment)

    reading.fetcher._get_actions_per_node = look
    yield looks


async def test_the_next_request_follows_an_answer_without_the_routine(reading: Reading) -> None:
    assert await reading.asked(0) == {0: 0, 1: 0}
    with without_routine(reading) as looks:
        for at in range(5):
            reading.answer(reading.records(ONE, at))
            assert await reading.asked(at + 1) == {0: at + 1, 1: 0}
            assert reading.fetcher.take([ONE, TWO], 10).keys() == {ONE}
    assert len(looks) <= 1, "but for its look every 200 ms"


async def test_a_partition_that_fails_is_left_out_for_a_while_and_asked_for_again(reading: Reading) -> None:
    await reading.asked(0)
    reading.answer(reading.records(ONE, 0, STORAGE_ERROR))
    assert await reading.asked(1) == {1: 0}
    reading.answer((1, 0, 0, 0, 0, [], -1, b""))
    at = 2
    while await reading.asked(at) != {0: 0, 1: 0}:
        assert at < 50
        reading.answer((1, 0, 0, 0, 0, [], -1, b""))
        at += 1


async def test_another_offset_is_asked_for_once_it_is_sought(reading: Reading) -> None:
    await reading.asked(0)
    reading.fetcher.seek_to(TWO, 7)
    reading.answer((0, 0, 0, 0, 0, [], -1, b""))
    assert await reading.asked(1) == {0: 0, 1: 7}


async def test_who_waits_for_records_is_woken(reading: Reading) -> None:
    await reading.asked(0)
    waiting = asyncio.create_task(reading.fetcher.wait_for_records(5))
    await asyncio.sleep(0)
    reading.answer(reading.records(ONE, 0))
    await asyncio.wait_for(waiting, 1)


async def test_a_silent_broker_loses_its_connection_and_the_client_asks_it_anew(reading: Reading) -> None:
    reading.connection._request_timeout = 0.2
    await reading.asked(0)
    reading.subscriptions.assign_from_user({ONE})  # the time-out above counts from the next request on
    reading.subscriptions.seek(ONE, 3)
    assert await reading.asked(1) == {0: 3}
    async with asyncio.timeout(5):
        while not reading.client.sent:  # noqa: ASYNC110 - the client has no event
            await asyncio.sleep(0.001)
    assert not reading.connection.connected()
    assert reading.client.sent[0].topics == [("transactions", [(0, 3, reading.fetcher._max_partition_fetch_bytes)])]
