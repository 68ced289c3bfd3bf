"""Partitions that are looked at at the same time share requests, and none waits for another one's broker."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError, NodeNotReadyError

from stream.kafka.bounds import EndOffsets, OffsetBounds, ends_of_all
from support.known_leaders import KnownLeaders

HERE = [TopicPartition("transactions", number) for number in range(6)]


class AskedConsumer:
    """A consumer of partitions whose number is their first offset and ten times that the end; two brokers lead them.

    The broker that leads odd partitions does not answer before `awake`, and raises `error` then.
    """

    def __init__(self) -> None:
        self._client = KnownLeaders(lambda tp: tp.partition % 2)
        self.awake = asyncio.Event()
        self.awake.set()
        self.error: Exception | None = None
        self.asked: list[tuple[str, list[int]]] = []

    async def beginning_offsets(self, tps: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        await self._answer("begin", tps)
        return {tp: tp.partition for tp in tps}

    async def end_offsets(self, tps: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        await self._answer("end", tps)
        return {tp: 10 * tp.partition for tp in tps}

    async def _answer(self, what: str, tps: Sequence[TopicPartition]) -> None:
        self.asked.append((what, [tp.partition for tp in tps]))
        if any(tp.partition % 2 for tp in tps):
            await self.awake.wait()
            if self.error is not None:
                raise self.error


@asynccontextmanager
async def opened(consumer: AskedConsumer, ends: EndOffsets | None = None) -> AsyncIterator[OffsetBounds]:
    bounds = OffsetBounds(consumer, ends)
    yield bounds
    await bounds.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_partitions_of_a_leader_that_are_asked_for_together_share_two_requests() -> None:
    consumer = AskedConsumer()
    async with opened(consumer) as bounds:
        found = await asyncio.gather(*map(bounds.of, HERE))
        assert found == [(number, 10 * number) for number in range(6)]
        assert sorted(consumer.asked) == [
            ("begin", [0, 2, 4]),
            ("begin", [1, 3, 5]),
            ("end", [0, 2, 4]),
            ("end", [1, 3, 5]),
        ]


class TwoEnds(KnownLeaders):
    """A client whose broker has five records more in each partition than are committed."""

    async def send(self, _node: int, request: Any) -> Any:
        beyond = 0 if request._isolation_level else 5
        topics = [(topic, [(one, 0, -1, 10 * one + beyond) for one, _ in parts]) for topic, parts in request._topics]
        return SimpleNamespace(API_VERSION=2, topics=topics)


async def test_the_ends_of_all_records_are_asked_for_although_the_consumer_reads_committed_ones() -> None:
    consumer: Any = AskedConsumer()
    fetcher = SimpleNamespace(_client=TwoEnds(), _retry_backoff=0.1, _isolation_level=1)
    consumer._fetcher, consumer._request_timeout_ms = fetcher, 1_000
    async with opened(consumer, partial(ends_of_all, consumer)) as bounds:
        assert await bounds.of(HERE[2]) == (2, 25)
    assert fetcher._isolation_level == 1


async def test_a_broker_that_does_not_answer_holds_up_its_own_partitions_alone() -> None:
    consumer = AskedConsumer()
    consumer.awake.clear()
    async with opened(consumer) as bounds:
        waiting = asyncio.create_task(bounds.of(HERE[1]))
        assert await asyncio.wait_for(bounds.of(HERE[0]), 5) == (0, 0)
        assert not waiting.done()
        consumer.awake.set()
        assert await waiting == (1, 10)


async def test_an_error_is_that_of_all_who_asked_for_it_and_one_who_gives_up_takes_nothing_from_the_others() -> None:
    consumer = AskedConsumer()
    consumer.awake.clear()
    async with opened(consumer) as bounds:
        given_up, waiting = (asyncio.create_task(bounds.of(tp)) for tp in (HERE[1], HERE[3]))
        await asyncio.sleep(0)
        given_up.cancel()
        consumer.error = NodeNotReadyError()
        consumer.awake.set()
        with pytest.raises(NodeNotReadyError):
            await waiting


async def test_metadata_that_do_not_come_are_waited_for_again_by_the_next_who_asks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    consumer = AskedConsumer()

    async def give_up() -> None:
        raise asyncio.CancelledError

    async with opened(consumer) as bounds:
        with monkeypatch.context() as without:
            without.setattr(consumer._client, "_maybe_wait_metadata", give_up)
            with pytest.raises(KafkaConnectionError, match="given up"):
                await bounds.of(HERE[0])
        assert await bounds.of(HERE[0]) == (0, 0)


async def test_nothing_is_kept_of_what_was_asked_for_and_an_error_that_nobody_waits_for_is_not_told_of() -> None:
    consumer = AskedConsumer()
    async with opened(consumer) as bounds:
        for _ in range(20):
            await bounds.of(HERE[2])
        consumer.awake.clear()
        waiting = asyncio.create_task(bounds.of(HERE[1]))
        await asyncio.sleep(0.01)
        waiting.cancel()
        consumer.error = KafkaConnectionError()
        consumer.awake.set()
        await asyncio.sleep(0.01)
        assert not bounds._tasks
