"""Java's consumer, librdkafka and aiokafka read the same scores, whatever codec they were compressed with."""

import asyncio
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from stream.engine.publisher import Outgoing, Publisher
from stream.kafka.topics import LAYOUTS
from stream.settings import PREFIX, read_settings
from support.fleet.fleet import Fleet
from support.fleet.payments import PARTITIONS, partition_of, payment
from support.fleet.shipments import CODECS, Place, java_classpath, run_java
from support.kafka.cluster import Cluster
from support.kafka.jars import NoJars
from support.kafka.operations import configuration
from support.kafka.raw_batches import fetch_codecs

COUNT = 40
SECONDS = 60.0
Line = tuple[int, int, str, str]
"""A score: partition, offset, key and value."""


def by_librdkafka(fleet: Fleet, count: int) -> list[Line]:
    """Read so many scores with librdkafka."""
    options = {"bootstrap.servers": fleet.brokers, "group.id": f"{fleet.prefix}foreign", "enable.auto.commit": False}
    consumer, lines, deadline = Consumer(options), list[Line](), time.monotonic() + SECONDS
    try:
        consumer.assign(
            [TopicPartition(f"{fleet.prefix}scores", number, OFFSET_BEGINNING) for number in range(PARTITIONS)]
        )
        while len(lines) < count and time.monotonic() < deadline:
            for message in consumer.consume(count, 0.2):
                assert message.error() is None, message.error()
                where = (message.partition(), message.offset())
                lines.append((*where, message.key().decode(), message.value().decode()))
    finally:
        consumer.close()
    return sorted(lines)


def by_java(fleet: Fleet, count: int, folder: Path) -> list[Line]:
    """Read so many scores with Kafka's Java consumer."""
    file = folder / "read-by-java.txt"
    place = Place(fleet.brokers, f"{fleet.prefix}scores", folder)
    run_java(place, "consumer", [[str(count), str(file)]], "ForeignConsumer.java")
    lines = (line.split("\t", 3) for line in file.read_text().splitlines())
    return sorted((int(partition), int(offset), key, value) for partition, offset, key, value in lines)


def by_aiokafka(fleet: Fleet) -> list[Line]:
    """Read all scores with aiokafka."""
    found = ((one.partition, one.offset, one.key.decode(), one.value.decode()) for one in fleet.read("scores"))
    return sorted(found)


async def publish_scores(fleet: Fleet, scores: Iterable[Line], codec: str) -> None:
    """Publish scores once more as a worker would whose setting is this codec."""
    named = {f"{PREFIX}{name}": value for name, value in (fleet.environment | {"COMPRESSION": codec}).items()}
    outputs: dict[tuple[str, int], list[Outgoing]] = {}
    for partition, offset, key, value in scores:
        records = outputs.setdefault((f"{fleet.prefix}scores", partition), [])
        records.append(Outgoing(offset, key.encode(), value.encode(), ()))
    publisher = Publisher(read_settings(named))
    try:
        await publisher.publish(outputs)
    finally:
        await publisher.stop()


def codecs_of(fleet: Fleet, topic: str, partitions: int = PARTITIONS) -> set[str]:
    """Return the codecs of all batches that the broker has of a topic."""
    port = int(fleet.brokers.rpartition(":")[2])
    return {codec for number in range(partitions) for codec in fetch_codecs(port, f"{fleet.prefix}{topic}", number)}


def test_java_and_librdkafka_read_what_a_worker_compresses_and_scores_of_every_other_codec(
    fleet: Fleet, kafka: Cluster, tmp_path: Path, report: Callable[[str], None]
) -> None:
    if kafka.kind == "embedded":
        pytest.skip("what the embedded broker returns is not what Apache Kafka stores")
    (worker,) = fleet.go_live()
    payments = [payment(number, card_id=f"card-{number % 20}") for number in range(COUNT)]
    assert {partition_of(one["card_id"]) for one in payments} == set(range(PARTITIONS))
    fleet.publish([*payments, payment(COUNT, amount_minor=-1)])
    fleet.await_scores(COUNT)
    fleet.await_dead_letters(1)
    assert worker.terminate() == 0
    assert codecs_of(fleet, "scores") == {"zstd"}
    for topic in ("dead-letters", "model-events", "model-control"):
        assert codecs_of(fleet, topic, 1) == {"zstd"}, topic
    for layout in LAYOUTS:
        assert configuration(fleet.brokers, f"{fleet.prefix}{layout.name}")["compression.type"] == "producer"
    first = by_aiokafka(fleet)
    for codec in CODECS:
        asyncio.run(publish_scores(fleet, first, codec))
    assert codecs_of(fleet, "scores") == set(CODECS)
    expected = by_aiokafka(fleet)
    assert len(expected) == COUNT * (1 + len(CODECS))
    assert by_librdkafka(fleet, len(expected)) == expected
    try:
        java_classpath()
    except NoJars as missing:
        report(f"without Java: {missing}")
    else:
        assert by_java(fleet, len(expected), tmp_path) == expected
