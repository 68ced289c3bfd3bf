"""Scan a topic from a time to its current end, each partition in order, one fetch at a time; or read one record."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from aiokafka import TopicPartition

from stream.kafka.client import require_topic
from stream.kafka.fetcher import LogConsumer, open_consumer
from stream.kafka.unpacking import FetchedRecord, Unreadable
from stream.settings import Settings

_FETCH_MS = 500

FetchedRecords = tuple[Sequence[FetchedRecord], float]
"""Records of one partition, and the share of the scan that is read with them."""


class TopicScan:
    """The records of a topic since a time of their timestamps; `first` holds the first offset by partition.

    `before` earlier records of each partition are read as well, for readers that need the preceding state.
    """

    def __init__(self, consumer: LogConsumer, firsts: dict[TopicPartition, int], before: int) -> None:
        self.first = {tp.partition: offset for tp, offset in firsts.items()}
        self._consumer = consumer
        self._firsts = firsts
        self._before = before

    def start_at(self, firsts: Mapping[int, int]) -> None:
        """Read these partitions alone, each from an offset."""
        self._firsts = {tp: firsts[tp.partition] for tp in self._firsts if tp.partition in firsts}
        self.first = dict(firsts)

    async def read(self) -> AsyncIterator[FetchedRecords]:
        """Yield fetched records up to the end offsets at the start of the scan.

        Raises:
            aiokafka.errors.KafkaError: the broker does not respond.
        """
        tps = list(self._firsts)
        begins, ends = await self._consumer.beginning_offsets(tps), await self._consumer.end_offsets(tps)
        at = {tp: max(begins[tp], self._firsts[tp] - self._before) for tp in tps}
        total = sum(ends[tp] - at[tp] for tp in tps) or 1
        for tp in tps:
            self._consumer.seek(tp, at[tp])
        while behind := [tp for tp in tps if at[tp] < ends[tp]]:
            for tp, records in (await self._consumer.getmany(*behind, timeout_ms=_FETCH_MS)).items():
                at[tp] = records[-1].offset + 1
                left = sum(max(ends[one] - at[one], 0) for one in tps)
                yield [record for record in records if record.offset < ends[tp]], 1 - left / total
            for tp in behind:  # control records and compaction leave gaps
                at[tp] = max(at[tp], await self._consumer.position(tp))


@asynccontextmanager
async def scan_topic(settings: Settings, topic: str, since_ms: int, before: int = 0) -> AsyncIterator[TopicScan]:
    """Open a scan of a topic since a time.

    Raises:
        aiokafka.errors.KafkaError: the broker does not respond, or the topic does not exist.
    """
    consumer = open_consumer(settings, fetch_max_wait_ms=50)
    try:
        await consumer.start()
        await require_topic(consumer, topic)
        consumer.assign([TopicPartition(topic, 0)])
        await consumer.end_offsets([TopicPartition(topic, 0)])  # loads the topic's metadata, and so its partitions
        tps = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]
        consumer.assign(tps)
        found, ends = await consumer.offsets_for_times(dict.fromkeys(tps, since_ms)), await consumer.end_offsets(tps)
        yield TopicScan(consumer, {tp: ends[tp] if found.get(tp) is None else found[tp].offset for tp in tps}, before)
    finally:
        await consumer.stop()


async def unreadable_at(settings: Settings, tp: TopicPartition, offset: int) -> Unreadable | None:
    """Return the unreadable range that holds an offset; None if what is there can be read, or nothing is.

    Raises:
        aiokafka.errors.KafkaError: the broker does not respond, or the topic does not exist.
    """
    consumer = open_consumer(settings, fetch_max_wait_ms=50)
    try:
        await consumer.start()
        await require_topic(consumer, tp.topic)
        consumer.assign([tp])
        begin, end = (await consumer.beginning_offsets([tp]))[tp], (await consumer.end_offsets([tp]))[tp]
        if not begin <= offset < end:
            return None
        consumer.seek(tp, offset)
        while not consumer.fetcher.queues.filled([tp]) and await consumer.position(tp) <= offset:
            await consumer.fetcher.wait_for_records(_FETCH_MS / 1000)
        return consumer.fetcher.queues.of(tp).unreadable()
    finally:
        await consumer.stop()


async def record_at(consumer: LogConsumer, tp: TopicPartition, offset: int) -> FetchedRecord | None:
    """Return the record at an offset that lies between a partition's beginning and end; None if none is there.

    Raises:
        aiokafka.errors.KafkaError: the broker does not respond.
    """
    consumer.seek(tp, offset)
    while await consumer.position(tp) <= offset:
        records = (await consumer.getmany(tp, timeout_ms=_FETCH_MS, max_records=1)).get(tp, ())
        if records:
            return records[0] if records[0].offset == offset else None
    return None
