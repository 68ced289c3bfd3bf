"""A request that the client gives up is an error to whoever awaits it, and no cancellation of the task."""

import asyncio
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataResponse_v1
from numpy.random import default_rng

from models.commands import Event, EventKind
from stream.control import follower
from stream.control.follower import Follower
from stream.engine import publisher
from stream.engine.batches import Commit
from stream.engine.budgets import Budgets
from stream.engine.ending import EndableProducer
from stream.engine.fetch_thread import FetchThread
from stream.engine.fetcher import LogConsumer
from stream.engine.lanes import AsidePartitions, Lane, LaneKind
from stream.engine.publisher import Outgoing, Publisher
from stream.engine.transport import BatchConsumer
from stream.errors import PublishError, WriteGivenUpError
from stream.kafka.client import connection_options, producer_options
from stream.kafka.stray import PlainConsumer, PlainProducer, given_up_as_error
from stream.settings import Settings
from support.given_up import give_up

HERE = TopicPartition("scores", 0)
EVENT = Event(
    event_id="e",
    deployment="default",
    kind=EventKind.CUTOVER,
    revision=1,
    worker="w-1",
    at="2026-01-01T00:00:00.000Z",
)


async def test_a_request_that_is_given_up_is_an_error() -> None:
    request: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    request.cancel()
    with pytest.raises(KafkaConnectionError, match="given up"), given_up_as_error():
        await request


async def test_a_task_that_is_cancelled_ends_and_one_whose_time_is_over_too() -> None:
    async def wait() -> None:
        with given_up_as_error():
            await asyncio.sleep(60)

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await wait()


async def test_a_consumer_stops_while_a_request_waits_to_be_sent_again() -> None:
    closed = asyncio.Event()

    async def close_client() -> None:
        closed.set()

    consumer: Any = PlainConsumer(**connection_options(Settings()))
    consumer._client = SimpleNamespace(close=close_client)
    routine, waiting = (asyncio.create_task(asyncio.sleep(60)) for _ in range(2))
    await asyncio.sleep(0)
    fetcher = SimpleNamespace(_fetch_task=routine, _fetch_waiters=(), _pending_tasks={waiting})
    fetcher.close = partial(Fetcher.close, fetcher)
    consumer._fetcher = fetcher
    await consumer.stop()
    assert closed.is_set()
    assert routine.cancelled()
    assert waiting.cancelled()


async def test_the_follower_of_the_control_log_goes_on_after_a_request_was_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(follower, "_RETRY_SECONDS", 0.001)
    read_again = asyncio.Event()
    answers: list[asyncio.Future[None]] = [asyncio.get_running_loop().create_future() for _ in range(2)]
    answers[0].cancel()

    async def read(_: Follower) -> None:
        if len(answers) == 1:
            read_again.set()
        await answers.pop(0)

    monkeypatch.setattr(Follower, "_read", read)
    following = asyncio.create_task(Follower(Settings()).run())
    await asyncio.wait_for(read_again.wait(), 5)
    following.cancel()


# --- writes


class GivingUpProducer(EndableProducer):
    """A producer that gives up every request, and its start as often as `starts` says."""

    def __init__(self, starts: int = 0) -> None:
        super().__init__()
        self.starts = starts

    async def start(self) -> None:
        if self.starts:
            await give_up()

    async def send_batch(self, *_: object, **__: object) -> "asyncio.Future[None]":
        return given_up_request()

    async def send(self, *_: object, **__: object) -> "asyncio.Future[None]":
        return given_up_request()

    async def partitions_for(self, _topic: str) -> set[int]:
        return {HERE.partition}


def given_up_request() -> "asyncio.Future[None]":
    request: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    request.cancel()
    return request


@pytest.mark.parametrize("starts", [0, 1])
async def test_a_write_that_is_given_up_is_an_error_and_its_producer_is_replaced(
    monkeypatch: pytest.MonkeyPatch, starts: int
) -> None:
    producers: list[GivingUpProducer] = []

    def make(**_: object) -> GivingUpProducer:
        producers.append(GivingUpProducer(starts))
        return producers[-1]

    monkeypatch.setattr(publisher, "EndableProducer", make)
    made, outputs = Publisher(Settings()), {HERE: [Outgoing(0, None, b"x", ())]}
    with pytest.raises(PublishError, match="given up") as failure:
        await made.publish(outputs)
    assert isinstance(failure.value, WriteGivenUpError) == (not starts), "what was never sent is certain"
    published = await made.publish_each(outputs)
    assert "given up" in published.failures[HERE]
    with pytest.raises(KafkaConnectionError, match="given up"):
        await made.publish_event(EVENT)
    assert len(producers) == 3
    assert all(one.has_failed for one in producers)


# --- the consumer


def thread(consumer: object) -> FetchThread:
    made: Any = FetchThread.__new__(FetchThread)
    made._ensure_consumer = lambda: consumer
    return made  # type: ignore[no-any-return]


async def test_a_commit_that_is_given_up_is_made_later() -> None:
    consumer = SimpleNamespace(assignment=lambda: {HERE}, commit=give_up)
    assert await thread(consumer).commit_offsets({HERE: Commit(1, "")}) is False


async def test_reading_the_commits_of_an_assignment_that_is_given_up_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(FetchThread, "log_consumer", SimpleNamespace(commits=give_up))
    monkeypatch.setattr(FetchThread, "run_on_loop", lambda _, work: asyncio.create_task(work))
    with pytest.raises(KafkaConnectionError, match="given up"):
        await thread(None).seek_to_committed()


async def test_a_lane_that_ends_by_a_request_that_is_given_up_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    fatal: list[str] = []
    running: Any = SimpleNamespace(should_stop=False)
    made: Any = BatchConsumer.__new__(BatchConsumer)
    made._stopped, made._crashed, made.app, made.flow_active = asyncio.Event(), asyncio.Event(), running, True
    made.aside = AsidePartitions(asyncio.get_running_loop().time, default_rng())
    made.budgets = Budgets(asyncio.get_running_loop().time)
    made.lanes = (Lane("labels", LaneKind.SHARED), Lane("labels", LaneKind.RETRIES))
    made.transport = SimpleNamespace(options=SimpleNamespace(fatal=fatal.append))
    monkeypatch.setattr(BatchConsumer, "options", property(lambda self: self.transport.options))
    monkeypatch.setattr(BatchConsumer, "_pollable", lambda _, lane: [] if lane.kind is LaneKind.RETRIES else [HERE])
    monkeypatch.setattr(BatchConsumer, "_poll_once", give_up)
    await asyncio.wait_for(made._drain_messages(running), 5)
    assert "given up" in fatal[0]


@pytest.mark.parametrize("client", [PlainConsumer, PlainProducer, LogConsumer, EndableProducer])
async def test_a_cancellation_that_arrives_while_a_client_stops_is_not_swallowed(client: Any) -> None:
    ended = asyncio.Event()

    async def ends_slowly() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.02)
            ended.set()

    made = client(bootstrap_servers="127.0.0.1:1")
    inner = made.client if isinstance(made, PlainProducer) else made._client
    inner._sync_task = asyncio.ensure_future(ends_slowly())
    stopping = asyncio.ensure_future(made.stop())
    await asyncio.sleep(0.01)
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    await asyncio.wait_for(ended.wait(), 5)  # it stops by itself


def found(client: Any, *addresses: tuple[str, int]) -> None:
    """Let a client's metadata say where the brokers are."""
    brokers = [(number, host, port, None) for number, (host, port) in enumerate(addresses)]
    client.cluster.update_metadata(MetadataResponse_v1(brokers, 0, []))


async def test_a_new_client_begins_with_the_brokers_that_earlier_ones_found() -> None:
    settings = Settings(brokers="moved-1:1,moved-2:2")
    follower, writer = PlainConsumer(**connection_options(settings)), PlainProducer(**producer_options(settings))
    found(follower._client, ("moved-1", 1), ("moved-3", 3))
    assert connection_options(settings)["bootstrap_servers"] == ["moved-1:1", "moved-2:2", "moved-3:3"]
    found(writer.client, ("::1", 4))
    found(follower._client)
    assert connection_options(settings)["bootstrap_servers"] == ["moved-1:1", "moved-2:2", "[::1]:4"]
    assert connection_options(Settings(brokers="moved-1:1"))["bootstrap_servers"] == ["moved-1:1"]
    await follower.stop()
    await writer.stop()
