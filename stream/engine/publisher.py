"""Publish outputs in batches; each call returns when the broker has acknowledged all of them.

A score goes to the partition number of its transaction, so records are appended to one batch builder per partition
instead of one future per message.
"""

import asyncio
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.structs import RecordMetadata

from models.commands import Event, encode
from models.logins import without_logins
from stream.engine.direct import SentAtOnce, send_at_once
from stream.engine.ending import EndableProducer, Refusal, is_too_large
from stream.errors import PublishError, WriteGivenUpError
from stream.kafka.client import BATCH_BYTES, producer_options
from stream.kafka.stray import given_up, given_up_as_error
from stream.kafka.topics import MODEL_EVENTS
from stream.redaction import redact_text_thoroughly
from stream.setting_types import Compression
from stream.settings import Settings
from stream.tasks import look_at_error

log = logging.getLogger("fraudstream.publisher")

Headers = Sequence[tuple[str, bytes | None]]
Destination = tuple[str, int]

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

    A write in progress goes on; its task returns the offset, or raises. What was `given_up` failed, and may still be
    appended: a broker that hangs may have the request. The task of such a write raises `WriteGivenUpError`.
    """

    ends: dict[Destination, int]
    failures: dict[Destination, str]
    pending: dict[Destination, "asyncio.Task[int]"]
    given_up: Collection[Destination] = ()


class Publisher:
    """An idempotent producer that publishes batches and waits for their acknowledgement.

    A write that is not acknowledged is given up after a time, and its producer is ended with all that it was writing:
    so nothing of it comes after what is written next.
    """

    give_up_seconds = 30.0

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._secrets = settings.secrets()
        self._producer: EndableProducer | None = None
        self._starting = asyncio.Lock()
        self._ending: set[asyncio.Task[None]] = set()
        self._batch_bytes: dict[str, int] = {}
        """How large a batch may be on a topic that has refused a larger one, before compression."""

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
        await self._ended()

    async def publish(self, outputs: Mapping[Destination, Sequence[Outgoing]]) -> dict[Destination, int]:
        """Write the records of each (topic, partition), in order, and wait until the broker has acknowledged all.

        Returns the offset after the last record of each destination.

        Raises:
            PublishError: not all of them were acknowledged; some may have been written.
        """
        writes = {where: asyncio.create_task(self._write(where, some)) for where, some in outputs.items() if some}
        try:
            await asyncio.gather(*writes.values(), return_exceptions=True)
        except asyncio.CancelledError:
            for write in writes.values():
                write.cancel()
            raise
        return {where: write.result() for where, write in writes.items()}

    async def publish_each(self, outputs: Mapping[Destination, Sequence[Outgoing]]) -> Published:
        """Write the records of each (topic, partition), in order, each independently of the others.

        Returns when all are acknowledged or have failed, or after a moment: a broker that is away must hold up only its
        own partitions.
        """
        some = {where: records for where, records in outputs.items() if records}
        sent, begun = self._sent_at_once(some)
        writes = {where: asyncio.create_task(self._write(where, some[where])) for where in some if where not in sent}
        await _wait_for_all(begun, writes.values(), _patience_seconds(outputs))
        ends: dict[Destination, int] = {}
        failed: list[asyncio.Task[int]] = []
        for where, batch in sent.items():
            if (done := batch.acknowledged.done()) and _error_of(batch) is None:
                ends[where] = batch.acknowledged.result().offset + batch.size
                continue
            writes[where] = asyncio.create_task(self._write(where, some[where], batch))
            failed += [writes[where]] if done else []
        if failed:
            await _wait_for_all(SentAtOnce(), failed, _PATIENCE_SECONDS)
        result = Published(ends, {}, {}, given_up := set[Destination]())
        for where, write in writes.items():
            if not write.done():
                result.pending[where] = write
                write.add_done_callback(look_at_error)  # not everybody waits for it
            elif isinstance(error := write.exception(), PublishError):
                result.failures[where] = str(error)
                given_up |= {where} if isinstance(error, WriteGivenUpError) else set()
            else:
                ends[where] = write.result()
        return result

    def _sent_at_once(
        self, outputs: Mapping[Destination, Sequence[Outgoing]]
    ) -> tuple[dict[Destination, "_SentBatch"], SentAtOnce]:
        """Send the records of those destinations as one batch each that can be sent without waiting.

        It is what `send_batch` does, and `_send` in the simple case, without a task for each destination.
        """
        producer = self._producer
        if producer is None or producer.has_failed or producer._message_accumulator._closed:  # noqa: SLF001
            return {}, SentAtOnce()
        builders: dict[TopicPartition, BatchBuilder] = {}
        accumulator = producer._message_accumulator  # noqa: SLF001
        for (topic, partition), records in outputs.items():
            tp = TopicPartition(topic, partition)
            known = producer.client.cluster.partitions_for_topic(topic) or ()
            if partition not in known or accumulator._batches.get(tp):  # noqa: SLF001
                continue
            builder, count = self._filled(producer, topic, records)
            if count == len(records):
                builders[tp] = builder
        sizes = {tp: builder.size() for tp, builder in builders.items()}  # before they are compressed
        begun = send_at_once(producer, builders)
        sent = {
            tp: _SentBatch(one, len(outputs[tp]), sizes[tp], producer) for tp, one in begun.acknowledgements.items()
        }
        return sent, begun

    async def publish_event(self, event: Event, headers: Headers = ()) -> int:
        """Write one event to `model-events`, wait for the acknowledgement, and return its offset.

        Raises:
            aiokafka.errors.KafkaError: it was not acknowledged.
        """
        producer, topic = await self._ready(), self._settings.topic(MODEL_EVENTS.name)
        key, value = self._settings.deployment.encode(), encode(_cleaned(event, self._secrets))
        with given_up_as_error():
            acknowledged = await producer.send(topic, value, key, 0, headers=list(headers))
        try:
            with given_up_as_error():
                offset: int = (await acknowledged).offset
        except KafkaError as error:
            if not isinstance(error, Refusal):
                await self._give_up(producer)
            raise
        return offset

    async def _write(self, where: Destination, records: Sequence[Outgoing], sent: "_SentBatch | None" = None) -> int:
        """Write records batch after batch, `sent` being the first, and return the offset after the last one.

        A later batch is not written without an earlier one. One that is too large for its topic is divided.

        Raises:
            PublishError: not all of them were acknowledged; some may have been written.
        """
        at, end, producer = 0, -1, None
        try:
            async with asyncio.timeout(self.give_up_seconds):
                with given_up_as_error():
                    while at < len(records):
                        if sent is None:
                            producer = await self._ready()
                            sent = await self._send(producer, where, records[at:])
                        try:
                            end = (await asyncio.shield(sent.acknowledged)).offset + sent.size
                            at += sent.size
                        except KafkaError as error:
                            if not is_too_large(error) or sent.size == 1:
                                raise
                            self._write_smaller(where[0], sent.bytes)
                        sent = None
        except (KafkaError, TimeoutError) as error:
            text = f"{where[0]} {where[1]} does not acknowledge: {error!r}"
            if sent is not None and not isinstance(error, Refusal):
                await self._give_up(sent.producer)
                raise WriteGivenUpError(text) from error
            if isinstance(error, TimeoutError):  # there was no room behind what somebody else has given up
                await self._give_up(producer)
            raise PublishError(text) from error
        return end

    async def _send(self, producer: EndableProducer, where: Destination, records: Sequence[Outgoing]) -> "_SentBatch":
        """Send the first records, as many as fit into a batch."""
        topic, partition = where
        if partition not in await producer.partitions_for(topic):
            raise PublishError(f"{topic} has no partition {partition}")
        builder, count = self._filled(producer, topic, records)
        if not count:
            raise PublishError(f"a record of {len(records[0].value or b'')} bytes exceeds the batch size for {topic}")
        size = builder.size()
        acknowledged = await producer.send_batch(builder, topic, partition=partition)
        acknowledged.add_done_callback(look_at_error)  # if it is given up first, nobody waits for it
        return _SentBatch(acknowledged, count, size, producer)

    def _filled(self, producer: EndableProducer, topic: str, records: Sequence[Outgoing]) -> tuple[BatchBuilder, int]:
        """Return a closed batch with the first records that fit, and how many they are."""
        builder, count = _batch_for(records[0], producer, self._batch_bytes.get(topic, BATCH_BYTES)), 0
        for one in records:
            if not builder.append(key=one.key, value=one.value, timestamp=None, headers=list(one.headers)):
                break
            count += 1
        builder.close()
        return builder, count

    def _write_smaller(self, topic: str, refused_bytes: int) -> None:
        """Halve the batches of a topic, from the next one on and for all partitions, until one is taken.

        One that was sent while others were larger, too, halves them no further.
        """
        if refused_bytes <= self._batch_bytes.get(topic, BATCH_BYTES):
            self._batch_bytes[topic] = refused_bytes // 2
            log.warning("%s takes no batch of %d bytes: half as many at most from now on", topic, refused_bytes)

    async def _ready(self) -> EndableProducer:
        """Return the producer; start a new one if the last was ended or has failed."""
        async with self._starting:
            if self._producer is not None and self._producer.has_failed:
                self._end(self._producer)
            await self._ended()
            if self._producer is None:
                producer = EndableProducer(**producer_options(self._settings))
                try:
                    with given_up_as_error():
                        await producer.start()
                except (KafkaError, asyncio.CancelledError):
                    await producer.end()
                    raise
                self._producer = producer
            return self._producer

    def give_up(self, writes: Iterable["asyncio.Task[int]"]) -> None:
        """End the producer in this call if one of these pending writes is not done, and so all that it is writing."""
        if self._producer is not None and any(not write.done() for write in writes):
            self._end(self._producer)

    async def _give_up(self, producer: EndableProducer | None) -> None:
        """End a producer, and so all that it is writing, before anything else is written."""
        if producer is not None and producer is self._producer:
            self._end(producer)
        await self._ended()

    def _end(self, producer: EndableProducer) -> None:
        self._producer = None
        ending = producer.end()
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    async def _ended(self) -> None:
        if self._ending:
            await asyncio.wait(self._ending)


def _cleaned(event: Event, secrets: Collection[str]) -> Event:
    """Clean an event's problems: they may quote a command that cannot be read, or the URL of the model repository."""
    problems = tuple(
        msgspec.structs.replace(one, detail=without_logins(redact_text_thoroughly(one.detail), secrets))
        for one in event.problems
    )
    return msgspec.structs.replace(event, problems=problems) if problems != event.problems else event


class _SentBatch(NamedTuple):
    """The acknowledgement of a batch that was sent, its records and its bytes before compression, and the producer."""

    acknowledged: "asyncio.Future[RecordMetadata]"
    size: int
    bytes: int
    producer: EndableProducer


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


def _batch_for(first: Outgoing, producer: EndableProducer, most_bytes: int) -> BatchBuilder:
    """Return an empty batch of a size; one without compression if the first record is so large that it goes alone.

    aiokafka sends what a codec returns, even where that is larger than the record: a record just below its topic's
    limit would be refused for ever.
    """
    size = DefaultRecordBatchBuilder.estimate_size_in_bytes(first.key, first.value, list(first.headers))
    if size > BATCH_BYTES:
        return BatchBuilder(BATCH_BYTES, _NO_CODEC)
    if most_bytes == BATCH_BYTES:
        return producer.create_batch()
    return BatchBuilder(most_bytes, producer._message_accumulator._compression_type)  # noqa: SLF001


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
