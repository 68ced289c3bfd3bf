"""Reads parts of topics, from an offset to an offset in each partition, without a consumer group.

Records are returned as they are; `topic_tables` decodes them.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiokafka import TopicPartition

from stream.kafka.client import require_topic
from stream.scan import LogConsumer, Record, open_consumer
from stream.settings import Settings

FETCH_BYTES = 8 * 1024 * 1024
"""The most bytes of a partition in one fetch."""
WAIT_MS = 500
_LOOKUP_MS = 60_000
"""How long to ask brokers for offsets, again and again: a busy one must not end a run of an hour."""
Records = Sequence[Record]
Offsets = Mapping[int, int]


@dataclass(frozen=True, slots=True)
class TopicPart:
    """A part of a topic: for each partition the first offset, and the first after the part."""

    topic: str
    starts: Offsets
    ends: Offsets

    @property
    def count(self) -> int:
        """Return the number of offsets; there are fewer records if some were deleted."""
        return sum(max(0, self.ends[one] - start) for one, start in self.starts.items())


class TopicReader:
    """Reads topics with one consumer, one part after another."""

    def __init__(self, consumer: LogConsumer) -> None:
        self._consumer = consumer

    async def whole(self, topic: str) -> TopicPart:
        """Return the whole of a topic, up to its present end.

        Raises:
            aiokafka.errors.KafkaError: the broker does not answer, or the topic does not exist.
        """
        await require_topic(self._consumer, topic)
        self._consumer.assign([TopicPartition(topic, 0)])
        await self._consumer.end_offsets([TopicPartition(topic, 0)])  # fetches the number of partitions
        tps = [TopicPartition(topic, number) for number in sorted(self._consumer.partitions_for_topic(topic) or ())]
        self._consumer.assign(tps)
        begins, ends = await self._consumer.beginning_offsets(tps), await self._consumer.end_offsets(tps)
        return TopicPart(topic, {tp.partition: begins[tp] for tp in tps}, {tp.partition: ends[tp] for tp in tps})

    async def existing(self, topic: str) -> TopicPart | None:
        """Return the whole of a topic; None if it does not exist, or this client may not see it.

        Raises:
            aiokafka.errors.KafkaError: the broker does not answer.
        """
        return await self.whole(topic) if topic in await self._consumer.topics() else None

    async def since(self, whole: TopicPart, moment_ms: int | None) -> Offsets:
        """Return each partition's first offset with a timestamp at or after a moment; its first for None."""
        if moment_ms is None:
            return whole.starts
        tps = [TopicPartition(whole.topic, partition) for partition in whole.starts]
        found = await self._consumer.offsets_for_times(dict.fromkeys(tps, max(0, moment_ms)))
        return {tp.partition: whole.ends[tp.partition] if found.get(tp) is None else found[tp].offset for tp in tps}

    async def until(self, whole: TopicPart, moment_ms: int | None) -> Offsets:
        """Return each partition's first offset with a timestamp at or after a moment; its end for None."""
        return whole.ends if moment_ms is None else await self.since(whole, moment_ms)

    async def read(self, part: TopicPart) -> AsyncIterator[Records]:
        """Yield batches of records, each of one partition; a partition's records come in order.

        Raises:
            aiokafka.errors.KafkaError: the broker does not answer.
        """
        at = {TopicPartition(part.topic, partition): start for partition, start in part.starts.items()}
        ends = {tp: part.ends[tp.partition] for tp in at}
        self._consumer.assign(list(at))
        for tp, start in at.items():
            self._consumer.seek(tp, start)
        while unfinished := [tp for tp in at if at[tp] < ends[tp]]:
            for tp, records in (await self._consumer.getmany(*unfinished, timeout_ms=WAIT_MS)).items():
                at[tp] = records[-1].offset + 1
                yield [record for record in records if record.offset < ends[tp]]
            for tp in unfinished:  # skip gaps left by compaction and control records
                at[tp] = max(at[tp], await self._consumer.position(tp))

    async def first_ms(self, whole: TopicPart) -> Mapping[int, int]:
        """Return the timestamp of each partition's first record; empty partitions are left out."""
        found: dict[int, int] = {}
        filled = {one: start for one, start in whole.starts.items() if start < whole.ends[one]}
        one_each = TopicPart(whole.topic, filled, {one: start + 1 for one, start in filled.items()})
        async for records in self.read(one_each):
            for record in records[:1]:
                found[record.partition] = record.timestamp
        return found


@asynccontextmanager
async def open_reader(settings: Settings) -> AsyncIterator[TopicReader]:
    """Start a consumer that reads parts of topics, and stop it at the end.

    Raises:
        aiokafka.errors.KafkaError: the broker does not answer.
    """
    patient = {"request_timeout_ms": _LOOKUP_MS}
    consumer = open_consumer(settings, fetch_max_wait_ms=50, max_partition_fetch_bytes=FETCH_BYTES, **patient)
    try:
        await consumer.start()
        yield TopicReader(consumer)
    finally:
        await consumer.stop()
