"""Reads the topics from outside the stack, as any consumer would."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from fraudstream_client.outputs import Score
from fraudstream_client.validity import ValidScores

EndOffsets: TypeAlias = Mapping[int, int]
Record: TypeAlias = "ConsumerRecord[bytes, bytes]"


class SentTransaction(NamedTuple):
    """A transaction on its topic: its id, and the trace id in its headers."""

    name: str
    trace: str | None


class Scores(NamedTuple):
    """The scores topic: valid scores by transaction, and the numbers of void scores and of all records."""

    valid: dict[str, list[Score]]
    void: int
    records: int


def ends(brokers: str, topic: str) -> EndOffsets:
    """Return the end offset of each partition of a topic."""
    return asyncio.run(_with_consumer(brokers, topic, _end_offsets))


def sent_since(brokers: str, since: EndOffsets) -> list[SentTransaction]:
    """Return the transactions after these end offsets."""
    records = asyncio.run(_with_consumer(brokers, "transactions", _read, since))
    return [_sent(record) for record in records]


def read_scores(brokers: str) -> Scores:
    """Read all scores, and separate the valid from the void ones."""
    records: list[Record] = asyncio.run(_with_consumer(brokers, "scores", _read, {}))
    rule: ValidScores[Record] = ValidScores()
    valid: dict[str, list[Score]] = {}
    for _, score in rule.of(records):
        valid.setdefault(score.transaction_id, []).append(score)
    return Scores(valid, rule.void, len(records))


def not_scored_once(names: list[str], scores: Scores) -> Counter[int]:
    """Count the transactions that have no valid score, or more than one, by the number of their scores."""
    return Counter(count for name in names if (count := len(scores.valid.get(name, ()))) != 1)


def _sent(record: Record) -> SentTransaction:
    parents = [value.decode() for name, value in record.headers if name == "traceparent"]
    trace = parents[0].split("-")[1] if parents else None
    return SentTransaction(msgspec.json.decode(record.value or b"{}")["transaction_id"], trace)


async def _with_consumer(brokers: str, topic: str, work: Any, *arguments: Any) -> Any:  # noqa: ANN401 - what work returns
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=brokers, enable_auto_commit=False)
    await consumer.start()
    try:
        return await work(consumer, topic, *arguments)
    finally:
        await consumer.stop()


async def _end_offsets(consumer: AIOKafkaConsumer, topic: str) -> EndOffsets:
    partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
    found = await consumer.end_offsets(partitions)
    return {partition.partition: offset for partition, offset in found.items()}


async def _read(consumer: AIOKafkaConsumer, topic: str, since: EndOffsets) -> list[Record]:
    """Read from the given offsets (else the start) to the present end; the records of a partition come in order."""
    last = await _end_offsets(consumer, topic)
    for number in last:
        consumer.seek(TopicPartition(topic, number), since.get(number, 0))
    records: list[Record] = []
    open_partitions = {number for number, end in last.items() if since.get(number, 0) < end}
    while open_partitions:
        for partition, found in (await consumer.getmany(timeout_ms=1000)).items():
            records += [record for record in found if record.offset < last[partition.partition]]
            if found and found[-1].offset >= last[partition.partition] - 1:
                open_partitions.discard(partition.partition)
    return records
