"""Parts of topics and their records, read from a broker and from `ListedTopics`, which replaces one in other tests."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.errors import UnknownTopicOrPartitionError

from fraudstream.lab.rescoring.topic_reader import TopicPart, TopicReader, open_reader
from stream.settings import Settings
from support.kafka.cluster import Cluster
from support.rescoring.world import ListedTopics, Record

TIMES_MS = {0: [1000, 2000, 3000, 2500, 5000], 1: [], 2: [4000, 6000]}
"""The records' timestamps by partition; a producer's clock may go back."""
DELETED = 2
"""Number of records deleted at the beginning of partition 0."""


@pytest.fixture(params=[pytest.param("kafka", marks=pytest.mark.integration), "listed"])
async def topics(
    request: pytest.FixtureRequest, topic_prefix: str
) -> AsyncIterator[tuple[TopicReader | ListedTopics, str]]:
    topic = f"{topic_prefix}parts"
    if request.param == "listed":
        yield listed(topic), topic
    else:
        async with on_a_broker(request.getfixturevalue("kafka"), topic) as real:
            yield real, topic


def listed(topic: str) -> ListedTopics:
    logs = {
        number: [Record(topic, number, at, time, b"k", str(at).encode()) for at, time in enumerate(times)]
        for number, times in TIMES_MS.items()
    }
    logs[0] = logs[0][DELETED:]
    return ListedTopics({topic: logs}, {topic: {number: len(times) for number, times in TIMES_MS.items()}})


@asynccontextmanager
async def on_a_broker(kafka: Cluster, topic: str) -> AsyncIterator[TopicReader]:
    if kafka.kind == "embedded":
        pytest.skip("the embedded broker deletes no records")
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.brokers)
    producer = AIOKafkaProducer(bootstrap_servers=kafka.brokers)
    await admin.start()
    await producer.start()
    try:
        await admin.create_topics([NewTopic(topic, len(TIMES_MS), 1)])
        for number, times in TIMES_MS.items():
            for at, time in enumerate(times):
                await producer.send_and_wait(topic, str(at).encode(), b"k", partition=number, timestamp_ms=time)
        await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=DELETED)})
        async with open_reader(Settings(brokers=kafka.brokers)) as found:
            yield found
    finally:
        await producer.stop()
        await admin.close()


async def test_the_whole_topic_excludes_deleted_records(topics: Any) -> None:
    found, topic = topics
    whole = await found.whole(topic)
    assert (dict(whole.starts), dict(whole.ends)) == ({0: 2, 1: 0, 2: 0}, {0: 5, 1: 0, 2: 2})
    assert whole.count == 5


@pytest.mark.parametrize(
    ("moment_ms", "starts"),
    [
        (None, {0: 2, 1: 0, 2: 0}),
        (-5, {0: 2, 1: 0, 2: 0}),
        (2600, {0: 2, 1: 0, 2: 0}),
        (3001, {0: 4, 1: 0, 2: 0}),
        (4001, {0: 4, 1: 0, 2: 1}),
        (9000, {0: 5, 1: 0, 2: 2}),
    ],
)
async def test_since_and_until_return_the_first_offsets_at_or_after_a_time(
    topics: Any, moment_ms: int | None, starts: Mapping[int, int]
) -> None:
    found, topic = topics
    whole = await found.whole(topic)
    assert dict(await found.since(whole, moment_ms)) == starts
    ends = starts if moment_ms is not None else {0: 5, 1: 0, 2: 2}
    assert dict(await found.until(whole, moment_ms)) == ends


async def test_a_part_of_a_topic_is_read_in_offset_order_within_each_partition(topics: Any) -> None:
    found, topic = topics
    whole = await found.whole(topic)
    read: dict[int, list[tuple[int, int, bytes]]] = {}
    async for records in found.read(TopicPart(topic, {0: 3, 2: 0}, {0: 5, 2: 1})):
        for one in records:
            read.setdefault(one.partition, []).append((one.offset, one.timestamp, one.value))
    assert read == {0: [(3, 2500, b"3"), (4, 5000, b"4")], 2: [(0, 4000, b"0")]}
    assert dict(await found.first_ms(whole)) == {0: 3000, 2: 4000}


async def test_a_missing_topic_raises_an_error_that_names_it(kafka: Cluster) -> None:
    async with open_reader(Settings(brokers=kafka.brokers)) as found:
        with pytest.raises(
            UnknownTopicOrPartitionError, match=r"absent is missing: create it with `fraudstream topics apply"
        ):
            await found.whole("absent")
