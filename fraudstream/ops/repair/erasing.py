"""Asks for the erasure of a card: writes the signed record, and waits until a worker has applied or refused it."""

import asyncio
import time
from typing import NamedTuple

import msgspec
from aiokafka import TopicPartition

from fraudstream.ops.repair.kept_letters import KeptLetter, OriginalPlace
from fraudstream.ops.repair.key_sample import sample_keys
from fraudstream.ops.repair.partitioners import HASHES, examine
from fraudstream.ops.repair.redrive import Choice, find_letters
from models.commands import Capability
from models.times import format_time
from stream.contract.erasure import KIND, SCHEMA
from stream.control.estate import estate_of
from stream.control.keys import Signer
from stream.control.log_reader import LogReader
from stream.control.running import able, running_workers
from stream.errors import UnsentCommandError
from stream.kafka.client import committed_offsets, open_admin, producer_options, require_topic
from stream.kafka.stray import PlainProducer
from stream.kafka.topics import TRANSACTIONS
from stream.settings import Settings

DEFAULT_PARTITIONER = "murmur2"
_SAMPLED_KEYS, _SAMPLE_SECONDS = 1_000, 10.0
_LOOK_SECONDS = 0.5
_LETTERS_BEFORE_MS = 3_600_000
"""Dead letters are read from so long before: clocks of workers differ."""


class CardErasure(NamedTuple):
    """What to erase: the records of a card up to a time, by the id of a request, and why."""

    card_id: str
    erased_ms: int
    request_id: str
    reason: str

    def value(self) -> bytes:
        """Return the record's value."""
        at = format_time(self.erased_ms)
        return msgspec.json.encode(
            {
                "schema": SCHEMA,
                "kind": KIND,
                "request_id": self.request_id,
                "card_id": self.card_id,
                "occurred_at": at,
                "erased_at": at,
                "reason": self.reason,
            }
        )


class ErasureOutcome(NamedTuple):
    """Where the record is, and whether a worker has applied it; `refused` is its dead letter, if there is one."""

    place: OriginalPlace
    applied: bool
    refused: KeptLetter | None = None


async def partition_of(settings: Settings, card_id: str) -> int:
    """Return the partition of a card's payments, as the last records of the topic show it.

    Raises:
        UnsentCommandError: the card is not among them, and not one known partitioner placed the others.
        aiokafka.errors.KafkaError: the broker does not respond.
    """
    topic, key = settings.topic(TRANSACTIONS.name), card_id.encode()
    sample = await sample_keys(settings, topic, _SAMPLED_KEYS, _SAMPLE_SECONDS)
    found = {partition for placed, partition in sample.placements if placed == key}
    if not found:
        report = examine(sample)
        by = {one.partitioner for one in report.written_by if one.partitions == sample.partitions}
        if not report.is_refused and not (report.unexplained and not by):
            found = {HASHES[one](key) % sample.partitions for one in by or {DEFAULT_PARTITIONER}}
    if len(found) != 1:
        raise UnsentCommandError(
            f"{topic}: the last records do not show on which partition this card's payments are: name it with "
            "--partition, as the card's own records have it"
        )
    return found.pop()


async def require_able_workers(settings: Settings) -> None:
    """Refuse to erase while a worker runs, of whichever deployment, that would refuse the erasure for ever.

    Raises:
        UnsentCommandError: names them.
        ControlLogError: the control log cannot be read to its end.
        aiokafka.errors.KafkaError: the broker does not respond, or we may not see a group.
    """
    async with LogReader(settings) as reader:
        await reader.read_to_end()
        reader.require_trusted()
    running = await running_workers(settings, reader.workers)
    older = sorted(running.keys() - able(running, Capability.ERASE).keys())
    if older:
        raise UnsentCommandError(
            f"{', '.join('/'.join(one) for one in older)}: these workers have not announced that they know erasures, "
            "and would refuse this one for ever: upgrade them, or stop them, first"
        )


async def send_erasure(settings: Settings, signer: Signer, erasure: CardErasure, partition: int) -> OriginalPlace:
    """Write the record and wait until the brokers have it.

    Raises:
        aiokafka.errors.KafkaError: they do not; it may have been written.
    """
    topic, value = settings.topic(TRANSACTIONS.name), erasure.value()
    headers = signer.headers((await estate_of(settings)).scope.of_all, value)
    producer = PlainProducer(**producer_options(settings))
    try:
        await producer.start()
        await require_topic(producer, topic)
        sent = await producer.send_and_wait(
            topic, value, key=erasure.card_id.encode(), partition=partition, headers=list(headers)
        )
    finally:
        await producer.stop()
    return OriginalPlace(topic, sent.partition, sent.offset)


async def await_applied(settings: Settings, place: OriginalPlace, wait_s: float, now_ms: int) -> ErasureOutcome:
    """Wait until the group of the settings' deployment has committed the record, and return what became of it.

    Raises:
        aiokafka.errors.KafkaError: the broker does not respond.
    """
    tp, due = TopicPartition(place.topic, place.partition), time.monotonic() + wait_s
    async with open_admin(settings) as admin:
        while True:
            committed = (await committed_offsets(settings, admin, [tp]))[tp].offset
            if committed > place.offset or time.monotonic() >= due:
                break
            await asyncio.sleep(_LOOK_SECONDS)
    if committed <= place.offset:
        return ErasureOutcome(place, applied=False)
    choice = Choice(topic=place.topic, since_ms=max(0, now_ms - _LETTERS_BEFORE_MS), names=(str(place),))
    letters = await find_letters(settings, choice, lambda *_: None)
    return ErasureOutcome(place, applied=not letters, refused=letters[-1] if letters else None)
