"""Read stretches of the log again and apply them to the histories: appending what is there changes nothing.

Nothing here knows which stretches are wanted, or who else reads others.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import UnknownTopicOrPartitionError

from features.errors import StoreError
from features.redis.progress import LogPart, PartProgress, PartReport
from features.redis.store import RedisStore
from stream.contract.codes import Rejection
from stream.contract.label import read_label
from stream.kafka.batches import Record
from stream.kafka.client import connection_options, require_topic
from stream.kafka.topics import LABELS, TRANSACTIONS
from stream.scoring.decode import decode
from stream.settings import Settings

log = logging.getLogger("fraudstream.reapplying")

_FETCH_MS = 500
_FETCH_BYTES = 4 * 1024 * 1024


class ReapplyRate(NamedTuple):
    """How many records are applied together, and for how long nothing is done then: so many times as that took."""

    at_once: int
    rests: float


FULL_SPEED = ReapplyRate(2_000, 0.0)
"""While decisions wait for it."""
THROTTLED = ReapplyRate(200, 1.0)
"""While they do not: what is applied together holds them up for some ms, and half of the time is theirs alone."""


class ReapplyDeps(NamedTuple):
    """From where, and to what, records are applied again, and how."""

    reader: AIOKafkaConsumer
    settings: Settings
    store: RedisStore
    pace: ReapplyRate


class OffsetRange(NamedTuple):
    """What is to be read of a part of the log, as offsets: from `first`, now `at`, up to `end`."""

    part: LogPart
    first: int
    at: int
    end: int
    displaced_below: int

    @property
    def report(self) -> PartReport:
        """How far it is."""
        return PartReport(PartProgress(self.first, self.at, self.end), self.displaced_below)


ProgressCallback = Callable[[Sequence[OffsetRange], int], Awaitable[bool]]
"""Told how far all stretches are, and how many records were just applied; answers whether to go on."""


@asynccontextmanager
async def log_reader(settings: Settings) -> AsyncIterator[AIOKafkaConsumer]:
    """Open a reader of the log that is in no group.

    Raises:
        aiokafka.errors.KafkaError: the broker does not answer, or a topic is not there.
    """
    reader = AIOKafkaConsumer(
        **connection_options(settings),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=settings.fetch_wait_ms,
        max_partition_fetch_bytes=_FETCH_BYTES,
    )
    try:
        await reader.start()
        first = [topic_partition(settings, LogPart(of_labels=of_labels, partition=0)) for of_labels in (True, False)]
        for tp in first:
            await require_topic(reader, tp.topic)
        reader.assign(first)
        await reader.end_offsets(first)  # now the client knows how many partitions there are
        yield reader
    finally:
        await reader.stop()


def part_count(reader: AIOKafkaConsumer, settings: Settings) -> int:
    """Return of how many parts the log is made.

    Raises:
        aiokafka.errors.KafkaError: the broker has not said.
    """
    counts = [len(reader.partitions_for_topic(settings.topic(one.name)) or ()) for one in (TRANSACTIONS, LABELS)]
    if not all(counts):
        raise UnknownTopicOrPartitionError("of how many partitions the log is made is not known")
    return sum(counts)


def topic_partition(settings: Settings, part: LogPart) -> TopicPartition:
    """Return where a part is in Kafka."""
    return TopicPartition(settings.topic((LABELS if part.of_labels else TRANSACTIONS).name), part.partition)


async def reapply(again: ReapplyDeps, stretches: Iterable[OffsetRange], note: ProgressCallback) -> bool:
    """Apply stretches again, side by side, each in order; return whether that came to its end.

    Raises:
        StoreUnavailableError: Redis is away; what was noted is applied.
        aiokafka.errors.KafkaError: so is Kafka.
    """
    reader, settings, store, pace = again
    now = {topic_partition(settings, stretch.part): stretch for stretch in stretches}
    reader.assign(list(now))
    begins = await reader.beginning_offsets(list(now)) if now else {}
    for tp, stretch in now.items():
        at = max(stretch.at, begins[tp])
        now[tp] = stretch._replace(first=max(stretch.first, begins[tp]), at=at)
        reader.seek(tp, at)
    going_on = await note(list(now.values()), 0)
    while going_on and (behind := [tp for tp, one in now.items() if one.at < one.end]):
        lots = await reader.getmany(*behind, timeout_ms=_FETCH_MS, max_records=pace.at_once)
        records = [record for tp, lot in lots.items() for record in lot if record.offset < now[tp].end]
        began = time.monotonic()
        await _apply(settings, store, records)
        took_s = time.monotonic() - began
        for tp in behind:  # control records and compaction leave gaps, so the reader's position counts
            now[tp] = now[tp]._replace(at=max(now[tp].at, await reader.position(tp)))
        going_on = await note(list(now.values()), len(records))
        await asyncio.sleep(pace.rests * took_s)
    return going_on


async def _apply(settings: Settings, store: RedisStore, records: Sequence[Record]) -> None:
    """Apply records; where that fails for a reason of ours, one by one: the guilty one was a dead letter before."""
    try:
        await _append(settings, store, records)
    except StoreError:
        raise
    except Exception as error:  # noqa: BLE001 - as in `isolating`
        if len(records) == 1:
            at = f"{records[0].topic} {records[0].partition} offset {records[0].offset}"
            log.warning("%s cannot be applied again: %s", at, type(error).__name__)
            return
        for record in records:
            await _apply(settings, store, [record])


async def _append(settings: Settings, store: RedisStore, records: Sequence[Record]) -> None:
    """Append labels and transactions; what cannot be either was a dead letter the first time."""
    topic = settings.topic(LABELS.name)
    of_labels = [record for record in records if record.topic == topic]
    if of_labels:
        read = [read_label(one.value, one.key, (one.partition, one.offset)) for one in of_labels]
        await store.label([one.label for one in read if not isinstance(one, Rejection)])
    of_transactions = [record for record in records if record.topic != topic]
    if of_transactions:
        await store.apply(decode(of_transactions, round(settings.future_skew * 1000)).columns)
