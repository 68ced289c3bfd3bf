"""What is on the topics, read from outside as any consumer would."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from stream.consumer import ValidScores
from stream.contract.outputs import Score

Ends: TypeAlias = Mapping[int, int]
Record: TypeAlias = "ConsumerRecord[bytes, bytes]"


class Sent(NamedTuple):
    """A transaction on its topic: what it is called, and the trace that it says it belongs to."""

    name: str
    trace: str | None


class Scores(NamedTuple):
    """All of the topic of scores: the valid ones by transaction, and how many were void."""

    valid: dict[str, list[Score]]
    void: int
    records: int


def ends(brokers: str, topic: str) -> Ends:
    """Return where each partition of a topic ends now."""
    return asyncio.run(_with_consumer(brokers, topic, _ends))


def sent_since(brokers: str, since: Ends) -> list[Sent]:
    """Return the transactions behind these ends."""
    records = asyncio.run(_with_consumer(brokers, "transactions", _read, since))
    return [_sent(record) for record in records]


def read_scores(brokers: str) -> Scores:
    """Read all scores, by the rule that says which count."""
    records: list[Record] = asyncio.run(_with_consumer(brokers, "scores", _read, {}))
    rule: ValidScores[Record] = ValidScores()
    valid: dict[str, list[Score]] = {}
    for _, score in rule.of(records):
        valid.setdefault(score.transaction_id, []).append(score)
    return Scores(valid, rule.void, len(records))


def not_once(names: list[str], scores: Scores) -> Counter[int]:
    """Count the transactions that have another number of valid scores than one, by that number."""
    return Counter(count for name in names if (count := len(scores.valid.get(name, ()))) != 1)


def _sent(record: Record) -> Sent:
    parents = [value.decode() for name, value in record.headers if name == "traceparent"]
    trace = parents[0].split("-")[1] if parents else None
    return Sent(msgspec.json.decode(record.value or b"{}")["transaction_id"], trace)


async def _with_consumer(brokers: str, topic: str, work: Any, *arguments: Any) -> Any:  # noqa: ANN401 - what work returns
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=brokers, enable_auto_commit=False)
    await consumer.start()
    try:
        return await work(consumer, topic, *arguments)
    finally:
        await consumer.stop()


async def _ends(consumer: AIOKafkaConsumer, topic: str) -> Ends:
    partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
    found = await consumer.end_offsets(partitions)
    return {partition.partition: offset for partition, offset in found.items()}


async def _read(consumer: AIOKafkaConsumer, topic: str, since: Ends) -> list[Record]:
    """Read from the given offsets, else the beginning, to the end as it is now; each partition in order."""
    until = await _ends(consumer, topic)
    for number in until:
        consumer.seek(TopicPartition(topic, number), since.get(number, 0))
    records: list[Record] = []
    open_partitions = {number for number, end in until.items() if since.get(number, 0) < end}
    while open_partitions:
        for partition, found in (await consumer.getmany(timeout_ms=1000)).items():
            records += [record for record in found if record.offset < until[partition.partition]]
            if found and found[-1].offset >= until[partition.partition] - 1:
                open_partitions.discard(partition.partition)
    return records
