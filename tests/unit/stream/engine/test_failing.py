"""A partition whose fetches fail is told of, and is asked for after a pause only; the others are fetched meanwhile."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.subscription_state import SubscriptionState

from stream.engine.fetcher import QueueingFetcher
from stream.engine.stalled import FailingPartitions
from support.record_batches import packed

FAILING, SOUND = TopicPartition("transactions", 0), TopicPartition("transactions", 1)
STORAGE_ERROR, UNKNOWN, OUT_OF_RANGE = 56, -1, 1
BACKOFF = 0.1


class Broker:
    """A client of one broker, which answers some partitions with an error and the others with a record."""

    def __init__(self, errors: dict[TopicPartition, int]) -> None:
        self._loop = asyncio.get_running_loop()
        self._metadata_max_age_ms = 300_000
        self._conns = dict[Any, Any]()
        self.cluster = SimpleNamespace(leader_for_partition=lambda _: 1)
        self.errors = errors
        self.requested = Counter[TopicPartition]()
        self.refreshes = 0

    def force_metadata_update(self) -> None:
        self.refreshes += 1

    async def send(self, _node: int, request: Any) -> Any:
        await asyncio.sleep(0.001)
        answers = [
            (topic, [self._answer(TopicPartition(topic, partition), offset) for partition, offset, _ in partitions])
            for topic, partitions in request.topics
        ]
        return SimpleNamespace(topics=answers)

    def _answer(self, tp: TopicPartition, offset: int) -> tuple[Any, ...]:
        self.requested[tp] += 1
        code, end = self.errors.get(tp, 0), offset + 1
        return tp.partition, code, end, end, 0, [], -1, b"" if code else packed([(b"k", b"v", ())], base=offset)


def fetcher_of(broker: Broker, partitions: Iterable[TopicPartition]) -> QueueingFetcher:
    subscriptions = SubscriptionState()
    subscriptions.assign_from_user(set(partitions))
    for tp in partitions:
        subscriptions.seek(tp, 0)
    return QueueingFetcher(broker, subscriptions, resets=False, retry_backoff_ms=BACKOFF * 1000)


def most_requests(began: float) -> float:
    """Return how often a partition may have been asked for since then, on a busy machine too."""
    return 3 + (time.monotonic() - began) / BACKOFF


async def test_a_partition_with_a_disk_error_is_noted_and_asked_for_after_a_pause_while_another_is_read() -> None:
    broker = Broker({FAILING: STORAGE_ERROR})
    fetcher = fetcher_of(broker, (FAILING, SOUND))
    try:
        read, began = 0, time.monotonic()
        for _ in range(100):
            await asyncio.sleep(0.005)
            read += len(fetcher.take([SOUND], 100).get(SOUND, ()))
        assert read > 20
        assert 2 <= broker.requested[FAILING] <= most_requests(began)
        failing = fetcher.queues.failing.copy()
        assert {tp: one.error for tp, one in failing.items()} == {FAILING: "KafkaStorageError"}
        broker.errors.clear()
        await asyncio.sleep(3 * BACKOFF)
        assert fetcher.queues.failing.copy() == {}
        assert fetcher.take([FAILING], 1)[FAILING][0].offset == 0
    finally:
        await fetcher.close()


async def test_a_partition_that_fails_alone_is_asked_for_again_when_its_pause_is_over() -> None:
    broker = Broker({FAILING: UNKNOWN})
    fetcher = fetcher_of(broker, (FAILING,))
    try:
        began = time.monotonic()
        await asyncio.sleep(5.5 * BACKOFF)
        assert 3 <= broker.requested[FAILING] <= most_requests(began)
        del fetcher.queues[FAILING]
        assert fetcher.queues.failing.copy() == {}
    finally:
        await fetcher.close()


def test_the_age_counts_from_the_first_error_whatever_the_next_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1.0
    monkeypatch.setattr("stream.engine.stalled.time.monotonic", lambda: now)
    failing = FailingPartitions()
    assert failing.note(FAILING, "KafkaStorageError", 0.5)
    assert (failing.pauses(FAILING), failing.pauses(SOUND), failing.shortest_pause()) == (True, False, 0.5)
    now = 21.0
    assert not failing.pauses(FAILING)
    assert failing.shortest_pause() == float("inf")
    assert not failing.note(FAILING, "KafkaStorageError", 0.5)
    assert failing.note(FAILING, "UnknownError", 0.5)
    (one,) = failing.copy().values()
    assert one.since == 1.0
    assert one.reason(now - one.since) == (
        "its broker has answered each fetch with an error for 20 s, the last one UnknownError"
    )
    failing.forget(FAILING)
    assert failing.copy() == {}


async def test_an_offset_that_a_broker_lacks_for_a_moment_is_asked_for_again_and_one_that_is_gone_is_told_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("stream.engine.fetcher._CERTAIN_SECONDS", 0.4)
    broker = Broker({FAILING: OUT_OF_RANGE, SOUND: OUT_OF_RANGE})
    fetcher = fetcher_of(broker, (FAILING, SOUND))
    try:
        await asyncio.sleep(0.15)
        del broker.errors[SOUND]
        await asyncio.sleep(0.6)
        assert [record.offset for record in fetcher.take([SOUND], 1)[SOUND]] == [0]
        assert dict(fetcher.troubles((FAILING, SOUND))) == {FAILING: 0}
        assert broker.refreshes > 1
    finally:
        await fetcher.close()


class HangingBroker(Broker):
    """A broker whose answers never come, as those of one without new records for as long as it may wait."""

    async def send(self, _node: int, _request: Any) -> Any:
        await asyncio.sleep(60)


async def test_a_fetcher_that_is_closed_while_its_assignment_is_replaced_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.tasks._CLEAN_UP_SECONDS", 0.1)
    fetcher = fetcher_of(HangingBroker({}), (SOUND,))
    await asyncio.sleep(0.01)
    fetcher._subscriptions.assign_from_user({FAILING})
    for _ in range(100):  # until it has cancelled its requests of the old assignment, and waits for them
        if any(task.cancelling() for task in fetcher._pending_tasks):
            break
        await asyncio.sleep(0)
    closing = asyncio.create_task(fetcher.close())
    ended, _ = await asyncio.wait({closing}, timeout=3)
    closing.cancel()  # the cancellation that was lost
    await closing
    assert ended
