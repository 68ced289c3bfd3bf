"""Fills histories from the past: writes payments and labels to the input topics, marked so that none is decided.

What the topics hold of a backfill says where it goes on: one that was cut off is run again, and writes nothing twice.
A payment that was filled in can never be decided: sent later under the same id it counts as repeated. So a backfill has
to end before the stream begins, which is checked before anything is written.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from fraudstream.lab.dataset.backfill_sources import BackfillSource, identity_of, require_all_read
from fraudstream.lab.dataset.errors import BackfillError
from fraudstream.lab.dataset.records import RecordKind, TimedRecord
from fraudstream.lab.dataset.too_large import TOPICS, SizeFilter, TopicLimit
from fraudstream.ops.repair.partitioners import HASHES
from models.errors import InvalidTimeError
from models.times import format_time, parse_time_ms
from stream.contract.transaction import BackfillMark, backfill_mark
from stream.engine.publisher import Destination, Outgoing
from stream.kafka.client import BATCH_BYTES, committed_offsets, missing_topic
from stream.kafka.topics import partition_counts
from stream.scan import Record, scan_topic
from stream.settings import PREFIX, Settings

CHUNK = 4_000
CHUNK_BYTES = 8 * 1024 * 1024
"""Records, and their bytes, that are written before the next ones are made: a broker takes them in a few seconds."""
_CODEC_GROWTH = 7 / 6
"""By how much a codec may make a batch larger, at worst."""
PACE_SECONDS = 0.1
"""With a rate, as many records are written at once as are due in this time."""
_RECORD_BYTES = 200
"""What a record takes beside its key and value, at most: the mark of a backfill, and the head of its batch."""
POLL_SECONDS = 0.5
QUIET_SECONDS = 15.0

Progress = Callable[[str, int, int], None]
"""Called with the name of a stage, how much of it is done, and the total."""


class _Occurred(msgspec.Struct):
    occurred_at: int | str


_read_occurred = msgspec.json.Decoder(_Occurred).decode


class LivePayment(NamedTuple):
    """A payment of the stream itself: when it occurred, and where it is."""

    occurred_ms: int
    partition: int
    offset: int


class WrittenRecords(NamedTuple):
    """What the topics hold of a backfill: by partition, its last number and the offset behind that record."""

    numbers: dict[Destination, int]
    ends: dict[Destination, int]

    @classmethod
    def nothing(cls) -> "WrittenRecords":
        """Return that nothing is written yet."""
        return cls({}, {})

    def holds(self, where: Destination, number: int) -> bool:
        """Tell whether a record is written: each partition has a first part of its records, in their order."""
        return number <= self.numbers.get(where, -1)

    def add(self, where: Destination, number: int, end: int) -> None:
        """Take a record that was found or acknowledged; records sent again after a lost answer change nothing."""
        self.numbers[where] = max(number, self.numbers.get(where, -1))
        self.ends[where] = max(end, self.ends.get(where, 0))


class FoundRecords(NamedTuple):
    """What the topics hold before a backfill goes on: what is written of it, and the number of payments to decide."""

    written: WrittenRecords
    live: int


class InputScan:
    """Finds what the input topics hold of a backfill, and refuses one that the stream would overlap."""

    def __init__(self, source: BackfillSource, backfill: str) -> None:
        self.written = WrittenRecords.nothing()
        self.live = 0
        """How many payments to decide were found; all are later than the backfill unless `require_past` raises."""
        self._source = source
        self._backfill = backfill
        self._overlapping = 0
        self._earliest: LivePayment | None = None

    def add(self, kind: RecordKind, records: Iterable[Record]) -> None:
        """Look at records of a topic."""
        for record in records:
            mark = backfill_mark(record.headers) if record.headers else None
            if mark is None and kind is RecordKind.TRANSACTION:
                self._add_live(record)
            elif mark is not None and mark.backfill == self._backfill:
                self.written.add((record.topic, record.partition), mark.number, record.offset + 1)

    def _add_live(self, record: Record) -> None:
        try:
            occurred_ms = parse_time_ms(_read_occurred(record.value or b"").occurred_at).epoch_ms
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, InvalidTimeError):
            return  # no payment: a dead letter
        self.live += 1
        if occurred_ms <= self._source.last_ms:
            self._overlapping += 1
            found = LivePayment(occurred_ms, record.partition, record.offset)
            self._earliest = found if self._earliest is None else min(found, self._earliest)

    def require_past(self, topic: str) -> None:
        """Refuse the backfill if payments to decide on this topic are not later than all of it.

        Raises:
            BackfillError: there are any.
        """
        if self._earliest is None:
            return
        at = self._earliest
        advice = f"leave out what is not earlier, with --until {format_time(at.occurred_ms)}"
        if self._source.first_ms >= at.occurred_ms:
            advice = (
                "none of it can be filled in any more, since its first payment, of "
                f"{format_time(self._source.first_ms)}, is not earlier either. Histories grow with the stream. To "
                f"have older ones, begin anew ({PREFIX}TOPIC_PREFIX, {PREFIX}DEPLOYMENT), and fill before you publish"
            )
        raise BackfillError(
            f"{self._source.name}: the stream has begun before it ends. Its last payment occurred at "
            f"{format_time(self._source.last_ms)}, and {self._overlapping:,} payments to decide are not later, the "
            f"earliest of {format_time(at.occurred_ms)}: {topic} partition {at.partition} offset {at.offset}. A "
            f"payment that is filled in is never decided, and one that was decided cannot be filled in before: {advice}"
        )


async def find_written(settings: Settings, source: BackfillSource, backfill: str, progress: Progress) -> FoundRecords:
    """Read the input topics, and return what they hold of a backfill of this identity, and of the stream.

    Raises:
        BackfillError: the stream has begun before the backfill ends, or an open transaction holds records back.
        aiokafka.errors.KafkaError: the broker does not respond, or a topic does not exist.
    """
    scan = InputScan(source, backfill)
    for at, (kind, layout) in enumerate(TOPICS.items()):
        async with scan_topic(settings, settings.topic(layout.name), 0) as topic:
            async for records, share in topic.read_all():
                scan.add(kind, records)
                progress("check", round((at + share) / len(TOPICS) * 100), 100)
            require_all_read(topic)
        if kind is RecordKind.TRANSACTION:
            scan.require_past(settings.topic(layout.name))
    progress("check", 100, 100)
    return FoundRecords(scan.written, scan.live)


def require_past(source: BackfillSource, now_ms: int) -> None:
    """Refuse a source with payments that have not occurred yet.

    Raises:
        BackfillError: the last payment is later than `now_ms`.
    """
    if source.last_ms > now_ms:
        raise BackfillError(
            f"{source.name}: its last payment occurred at {format_time(source.last_ms)}, which is later than now. "
            "Correct the times, or leave such payments out with --until"
        )


async def partitions_to_fill(settings: Settings, admin: AIOKafkaAdminClient) -> Mapping[RecordKind, int]:
    """Return the number of partitions of each input topic.

    Raises:
        BackfillError: topics are missing.
        aiokafka.errors.KafkaError: the broker does not respond.
    """
    counts = await partition_counts(admin, settings)
    for layout in TOPICS.values():
        if settings.topic(layout.name) not in counts:
            raise BackfillError(missing_topic(settings.topic(layout.name)))
    return {kind: counts[settings.topic(layout.name)] for kind, layout in TOPICS.items()}


class AcknowledgingPublisher(Protocol):
    """Publishes and waits for the acknowledgement, as `stream.engine.publisher.Publisher` does."""

    async def publish(self, outputs: Mapping[Destination, Sequence[Outgoing]]) -> dict[Destination, int]:
        """Write the records of each (topic, partition), in order; return the offset behind each one's last."""
        ...


class CardPlaces(NamedTuple):
    """Where a card's records go: each topic's number of partitions and limit, and the name of the producers' hash."""

    partitions: Mapping[RecordKind, int]
    partitioner: str
    limits: Mapping[RecordKind, TopicLimit]

    def of(self, record: TimedRecord) -> int:
        """Return the partition of a record."""
        return HASHES[self.partitioner](record.key) % self.partitions[record.kind]

    def backfill_of(self, source: BackfillSource) -> str:
        """Return the identity of a source's backfill: with other places, what is written says nothing of what is left.

        It has 16 hexadecimal digits. With another limit, records that were left out before may have to be written.
        """
        counts = [str(self.partitions[kind]) for kind in TOPICS]
        limits = [str(self.limits[kind].largest_bytes) for kind in TOPICS]
        return identity_of([source.identity, self.partitioner, *counts, *limits])

    def chunk_bytes(self) -> int:
        """Return how many bytes may be written at once: no batch of them is too large for a topic."""
        limits = [one.largest_bytes for one in self.limits.values() if one.largest_bytes is not None]
        small = [int(limit / _CODEC_GROWTH) for limit in limits if limit < BATCH_BYTES * _CODEC_GROWTH]
        return min([CHUNK_BYTES, *small])


class BackfillWriter:
    """Writes the records of a source that are not written yet, each to its card's partition.

    Args:
        settings: name the topics.
        publisher: it is started.
        places: where records go.
        written: what the topics hold already; it is kept up to date.

    Attributes:
        too_large: the records that are left out, since their topic would not take them.
    """

    def __init__(
        self, settings: Settings, publisher: AcknowledgingPublisher, places: CardPlaces, written: WrittenRecords
    ) -> None:
        self._publisher = publisher
        self._topics = {kind: settings.topic(layout.name) for kind, layout in TOPICS.items()}
        self._places = places
        self._written = written
        self.too_large = SizeFilter(places.limits)

    async def write(self, source: BackfillSource, progress: Progress, rate: float | None = None) -> int:
        """Write what is not written yet, at most `rate` records a second, and return how many records that were.

        Raises:
            PublishError: the broker has not acknowledged everything; run it again.
        """
        backfill = self._places.backfill_of(source)
        done, sent, total = 0, 0, sum(source.count(kind) for kind in RecordKind)
        progress("write", 0, total)
        most = CHUNK if rate is None else max(1, min(CHUNK, int(rate * PACE_SECONDS)))
        due = time.monotonic()
        for chunk in _chunks(enumerate(source.records()), most, self._places.chunk_bytes()):
            await asyncio.sleep(due - time.monotonic())
            began, before = time.monotonic(), sent
            outputs = self._outputs(backfill, chunk)
            ends = await self._publisher.publish({where: [one for _, one in some] for where, some in outputs.items()})
            for where, some in outputs.items():
                self._written.add(where, some[-1][0], ends[where])
                sent += len(some)
            # from when it began: what a slow source or broker has delayed is not caught up on
            due = began if rate is None else began + (sent - before) / rate
            done += len(chunk)
            progress("write", done, total)
        return sent

    def _outputs(
        self, backfill: str, chunk: Iterable[tuple[int, TimedRecord]]
    ) -> Mapping[Destination, list[tuple[int, Outgoing]]]:
        """Return the records of a chunk that are not written, by their place, each with its number."""
        outputs: dict[Destination, list[tuple[int, Outgoing]]] = defaultdict(list)
        for number, record in chunk:
            where = (self._topics[record.kind], self._places.of(record))
            header = BackfillMark(backfill, number).header()
            if self.too_large.passes(record, (header,)) and not self._written.holds(where, number):
                outputs[where].append((number, Outgoing(number, record.key, record.value, (header,))))
        return outputs


def _chunks(
    numbered: Iterable[tuple[int, TimedRecord]], most: int, most_bytes: int
) -> Iterator[Sequence[tuple[int, TimedRecord]]]:
    """Divide records, in their order, into chunks of at most so many records and bytes, or of one record."""
    chunk: list[tuple[int, TimedRecord]] = []
    left = most_bytes
    for number, record in numbered:
        size = len(record.key) + len(record.value) + _RECORD_BYTES
        if chunk and (size > left or len(chunk) == most):
            yield chunk
            chunk, left = [], most_bytes
        chunk.append((number, record))
        left -= size
    if chunk:
        yield chunk


class AppliedCount(NamedTuple):
    """How many of `total` records the workers have applied, and for how long none has been."""

    applied: int
    total: int
    quiet_s: float


async def watch_applied(
    settings: Settings, admin: AIOKafkaAdminClient, ends: Mapping[Destination, int]
) -> AsyncIterator[AppliedCount]:
    """Yield how far the workers' group has committed what was written, until that is all; a broker may be away.

    Raises:
        aiokafka.errors.KafkaError: the brokers do not answer this question at all.
    """
    tps = {TopicPartition(*where): end for where, end in ends.items()}
    last, since = 0, time.monotonic()
    while last < sum(tps.values()):
        try:
            commits = await committed_offsets(settings, admin, list(tps))
        except KafkaError as error:
            if not error.retriable:
                raise
            commits = {}
        applied = sum(min(end, max(0, commits[tp].offset)) for tp, end in tps.items() if tp in commits)
        if applied > last:
            last, since = applied, time.monotonic()
        yield AppliedCount(last, sum(tps.values()), time.monotonic() - since)
        await asyncio.sleep(POLL_SECONDS if last < sum(tps.values()) else 0)
