"""Read ranges of the log again and apply them to the histories; appending a record that is there changes nothing.

Single transactions are read again at their places, too: of an erased one a history keeps nothing else.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import NamedTuple

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError

from features.errors import StoreUnavailableError
from features.history.records import card_rows
from features.history.store import Ints, RetentionPolicy
from features.redis.labels import Originals, Place, ReadOriginals
from features.redis.progress import LogPart, PartProgress, PartReport, TopicName
from features.redis.store import RedisStore, StoreOptions
from fraudstream_client.validity import log_and_offset
from models.signing import KEY_HEADER
from stream.clock import now_ms
from stream.engine.batches import Record, in_thread_if_large, size_of
from stream.engine.fetcher import LogConsumer, open_consumer
from stream.fates import Phase, is_retried
from stream.kafka.client import require_topic
from stream.kafka.stray import given_up_as_error
from stream.kafka.topics import LABELS, PREDICTIONS, TRANSACTIONS
from stream.recovery.replayed_input import ReplayedInput
from stream.scoring.decode import decode
from stream.settings import Settings

log = logging.getLogger("fraudstream.reapply")

_FETCH_MS = 500
_FETCH_BYTES = 4 * 1024 * 1024
_ATTEMPTS = 20


class ReapplyRate(NamedTuple):
    """How many records are applied at once, and the pause after that, as a multiple of the time that it took."""

    batch_size: int
    pause_ratio: float


FULL_SPEED = ReapplyRate(2_000, 0.0)
"""For when decisions wait for the repair."""
THROTTLED = ReapplyRate(200, 1.0)
"""For when decisions continue: each batch delays them by some ms, and half of the time is left to them."""


ApplyRecords = Callable[[ReplayedInput, RedisStore, Sequence[Record]], Awaitable[None]]
"""Applies records, or a part of them, to the store."""


class OffsetRange(NamedTuple):
    """The offsets to read in a part of the log: from `first` up to (not including) `end`; `at` is the next one."""

    part: LogPart
    first: int
    at: int
    end: int
    displaced_below: int

    @property
    def report(self) -> PartReport:
        """The progress, to be stored in Redis."""
        return PartReport(PartProgress(self.first, self.at, self.end), self.displaced_below)


ProgressCallback = Callable[[Sequence[OffsetRange], int], Awaitable[bool]]
"""Called with all ranges and the number of records just applied; returns whether to continue."""


def topics_of_log(*, predictions: bool) -> tuple[TopicName, ...]:
    """Return the topics of the log: with `predictions` also those from storage, which some features read."""
    return ("transactions", "labels", "predictions") if predictions else ("transactions", "labels")


@asynccontextmanager
async def log_reader(settings: Settings, *, predictions: bool = False) -> AsyncIterator[LogConsumer]:
    """Open a consumer of the log without a group; a request that is given up while it is open is an error.

    Raises:
        aiokafka.errors.KafkaError: the broker does not respond, or a topic does not exist.
    """
    reader = open_consumer(settings, fetch_max_wait_ms=settings.fetch_wait_ms, max_partition_fetch_bytes=_FETCH_BYTES)
    with given_up_as_error():
        try:
            await reader.start()
            first = [TopicPartition(settings.topic(one), 0) for one in topics_of_log(predictions=predictions)]
            for tp in first:
                await require_topic(reader, tp.topic)
            reader.assign(first)
            await reader.end_offsets(first)  # loads the topics' metadata, and so their partitions
            yield reader
        finally:
            await reader.stop()


def partitions_of_log(reader: LogConsumer, settings: Settings, *, predictions: bool = False) -> Mapping[TopicName, int]:
    """Return the number of partitions of each topic of the log; they differ while partitions are added.

    Raises:
        aiokafka.errors.KafkaError: the broker has not sent the topics' metadata.
    """
    topics = topics_of_log(predictions=predictions)
    counts = {one: len(reader.partitions_for_topic(settings.topic(one)) or ()) for one in topics}
    if not all(counts.values()):
        raise UnknownTopicOrPartitionError(f"the broker has not said how many partitions {' and '.join(counts)} have")
    return counts


def topic_partition(settings: Settings, part: LogPart) -> TopicPartition:
    """Return the topic and partition of a part."""
    return TopicPartition(settings.topic(part.topic), part.partition)


async def apply_again(replayed: ReplayedInput, store: RedisStore, records: Sequence[Record]) -> None:
    """Apply records; if that fails unexpectedly, one by one: the faulty record became a dead letter the first time."""
    try:
        await _append(replayed, store, records)
    except Exception as error:
        if is_retried(error, Phase.RECORD):
            raise
        if len(records) == 1:
            at = f"{records[0].topic} {records[0].partition} offset {records[0].offset}"
            kind = type(error).__name__
            log.warning("%s cannot be applied again, skipped: %s", at, kind, extra={"burst": f"reapply {kind}"})
            return
        for record in records:
            await apply_again(replayed, store, [record])


async def apply_erasures(replayed: ReplayedInput, store: RedisStore, records: Sequence[Record]) -> None:
    """Apply the erasures of cards among transactions: signed records, of which there are few."""
    signed = [record for record in records if any(name == KEY_HEADER for name, _ in record.headers)]
    decoded = replayed.decode(signed)
    erasures = [record for record, one in zip(decoded.records, decoded.accepted, strict=True) if one.erases]
    if erasures:
        await apply_again(replayed, store, erasures)


async def _append(replayed: ReplayedInput, store: RedisStore, records: Sequence[Record]) -> None:
    """Append records of each topic; those that cannot be decoded became dead letters the first time."""
    labels, predictions = (replayed.settings.topic(one.name) for one in (LABELS, PREDICTIONS))
    of_labels = [record for record in records if record.topic == labels]
    if of_labels:
        await store.apply_labels(await in_thread_if_large(size_of(*of_labels), replayed.labels, of_labels))
    of_predictions = [record for record in records if record.topic == predictions]
    if of_predictions:
        await store.predict(await in_thread_if_large(size_of(*of_predictions), replayed.predictions, of_predictions))
    of_transactions = [record for record in records if record.topic not in {labels, predictions}]
    if of_transactions:
        decoded = await in_thread_if_large(size_of(*of_transactions), replayed.decode, of_transactions)
        await store.apply(decoded.columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogReplay:
    """An open log, as it was taken in, and the store that its records are applied to again, at a rate."""

    reader: LogConsumer
    input: ReplayedInput
    store: RedisStore
    rate: ReapplyRate

    async def run(
        self, ranges: Iterable[OffsetRange], progress: ProgressCallback, apply: ApplyRecords = apply_again
    ) -> bool:
        """Apply ranges again, in parallel, each in order; return whether all were applied to their end.

        Raises:
            StoreUnavailableError: Redis does not respond; what was passed to `progress` is applied.
            aiokafka.errors.KafkaError: Kafka does not respond.
        """
        reader = self.reader
        current = {topic_partition(self.input.settings, each.part): each for each in ranges}
        reader.assign(list(current))
        begins = await reader.beginning_offsets(list(current)) if current else {}
        for tp, to_apply in current.items():
            at = max(to_apply.at, begins[tp])
            current[tp] = to_apply._replace(first=max(to_apply.first, begins[tp]), at=at)
            reader.seek(tp, at)
        proceed = await progress(list(current.values()), 0)
        while proceed and (behind := [tp for tp, reached in current.items() if reached.at < reached.end]):
            fetched = await reader.getmany(*behind, timeout_ms=_FETCH_MS, max_records=self.rate.batch_size)
            within = [record for tp, some in fetched.items() for record in some if record.offset < current[tp].end]
            records = [record for record in within if not self.input.is_left_out(record)]
            began = time.monotonic()
            await apply(self.input, self.store, records)
            took_s = time.monotonic() - began
            for tp in behind:  # control records and compaction leave gaps, so the reader's position counts
                current[tp] = current[tp]._replace(at=max(current[tp].at, await reader.position(tp)))
            proceed = await progress(list(current.values()), len(within))
            await asyncio.sleep(self.rate.pause_ratio * took_s)
        return proceed


def own_store(
    settings: Settings, policy: RetentionPolicy, most_cache_bytes: int, other_store_lock: asyncio.Lock | None
) -> RedisStore:
    """Return a store for records that are applied again, beside the one that decides, which has that lock."""
    options = StoreOptions(
        cache_bytes=min(most_cache_bytes, settings.cache_mb << 20),
        batch_bytes=settings.batch_mb << 20,
        other_store_lock=other_store_lock,
        originals=originals_of(settings),
    )
    return RedisStore(settings.redis_url, settings.deployment, policy, now_ms, options)


def originals_of(settings: Settings) -> ReadOriginals:
    """Return the function that reads transactions at their places, each call with a connection of its own."""

    async def read(places: Collection[Place]) -> Originals:
        try:
            async with log_reader(settings) as reader:
                return {place: await _read(settings, reader, place) for place in places}
        except KafkaError as error:
            raise StoreUnavailableError(f"erased payments could not be read at their places: {error}") from error

    return read


async def _read(settings: Settings, reader: LogConsumer, place: Place) -> Ints | None:
    """Return the transaction at a place as its card's row; None if retention has removed it."""
    tp = TopicPartition(settings.topic(TRANSACTIONS.name), place.partition)
    log, offset = log_and_offset(place.offset)
    begin, end = (await reader.beginning_offsets([tp]))[tp], (await reader.end_offsets([tp]))[tp]
    if not begin <= offset < end:
        return None
    reader.assign([tp])
    reader.seek(tp, offset)
    for _ in range(_ATTEMPTS):
        found = await reader.getmany(tp, timeout_ms=_FETCH_MS, max_records=1)
        for record in found.get(tp, ()):
            return _row(record, log) if record.offset == offset else None
    raise StoreUnavailableError(f"{tp.topic} {tp.partition}: offset {offset} could not be read; try again")


def _row(record: Record, log: int) -> Ints | None:
    columns = decode([record], 0, log, is_accepted=lambda _: True).columns
    row: Ints | None = card_rows(columns)[0] if len(columns) else None
    return row
