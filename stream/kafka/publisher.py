"""Publish outputs in batches; each call returns when the broker has acknowledged all of them.

A score goes to the partition number of its transaction, so records are appended to one batch builder per partition
instead of one future per message.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import NamedTuple

import msgspec
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.structs import RecordMetadata

from models.commands import Event, encode
from models.logins import without_logins
from stream.errors import PublishError
from stream.kafka.client import BATCH_BYTES, producer_options
from stream.kafka.direct import SentAtOnce, send_at_once
from stream.kafka.stray import given_up, given_up_as_error
from stream.kafka.topics import MODEL_EVENTS
from stream.redaction import redact_text
from stream.settings import Compression, Settings

log = logging.getLogger("fraudstream.publisher")

Headers = Sequence[tuple[str, bytes | None]]
Destination = tuple[str, int]

_ACKNOWLEDGE_SECONDS = 30.0
_PATIENCE_SECONDS = 0.5
_BYTES_A_SECOND = 4 * 1024 * 1024
_CODECS: Mapping[Compression, int] = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
_NO_CODEC = _CODECS["none"]


class Outgoing(NamedTuple):
    """A record to publish.

    `source_offset` is the offset of the input record that it answers, `transaction_id` that of the transaction, if any.
    """

    source_offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    transaction_id: str = ""


class Published(NamedTuple):
    """What became of each destination's records: the offset after the last one, why they failed, or still in progress.

    A write in progress goes on; its task returns the offset, or raises.
    """

    ends: dict[Destination, int]
    failures: dict[Destination, str]
    pending: dict[Destination, "asyncio.Task[int]"]


class Publisher:
    """An idempotent producer that publishes batches and waits for their acknowledgement."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._secrets = settings.secrets()
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()
        self._stopping: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Connect.

        Raises:
            aiokafka.errors.KafkaError: the brokers do not respond.
        """
        await self._ready()

    async def stop(self) -> None:
        """Flush pending records and disconnect."""
        if self._producer is not None:
            await self._producer.stop()

    async def publish(self, outputs: Mapping[Destination, Sequence[Outgoing]]) -> dict[Destination, int]:
        """Write the records of each (topic, partition), in order, and wait until the broker has acknowledged all.

        Returns the offset after the last record of each destination.

        Raises:
            PublishError: not all of them were acknowledged; some may have been written.
        """
        try:
            async with asyncio.timeout(_ACKNOWLEDGE_SECONDS):
                with given_up_as_error():
                    sent = {where: await self._append(where, records) for where, records in outputs.items() if records}
                    return {where: await _end_offset(batches) for where, batches in sent.items()}
        except (KafkaError, TimeoutError) as error:
            self._discard(self._producer)
            raise PublishError(f"outputs are not acknowledged: {error!r}") from error

    async def publish_each(self, outputs: Mapping[Destination, Sequence[Outgoing]]) -> Published:
        """Write the records of each (topic, partition), in order, each independently of the others.

        Returns when all are acknowledged or have failed, or after a moment: a broker that is away must hold up only its
        own partitions.
        """
        producer, some = self._producer, {where: records for where, records in outputs.items() if records}
        sent, begun = _sent_at_once(producer, some)
        writes = {
            where: asyncio.create_task(self._written(where, producer, partial(self._write, where, records)))
            for where, records in some.items()
            if where not in sent
        }
        await _wait_for_all(begun, writes.values(), _patience_seconds(outputs))
        result = self._published(producer, sent)
        for where, write in writes.items():
            if not write.done():
                result.pending[where] = write
            elif isinstance(error := write.exception(), PublishError):
                result.failures[where] = str(error)
            else:
                result.ends[where] = write.result()
        return result

    def _published(self, producer: AIOKafkaProducer | None, sent: Mapping[Destination, "_SentBatch"]) -> Published:
        """Return what became of batches that were sent at once."""
        result = Published({}, {}, {})
        for where, one in sent.items():
            if not one.acknowledged.done():
                kept = one._replace(acknowledged=asyncio.shield(one.acknowledged))  # only aiokafka may settle its own
                write = partial(_end_offset, [kept])
                result.pending[where] = asyncio.create_task(self._written(where, producer, write))
            elif (error := _error_of(one)) is not None:
                result.failures[where] = str(self._unacknowledged(where, producer, error))
            else:
                result.ends[where] = one.acknowledged.result().offset + one.size
        return result

    async def _write(self, where: Destination, records: Sequence[Outgoing]) -> int:
        return await _end_offset(await self._append(where, records))

    async def _written(
        self, where: Destination, producer: AIOKafkaProducer | None, write: Callable[[], Awaitable[int]]
    ) -> int:
        """Return the offset after the last record that is written to one destination.

        Raises:
            PublishError: not all of them were acknowledged; some may have been written.
        """
        try:
            async with asyncio.timeout(_ACKNOWLEDGE_SECONDS):
                with given_up_as_error():
                    return await write()
        except (KafkaError, TimeoutError) as error:
            raise self._unacknowledged(where, producer, error) from error

    def _unacknowledged(
        self, where: Destination, producer: AIOKafkaProducer | None, error: BaseException
    ) -> PublishError:
        """Discard the producer, and return the error about one destination."""
        self._discard(producer)
        return PublishError(f"{where[0]} {where[1]} does not acknowledge: {error!r}")

    async def publish_event(self, event: Event, headers: Headers = ()) -> int:
        """Write one event to `model-events`, wait for the acknowledgement, and return its offset.

        Raises:
            aiokafka.errors.KafkaError: it was not acknowledged.
        """
        producer, topic = await self._ready(), self._settings.topic(MODEL_EVENTS.name)
        try:
            key = self._settings.deployment.encode()
            value = encode(_cleaned(event, self._secrets))
            with given_up_as_error():
                sent = await producer.send_and_wait(topic, value, key, 0, headers=list(headers))
        except KafkaError:
            self._discard(producer)
            raise
        offset: int = sent.offset
        return offset

    async def _append(self, where: Destination, records: Sequence[Outgoing]) -> list["_SentBatch"]:
        """Fill batches with the records and send each when it is full."""
        producer, batches, at = await self._ready(), list[_SentBatch](), 0
        topic, partition = where
        if partition not in await producer.partitions_for(topic):
            raise PublishError(f"{topic} has no partition {partition}")
        while at < len(records):
            builder, count = _filled(records, at, producer)
            if not count:
                raise PublishError(
                    f"a record of {len(records[at].value or b'')} bytes exceeds the batch size for {topic}"
                )
            batches.append(_SentBatch(await producer.send_batch(builder, topic, partition=partition), count))
            at += count
            if at < len(records):
                await batches[-1].acknowledged  # a later batch must not be written without an earlier one
        return batches

    async def _ready(self) -> AIOKafkaProducer:
        """Return the producer; start a new one if the last was discarded."""
        async with self._starting:
            if self._producer is None:
                producer = AIOKafkaProducer(**producer_options(self._settings))
                try:
                    with given_up_as_error():
                        await producer.start()
                except (KafkaError, asyncio.CancelledError):
                    await producer.stop()
                    raise
                self._producer = producer
            return self._producer

    def _discard(self, producer: AIOKafkaProducer | None) -> None:
        """Discard a producer that failed: a gap in its sequence numbers makes the broker reject all that follows."""
        if producer is None or producer is not self._producer:
            return
        self._producer = None
        task = asyncio.create_task(_stop(producer))
        self._stopping.add(task)
        task.add_done_callback(self._stopping.discard)


def _cleaned(event: Event, secrets: Collection[str]) -> Event:
    """Clean an event's problems: they may quote a command that cannot be read, or the URL of the model repository."""
    problems = tuple(
        msgspec.structs.replace(one, detail=without_logins(redact_text(one.detail), secrets)) for one in event.problems
    )
    return msgspec.structs.replace(event, problems=problems) if problems != event.problems else event


class _SentBatch(NamedTuple):
    """The acknowledgement of a batch that was sent, and the number of its records."""

    acknowledged: "asyncio.Future[RecordMetadata]"
    size: int


def _sent_at_once(
    producer: AIOKafkaProducer | None, outputs: Mapping[Destination, Sequence[Outgoing]]
) -> tuple[dict[Destination, _SentBatch], SentAtOnce]:
    """Send the records of those destinations as one batch each that can be sent without waiting.

    It is what `send_batch` does, and `_append` in the simple case, without a task for each destination.
    """
    if producer is None:
        return {}, SentAtOnce()
    builders: dict[TopicPartition, BatchBuilder] = {}
    accumulator = producer._message_accumulator  # noqa: SLF001
    if accumulator._closed or accumulator._exception is not None:  # noqa: SLF001
        return {}, SentAtOnce()
    for (topic, partition), records in outputs.items():
        tp = TopicPartition(topic, partition)
        known = producer.client.cluster.partitions_for_topic(topic) or ()
        if partition not in known or accumulator._batches.get(tp):  # noqa: SLF001
            continue
        builder, count = _filled(records, 0, producer)
        if count == len(records):
            builders[tp] = builder
    begun = send_at_once(producer, builders)
    return {tp: _SentBatch(one, len(outputs[tp])) for tp, one in begun.acknowledgements.items()}, begun


def _error_of(sent: _SentBatch) -> BaseException | None:
    """Return why a batch that is done was not acknowledged; None if it was."""
    return given_up() if sent.acknowledged.cancelled() else sent.acknowledged.exception()


async def _wait_for_all(
    begun: SentAtOnce,
    writes: Collection["asyncio.Task[int]"],
    timeout: float,  # noqa: ASYNC109 - a patience
) -> None:
    """Wait until everything is acknowledged or has failed, at most `timeout` seconds; no task outlives its caller."""
    requests, waiting = begun.requests, [*writes, *begun.handed_over]
    try:
        if len(requests) == 1 and not waiting:
            await requests[0].wait(timeout)
        elif waiting := [*waiting, *(one.settled for one in requests)]:
            await asyncio.wait(waiting, timeout=timeout)
    except asyncio.CancelledError:
        for write in writes:
            write.cancel()
        raise
    finally:
        for request in requests:
            request.limit()


def _filled(records: Sequence[Outgoing], first: int, producer: AIOKafkaProducer) -> tuple[BatchBuilder, int]:
    """Return a closed batch with the records from `first` on that fit, and how many they are."""
    builder, count = _batch_for(records[first], producer), 0
    for one in islice(records, first, None):
        if not builder.append(key=one.key, value=one.value, timestamp=None, headers=list(one.headers)):
            break
        count += 1
    builder.close()
    return builder, count


def _batch_for(first: Outgoing, producer: AIOKafkaProducer) -> BatchBuilder:
    """Return an empty batch; one without compression if the first record is so large that it goes alone.

    aiokafka sends what a codec returns, even where that is larger than the record: a record just below its topic's
    limit would be refused for ever.
    """
    size = DefaultRecordBatchBuilder.estimate_size_in_bytes(first.key, first.value, list(first.headers))
    return BatchBuilder(BATCH_BYTES, _NO_CODEC) if size > BATCH_BYTES else producer.create_batch()


def size_alone(record: Outgoing, enough: int, codec: Compression = "none") -> int:
    """Return the bytes of a batch with one record; an upper bound, before compression, if that is at most `enough`."""
    fields = record.key, record.value, list(record.headers)
    bound: int = DefaultRecordBatchBuilder.estimate_size_in_bytes(*fields)
    if bound <= enough:
        return bound
    batch = DefaultRecordBatchBuilder(2, _CODECS[codec], 0, -1, -1, 0, bound)
    batch.append(0, 0, *fields)
    return len(batch.build())


def _patience_seconds(outputs: Mapping[Destination, Sequence[Outgoing]]) -> float:
    """Return how long to wait for an acknowledgement of all: a moment, and longer for many bytes."""
    size = sum(len(record.value or b"") for records in outputs.values() for record in records)
    return _PATIENCE_SECONDS + size / _BYTES_A_SECOND


async def _end_offset(batches: Sequence[_SentBatch]) -> int:
    """Wait for the batches of one destination and return the offset after the last record."""
    end = -1
    for batch in batches:
        end = (await batch.acknowledged).offset + batch.size
    return end


async def _stop(producer: AIOKafkaProducer) -> None:
    try:
        async with asyncio.timeout(_ACKNOWLEDGE_SECONDS):
            await producer.stop()
    except (KafkaError, TimeoutError) as error:
        log.info("a failed producer could not be stopped: %r", error)
