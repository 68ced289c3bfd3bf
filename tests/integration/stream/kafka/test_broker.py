"""The tests' Kafka behaves as the other integration tests assume."""

import asyncio
import uuid

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from support.kafka.cluster import Cluster
from support.kafka.wire import brokers_in_service

pytestmark = pytest.mark.integration


async def create(brokers: str, topic: str, partitions: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=brokers)
    await admin.start()
    try:
        answer = await admin.create_topics([NewTopic(topic, partitions, 1)])
        assert [code for _, code, *_ in answer.topic_errors] == [0]
    finally:
        await admin.close()


async def produce(brokers: str, topic: str, values: list[bytes], partition: int = 0) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=brokers)
    await producer.start()
    try:
        for value in values:
            await producer.send_and_wait(topic, value, key=b"k", partition=partition)
    finally:
        await producer.stop()


async def consume(brokers: str, topic: str, count: int) -> list[bytes]:
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=brokers, group_id=f"g{uuid.uuid4().hex}", auto_offset_reset="earliest"
    )
    await consumer.start()
    values: list[bytes] = []
    try:
        async with asyncio.timeout(30):
            while len(values) < count:
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    values += [record.value for record in records if record.value is not None]
    finally:
        await consumer.stop()
    return values


async def test_a_group_consumes_the_records_of_a_partition(kafka: Cluster, topic_prefix: str) -> None:
    topic = f"{topic_prefix}letters"
    await create(kafka.brokers, topic, 3)
    await produce(kafka.brokers, topic, [b"a", b"b"], partition=2)
    assert await consume(kafka.brokers, topic, 2) == [b"a", b"b"]


@pytest.mark.acceptance
async def test_records_survive_a_kill_and_a_restart_on_the_same_address(
    kafka_outage: Cluster, topic_prefix: str
) -> None:
    if kafka_outage.kind == "embedded":
        pytest.skip("the embedded broker keeps its records in memory")
    topic = f"{topic_prefix}kept"
    await create(kafka_outage.brokers, topic, 1)
    await produce(kafka_outage.brokers, topic, [b"kept"])
    await asyncio.to_thread(kafka_outage.kill)
    assert brokers_in_service(kafka_outage.port) == 0
    await asyncio.to_thread(kafka_outage.start)
    assert await consume(kafka_outage.brokers, topic, 1) == [b"kept"]


async def test_a_paused_broker_does_not_answer_until_it_is_resumed(kafka_outage: Cluster, topic_prefix: str) -> None:
    topic = f"{topic_prefix}paused"
    await create(kafka_outage.brokers, topic, 1)
    await asyncio.to_thread(kafka_outage.pause)
    assert brokers_in_service(kafka_outage.port, seconds=0.3) == 0
    await asyncio.to_thread(kafka_outage.resume)
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka_outage.brokers)
    await consumer.start()
    try:
        assert await consumer.end_offsets([TopicPartition(topic, 0)]) == {TopicPartition(topic, 0): 0}
    finally:
        await consumer.stop()
