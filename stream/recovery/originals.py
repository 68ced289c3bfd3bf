"""Reads single transactions again at their places in the topic: of an erased one a history keeps nothing else."""

from collections.abc import Collection

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from features.errors import StoreUnavailableError
from features.history.records import card_rows
from features.history.store import Ints
from features.redis.labels import Originals, Place, ReadOriginals
from stream.consumer import log_and_offset
from stream.engine.batches import Record
from stream.engine.fetcher import LogConsumer
from stream.kafka.topics import TRANSACTIONS
from stream.recovery.reapply import log_reader
from stream.scoring.decode import decode
from stream.settings import Settings

_FETCH_MS = 500
_ATTEMPTS = 20


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
