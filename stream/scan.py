"""Read topics as records: a scan from a time to the current end, a consumer to follow one, or one record.

All programs beside the workers read by it, and a worker where it reads what it has written. Damaged records and batches
are passed over and counted, and only records of committed transactions are returned.
"""

import math
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from aiokafka import TopicPartition

from stream.engine.batches import Record
from stream.engine.fetcher import LogConsumer, open_consumer
from stream.engine.stalled import HeldBack
from stream.engine.unpacking import FetchedRecord, Unreadable
from stream.kafka.client import connection_options, require_topic
from stream.kafka.stray import PlainConsumer
from stream.settings import Settings

__all__ = [
    "EARLIER_SCORES",
    "OPEN_SECONDS",
    "FetchedRecord",
    "FetchedRecords",
    "LogConsumer",
    "Record",
    "TopicScan",
    "Unreadable",
    "first_offsets",
    "offset_ranges",
    "open_consumer",
    "record_at",
    "scan_topic",
    "unreadable_at",
]

OPEN_SECONDS = 75.0
"""So long a scan of all records waits for the end of a transaction, while nothing else is left to read.

A producer that writes exactly once has one open at nearly any time, often for as long as a checkpoint takes; brokers
abort one whose producer is gone after 60 s, by default.
"""
EARLIER_SCORES = 1_000
"""So many scores before a time are read too by whoever needs the valid ones since: validity depends on those before."""
_FETCH_MS = 500

FetchedRecords = tuple[Sequence[FetchedRecord], float]
"""Records of one partition, and the share of the scan that is read with them."""


class TopicScan:
    """The records of a topic since a time of their timestamps; `first` holds the first offset by partition.

    `before` earlier records of each partition are read as well, for readers that need the preceding state.
    `held_back` is what `read_all` could not read, by partition.
    """

    def __init__(
        self, settings: Settings, consumer: LogConsumer, firsts: dict[TopicPartition, int], before: int
    ) -> None:
        self.first = {tp.partition: offset for tp, offset in firsts.items()}
        self.held_back: Mapping[TopicPartition, HeldBack] = {}
        self._settings = settings
        self._consumer = consumer
        self._firsts = firsts
        self._before = before
        self._ends: Mapping[TopicPartition, int] = {}

    @property
    def unreadable(self) -> Sequence[tuple[TopicPartition, Unreadable]]:
        """Return the ranges that could not be unpacked, and were passed over."""
        return [(tp, one) for tp, one in self._consumer.fetcher.passed_over if one.first < self._ends[tp]]

    async def ends(self) -> dict[int, int]:
        """Return the present ends of committed records, by partition.

        Raises:
            aiokafka.errors.KafkaError: the broker does not respond.
        """
        return {tp.partition: end for tp, end in (await self._consumer.end_offsets(list(self._firsts))).items()}

    async def first_since(self, since_ms: int) -> dict[int, int]:
        """Return each partition's first offset with a timestamp at or after a time; its end if it has none.

        Raises:
            aiokafka.errors.KafkaError: the broker does not respond.
        """
        found = await first_offsets(self._consumer, list(self._firsts), since_ms)
        return {tp.partition: offset for tp, offset in found.items()}

    async def oldest_ms(self, since_ms: int) -> int | None:
        """Return the time before which no partition has a record since a time; None if none has any.

        Raises:
            aiokafka.errors.KafkaError: the broker does not respond.
        """
        places = await self._consumer.offsets_for_times(dict.fromkeys(self._firsts, since_ms))
        return min((place.timestamp for place in places.values() if place is not None), default=None)

    async def record_at(self, partition: int, offset: int) -> FetchedRecord | None:
        """Return the record at an offset that lies between a partition's beginning and end; None if none is there.

        Raises:
            aiokafka.errors.KafkaError: the broker does not respond.
        """
        return await record_at(self._consumer, next(tp for tp in self._firsts if tp.partition == partition), offset)

    def start_at(self, firsts: Mapping[int, int]) -> None:
        """Read these partitions alone, each from an offset."""
        self._firsts = {tp: firsts[tp.partition] for tp in self._firsts if tp.partition in firsts}
        self.first = dict(firsts)

    async def read(self, until: Mapping[int, int] | None = None) -> AsyncIterator[FetchedRecords]:
        """Yield fetched records up to the ends of committed records at the start of the scan.

        With `until`, those of each partition below this offset alone; of a partition that it lacks, none.

        Raises:
            aiokafka.errors.KafkaError: the broker does not respond.
        """
        self._ends = await self._consumer.end_offsets(list(self._firsts))
        if until is not None:
            self._ends = {tp: min(end, until.get(tp.partition, 0)) for tp, end in self._ends.items()}
        async for fetched in self._read(math.inf):
            yield fetched

    async def read_all(self) -> AsyncIterator[FetchedRecords]:
        """Yield fetched records up to the ends of all records at the start of the scan, as their transactions end.

        It stops early if all that is left waits for open transactions, for `OPEN_SECONDS`; look at `held_back` then.

        Raises:
            aiokafka.errors.KafkaError: the broker does not respond.
        """
        ranges = await offset_ranges(self._settings, list(self._firsts))
        self._ends = {tp: end for tp, (_, end) in ranges.items()}
        async for fetched in self._read(OPEN_SECONDS):
            yield fetched

    async def _read(self, patience_s: float) -> AsyncIterator[FetchedRecords]:
        tps, ends = list(self._firsts), self._ends
        begins = await self._consumer.beginning_offsets(tps)
        at = {tp: max(begins[tp], self._firsts[tp] - self._before) for tp in tps}
        total = sum(max(ends[tp] - at[tp], 0) for tp in tps) or 1
        for tp in tps:
            self._consumer.seek(tp, at[tp])
        moved = time.monotonic()
        while behind := [tp for tp in tps if at[tp] < ends[tp]]:
            before = dict(at)
            for tp, records in (await self._consumer.getmany(*behind, timeout_ms=_FETCH_MS)).items():
                at[tp] = records[-1].offset + 1
                left = sum(max(ends[one] - at[one], 0) for one in tps)
                yield [record for record in records if record.offset < ends[tp]], 1 - left / total
            for tp in behind:  # control records and compaction leave gaps
                at[tp] = max(at[tp], await self._consumer.position(tp))
            moved = moved if at == before else time.monotonic()
            held = self._consumer.fetcher.held_back.copy()
            if time.monotonic() - moved >= patience_s and all(tp in held for tp in behind):
                self.held_back = {tp: held[tp]._replace(records=ends[tp] - at[tp]) for tp in behind}
                return


async def offset_ranges(
    settings: Settings, partitions: Sequence[TopicPartition]
) -> dict[TopicPartition, tuple[int, int]]:
    """Return the first offset of each of these partitions, and the end of all its records, committed or not.

    Raises:
        aiokafka.errors.KafkaError: the brokers do not respond.
    """
    consumer = PlainConsumer(**connection_options(settings), enable_auto_commit=False)
    try:
        await consumer.start()
        begins, ends = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
        return {tp: (begins[tp], ends[tp]) for tp in partitions}
    finally:
        await consumer.stop()


@asynccontextmanager
async def scan_topic(
    settings: Settings,
    topic: str,
    since_ms: int,
    before: int = 0,
    **options: int,
) -> AsyncIterator[TopicScan]:
    """Open a scan of a topic since a time, with options of the consumer.

    Raises:
        aiokafka.errors.KafkaError: the broker does not respond, or the topic does not exist.
    """
    consumer = open_consumer(settings, **{"fetch_max_wait_ms": 50, **options})
    try:
        await consumer.start()
        await require_topic(consumer, topic)
        consumer.assign([TopicPartition(topic, 0)])
        await consumer.end_offsets([TopicPartition(topic, 0)])  # loads the topic's metadata, and so its partitions
        tps = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]
        consumer.assign(tps)
        yield TopicScan(settings, consumer, await first_offsets(consumer, tps, since_ms), before)
    finally:
        await consumer.stop()


async def first_offsets(
    consumer: LogConsumer, tps: Sequence[TopicPartition], since_ms: int
) -> dict[TopicPartition, int]:
    """Return each partition's first offset since a time; its beginning for 0, as a record may have no timestamp.

    Raises:
        aiokafka.errors.KafkaError: the broker does not respond.
    """
    if not since_ms:
        begins: dict[TopicPartition, int] = await consumer.beginning_offsets(tps)
        return begins
    found, ends = await consumer.offsets_for_times(dict.fromkeys(tps, since_ms)), await consumer.end_offsets(tps)
    return {tp: ends[tp] if found.get(tp) is None else found[tp].offset for tp in tps}


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
