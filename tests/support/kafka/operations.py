"""What other tooling does to topics: deletes records or whole topics, and changes settings."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from support.fleet.fleet import until

T = TypeVar("T")


def delete_records(brokers: str, topic: str, before: int | None = None) -> int:
    """Delete the records of a topic's first partition before an offset, or all; return where it begins now."""

    async def delete(admin: AIOKafkaAdminClient) -> int:
        tp = TopicPartition(topic, 0)
        offset = (await _ends(brokers, tp)) if before is None else before
        await admin.delete_records({tp: RecordsToDelete(before_offset=offset)})
        return offset

    return _with_admin(brokers, delete)


def delete_topic(brokers: str, topic: str) -> None:
    """Delete a topic, and wait until it is gone."""

    _with_admin(brokers, lambda admin: admin.delete_topics([topic]))
    until(lambda: topic not in topic_names(brokers), f"{topic} is gone")


def topic_names(brokers: str) -> list[str]:
    """Return the names of all topics."""
    return list(_with_admin(brokers, lambda admin: admin.list_topics()))


def configure(brokers: str, topic: str, **values: str) -> None:
    """Set a topic's settings to these alone, `_` in a name standing for a dot."""
    named = {name.replace("_", "."): value for name, value in values.items()}

    async def alter(admin: AIOKafkaAdminClient) -> None:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, named)])

    _with_admin(brokers, alter)


def configuration(brokers: str, topic: str) -> dict[str, str]:
    """Return a topic's settings."""

    async def describe(admin: AIOKafkaAdminClient) -> dict[str, str]:
        (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        return {name: value for *_, entries in answer.resources for name, value, *_ in entries}

    return _with_admin(brokers, describe)


async def _ends(brokers: str, tp: TopicPartition) -> int:
    consumer = AIOKafkaConsumer(bootstrap_servers=brokers)
    await consumer.start()
    try:
        return int((await consumer.end_offsets([tp]))[tp])
    finally:
        await consumer.stop()


def _with_admin(brokers: str, work: Callable[[AIOKafkaAdminClient], Awaitable[T]]) -> T:
    async def run() -> Any:
        admin = AIOKafkaAdminClient(bootstrap_servers=brokers)
        await admin.start()
        try:
            return await work(admin)
        finally:
            await admin.close()

    return asyncio.run(run())  # type: ignore[no-any-return]
