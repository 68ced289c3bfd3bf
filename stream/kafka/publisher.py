"""The way out: outputs to their topics, each batch acknowledged by the broker before anyone goes on.

A score goes to the same partition number as its transaction, so records are appended to one batch builder a partition
instead of one future a message. Nothing here knows what a record means.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.structs import RecordMetadata

from models.commands import Event, encode
from stream.errors import PublishError
from stream.kafka.client import producer_options
from stream.kafka.topics import MODEL_EVENTS
from stream.redaction import redact_text
from stream.settings import Settings

log = logging.getLogger("fraudstream.publishing")

Headers = Sequence[tuple[str, bytes | None]]
Destination = tuple[str, int]

_ACKNOWLEDGE_SECONDS = 30.0


class Outgoing(NamedTuple):
    """One record on its way out; `source_offset` is that of the record it answers, `headers` are passed on."""

    source_offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class Publisher:
    """An idempotent producer that writes whole lots and waits for all of them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()
        self._retiring: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Connect.

        Raises:
            aiokafka.errors.KafkaError: the brokers do not answer.
        """
        await self._ready()

    async def stop(self) -> None:
        """Send what is under way and disconnect."""
        if self._producer is not None:
            await self._producer.stop()

    async def publish(self, lots: Mapping[Destination, Sequence[Outgoing]]) -> dict[Destination, int]:
        """Write each lot, in order, to its (topic, partition), and wait until the broker has acknowledged all.

        Returns the offset behind the last record of each lot.

        Raises:
            PublishError: not all of them are known to be written; some may be.
        """
        try:
            async with asyncio.timeout(_ACKNOWLEDGE_SECONDS):
                sent = {where: await self._append(where, records) for where, records in lots.items() if records}
                return {where: await _end(parts) for where, parts in sent.items()}
        except (KafkaError, TimeoutError) as error:
            self._retire(self._producer)
            raise PublishError(f"outputs are not acknowledged: {error!r}") from error

    async def publish_event(self, event: Event, headers: Headers = ()) -> int:
        """Write one event to `model-events`, wait for the broker, and return its offset.

        Raises:
            aiokafka.errors.KafkaError: it is not known to be written.
        """
        producer, topic = await self._ready(), self._settings.topic(MODEL_EVENTS.name)
        try:
            key = self._settings.deployment.encode()
            value = encode(_presentable(event))
            sent = await producer.send_and_wait(topic, value, key, 0, headers=list(headers))
        except KafkaError:
            self._retire(producer)
            raise
        offset: int = sent.offset
        return offset

    async def _append(self, where: Destination, records: Sequence[Outgoing]) -> list["_Part"]:
        """Fill batches with the records and send each when it is full."""
        producer, parts, at = await self._ready(), list[_Part](), 0
        topic, partition = where
        while at < len(records):
            builder, first = producer.create_batch(), at
            while at < len(records) and builder.append(
                key=records[at].key, value=records[at].value, timestamp=None, headers=list(records[at].headers)
            ):
                at += 1
            if at == first:
                raise PublishError(f"a record of {len(records[at].value or b'')} bytes fits into no batch for {topic}")
            builder.close()
            parts.append(_Part(await producer.send_batch(builder, topic, partition=partition), at - first))
            if at < len(records):
                await parts[-1].acknowledged  # a later part must not be there without an earlier one
        return parts

    async def _ready(self) -> AIOKafkaProducer:
        """Return the producer, a new one where the last was given up."""
        async with self._starting:
            if self._producer is None:
                producer = AIOKafkaProducer(**producer_options(self._settings))
                try:
                    await producer.start()
                except KafkaError:
                    await producer.stop()
                    raise
                self._producer = producer
            return self._producer

    def _retire(self, producer: AIOKafkaProducer | None) -> None:
        """Give up a producer that failed: its sequence may have a hole that no broker forgives."""
        if producer is None or producer is not self._producer:
            return
        self._producer = None
        task = asyncio.create_task(_stop(producer))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)


def _presentable(event: Event) -> Event:
    """Take card numbers out of what an event says is wrong: a command that cannot be read may quote anything."""
    problems = tuple(msgspec.structs.replace(one, detail=redact_text(one.detail)) for one in event.problems)
    return msgspec.structs.replace(event, problems=problems) if problems != event.problems else event


class _Part(NamedTuple):
    """A batch under way, and how many records are in it."""

    acknowledged: "asyncio.Future[RecordMetadata]"
    size: int


async def _end(parts: Sequence[_Part]) -> int:
    """Wait for all parts of one lot and return the offset behind the last record."""
    end = -1
    for part in parts:
        end = (await part.acknowledged).offset + part.size
    return end


async def _stop(producer: AIOKafkaProducer) -> None:
    try:
        async with asyncio.timeout(_ACKNOWLEDGE_SECONDS):
            await producer.stop()
    except (KafkaError, TimeoutError) as error:
        log.info("a producer that failed did not stop in order: %r", error)
