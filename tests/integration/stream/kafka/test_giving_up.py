"""A write that brokers refuse or do not answer is given up with its producer, of which nothing is left or written."""

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, NamedTuple

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from stream.engine.publisher import Destination, Outgoing, Published, Publisher
from stream.errors import WriteGivenUpError
from stream.settings import Settings
from support.fleet.fleet import until
from support.fleet.payments import read_topic
from support.kafka.admin import set_on_topic
from support.kafka.cluster import Cluster
from support.kafka.jars import NoJars
from support.kafka.three_brokers import ThreeBrokers, three_brokers

GIVE_UP_SECONDS = 1.0
DEAD = 3
TOPIC = "refusing"


class Held(NamedTuple):
    """What the event loop holds: connections, tasks and timers. Fixtures have connections, too, of other loops."""

    connections: int
    tasks: int
    timers: int


def held(connections: int = 0) -> Held:
    """Return what is held beside so many connections, of which each has one of all three."""
    gc.collect()
    loop: Any = asyncio.get_running_loop()
    registered = len(loop._selector.get_map()) - 1  # the loop's own socket
    timers = [one for one in loop._scheduled if not one.cancelled()]
    return Held(*(count - connections for count in (registered, len(asyncio.all_tasks()), len(timers))))


class Writer:
    """A publisher, and records for the partitions of a topic."""

    def __init__(self, brokers: str, topic: str, idempotence: str) -> None:
        self.publisher = Publisher(Settings(brokers=brokers, kafka_idempotence=idempotence == "true"))
        self.topic = topic

    @contextmanager
    def giving_up_soon(self) -> Iterator[None]:
        """Give up soon what must not be written; a slow machine may take longer for what must be."""
        self.publisher.give_up_seconds = GIVE_UP_SECONDS
        yield
        self.publisher.give_up_seconds = Publisher.give_up_seconds

    @property
    def connections(self) -> int:
        """How many the present producer has: which brokers it asks for the others is drawn."""
        producer = self.publisher._producer
        assert producer is not None
        return len(producer.client._conns)

    async def write(self, value: bytes, partitions: Sequence[int] = (0, 1), count: int = 1) -> Published:
        some = [Outgoing(at, b"card", value, ()) for at in range(count)]
        return await self.publisher.publish_each({(self.topic, partition): some for partition in partitions})

    async def attempt(self, value: bytes, count: int = 1) -> dict[Destination, str]:
        """Write, wait until it is given up or written, and return what was given up and why."""
        published = await self.write(value, count=count)
        await asyncio.gather(*published.pending.values(), return_exceptions=True)
        late = {where: write.exception() for where, write in published.pending.items()}
        assert published.given_up == set(published.failures)
        assert [error for error in late.values() if not isinstance(error, WriteGivenUpError | None)] == []
        return published.failures | {where: str(error) for where, error in late.items() if error is not None}


async def create(kafka: Cluster | ThreeBrokers, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.brokers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, 2, kafka.replication)])
    finally:
        await admin.close()


@asynccontextmanager
async def writing(kafka: Cluster | ThreeBrokers, topic: str) -> AsyncIterator[Writer]:
    await create(kafka, topic)  # if it is not there
    writer = Writer(kafka.brokers, topic, "false" if kafka.kind == "embedded" else "true")
    await writer.publisher.start()
    try:
        yield writer
    finally:
        await writer.publisher.stop()


async def values(kafka: Cluster | ThreeBrokers, topic: str) -> list[bytes]:
    return [record.value for record in await read_topic(kafka.brokers, topic)]


@pytest.fixture
def limiting(kafka: Cluster) -> Cluster:
    if kafka.kind == "embedded":
        pytest.skip("the embedded broker has no limits of topics")
    return kafka


@pytest.fixture(scope="module")
def two_of_three() -> Iterator[ThreeBrokers]:
    """Three brokers of which one is dead: a topic that asks for three in sync refuses writes, and is there."""
    try:
        with three_brokers() as running:
            asyncio.run(create(running, TOPIC))
            running.nodes[DEAD].kill()
            until(lambda: all(len(one) == 2 for one in running.in_sync(TOPIC).values()), "two replicas are in sync")
            yield running
    except NoJars as reason:
        pytest.skip(f"no three brokers of Apache Kafka: {reason}")


async def test_what_was_given_up_while_a_topic_refuses_writes_never_comes_and_leaves_nothing_behind(
    two_of_three: ThreeBrokers,
) -> None:
    topic = TOPIC
    async with writing(two_of_three, topic) as writer:
        assert await writer.attempt(b"before") == {}
        before, beside = held(), held(writer.connections)
        assert before.connections == writer.connections
        await asyncio.to_thread(set_on_topic, two_of_three.brokers, topic, min_insync_replicas="3")
        with writer.giving_up_soon():
            await writer.attempt(b"unsure")  # it may have been appended before the setting was known there
            for number in range(5):
                given_up = await writer.attempt(b"attempt %d" % number)
                assert set(given_up) == {(topic, 0), (topic, 1)}
                left = held()
                assert left.tasks <= before.tasks
                assert left.timers <= before.timers
                assert left.connections == 0, "they are closed in the call that gives it up"
        await asyncio.to_thread(set_on_topic, two_of_three.brokers, topic, min_insync_replicas="2")
        assert await writer.attempt(b"after") == {}
        assert held(writer.connections) == beside
        await asyncio.sleep(GIVE_UP_SECONDS)  # in which producers that were left would have tried again many times
        found = [value for value in await values(two_of_three, topic) if value != b"unsure"]
        assert sorted(found) == [b"after"] * 2 + [b"before"] * 2


async def test_a_producer_whose_broker_hangs_leaves_nothing_behind_whatever_it_had_to_send(
    kafka_outage: Cluster, topic_prefix: str
) -> None:
    topic = f"{topic_prefix}hung"
    async with writing(kafka_outage, topic) as writer:
        assert await writer.attempt(b"before") == {}
        before = held()
        assert before.connections == writer.connections
        await asyncio.to_thread(kafka_outage.pause)
        large = os.urandom(400_000)
        with writer.giving_up_soon():
            writes = [await writer.write(large, count=8) for _ in range(3)]  # more than the kernel takes at once
            for published in writes:
                ended = await asyncio.gather(*published.pending.values(), return_exceptions=True)
                assert [one for one in ended if not isinstance(one, WriteGivenUpError)] == []
        left = held()
        assert left.connections == 0
        assert left.tasks <= before.tasks
        assert left.timers <= before.timers
        await asyncio.to_thread(kafka_outage.resume)
        assert await writer.attempt(b"after") == {}
        found = await values(kafka_outage, topic)
        assert found.count(b"after") == 2


async def test_a_batch_that_is_too_large_for_its_topic_is_written_in_smaller_ones_and_the_next_are_small_at_once(
    limiting: Cluster, topic_prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    topic = f"{topic_prefix}limited"
    async with writing(limiting, topic) as writer:
        assert await writer.attempt(b"before") == {}
        producer = writer.publisher._producer
        await asyncio.to_thread(set_on_topic, limiting.brokers, topic, max_message_bytes="3000")
        some = [Outgoing(at, b"card", os.urandom(900), ()) for at in range(40)]
        end = await writer.publisher.publish({(topic, 0): some})
        assert end == {(topic, 0): 41}
        refused = caplog.text.count("takes no batch")
        assert refused == 4, "36 kB are halved until they fit"
        published = await writer.publisher.publish_each({(topic, 0): some, (topic, 1): some[:2]})
        ends = {where: await write for where, write in published.pending.items()} | published.ends
        assert ends == {(topic, 0): 81, (topic, 1): 3}
        assert caplog.text.count("takes no batch") == refused
        assert writer.publisher._producer is producer, "no other write was given up for it"
        found = [one.value for one in await read_topic(limiting.brokers, topic) if one.partition == 0]
        assert found == [b"before", *(one.value for one in some * 2)]


async def test_a_single_record_that_is_too_large_fails_alone_and_those_before_it_are_written(
    limiting: Cluster, topic_prefix: str
) -> None:
    topic = f"{topic_prefix}too-large"
    async with writing(limiting, topic) as writer:
        await asyncio.to_thread(set_on_topic, limiting.brokers, topic, max_message_bytes="3000")
        some = [Outgoing(at, b"card", os.urandom(5_000 if at == 2 else 100), ()) for at in range(4)]
        published = await writer.publisher.publish_each({(topic, 0): some, (topic, 1): some[:1]})
        failures = published.failures | {where: str(await ended(write)) for where, write in published.pending.items()}
        assert set(failures) == {(topic, 0)}
        assert "MessageSizeTooLargeError" in failures[topic, 0]
        assert published.given_up == set(), "it is certain that it was not written"
        assert await writer.attempt(b"after") == {}, "numbers of records go on where they were"
        found = [one.value for one in await read_topic(limiting.brokers, topic) if one.partition == 0]
        assert found == [some[0].value, some[1].value, b"after"]


async def ended(write: "asyncio.Task[int]") -> BaseException | int:
    (result,) = await asyncio.gather(write, return_exceptions=True)
    return result
