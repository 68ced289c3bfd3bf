"""The commands that wait on `model-control`: up to which offset."""

from aiokafka import TopicPartition

from stream.engine.fetcher import open_consumer
from stream.settings import Settings


async def last_record(settings: Settings, tp: TopicPartition, committed: int) -> int:
    """Return the offset of the last record from the committed offset on; -1 if there is none.

    Not the log's end: the last offsets may hold no record, since they are a transaction's markers or were deleted.

    Raises:
        aiokafka.errors.KafkaError: the broker does not respond.
    """
    consumer = open_consumer(settings, fetch_max_wait_ms=settings.fetch_wait_ms)
    try:
        await consumer.start()
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
