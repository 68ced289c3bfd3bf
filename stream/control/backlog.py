"""The commands that wait on `model-control`: up to which offset, and what becomes of those that Kafka has lost."""

import logging
from collections.abc import Awaitable, Callable

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from stream.kafka.fetcher import Trouble, open_consumer
from stream.kafka.topics import MODEL_CONTROL
from stream.settings import Settings

log = logging.getLogger("fraudstream.backlog")

Examine = Callable[[TopicPartition, Trouble], Awaitable[str | int]]
"""Returns why a partition waits, or the offset from which it may go on."""


async def last_record(settings: Settings, tp: TopicPartition, committed: int) -> int:
    """Return the offset of the last record from the committed offset on; -1 if there is none.

    Not the log's end: the last offsets may hold no record, since they are a transaction's markers or were deleted.

    Raises:
        aiokafka.errors.KafkaError: the broker does not respond.
    """
    consumer = open_consumer(settings, fetch_max_wait_ms=settings.fetch_wait_ms)
    await consumer.start()
    try:
        consumer.assign([tp])
        begin, end = (await consumer.beginning_offsets([tp]))[tp], (await consumer.end_offsets([tp]))[tp]
        at, last = committed if begin <= committed <= end else begin, -1
        consumer.seek(tp, at)
        while at < end:
            for records in (await consumer.getmany(tp, timeout_ms=200)).values():
                last = records[-1].offset
            at = await consumer.position(tp)
        return last
    finally:
        await consumer.stop()


def passing_over_lost_commands(settings: Settings, examine: Examine) -> Examine:
    """Return `examine`, but let the control topic go on at its beginning where Kafka has lost commands.

    They got no verdict, and their senders stopped waiting: a command expires.
    """
    control = TopicPartition(settings.topic(MODEL_CONTROL.name), 0)

    async def examined(tp: TopicPartition, trouble: Trouble) -> str | int:
        if tp != control or not isinstance(trouble, int):
            return await examine(tp, trouble)
        try:
            begin = await _beginning(settings, tp)
        except KafkaError as error:
            return f"offset {trouble} does not exist, and the beginning of the log cannot be read: {error}"
        log.warning(
            "%s has no record at offset %d, from which commands had to be judged; it begins at %d. Commands that Kafka "
            "has lost get no verdict: send them again",
            tp.topic,
            trouble,
            begin,
        )
        return begin

    return examined


async def _beginning(settings: Settings, tp: TopicPartition) -> int:
    consumer = open_consumer(settings)
    await consumer.start()
    try:
        return int((await consumer.beginning_offsets([tp]))[tp])
    finally:
        await consumer.stop()
