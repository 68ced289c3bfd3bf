"""Which records were refused by our own clock: at another time they would be accepted, so their dead letters decide."""

from collections.abc import Iterator, Sequence

from aiokafka import TopicPartition

from stream.contract.codes import DeadLetterCode
from stream.kafka.client import require_topic
from stream.kafka.fetcher import open_consumer
from stream.kafka.topics import DEAD_LETTERS
from stream.kafka.unpacking import FetchedRecord
from stream.settings import Settings

RefusedOffsets = frozenset[tuple[str, int, int]]
"""Records by topic, partition and offset."""
_FETCH_MS = 500
_FETCH_BYTES = 8 * 1024 * 1024


async def read_refused(settings: Settings) -> RefusedOffsets:
    """Return the records that workers of this deployment refused because they were ahead of their clock.

    Raises:
        aiokafka.errors.KafkaError: the broker does not respond.
    """
    tp = TopicPartition(settings.topic(DEAD_LETTERS.name), 0)
    consumer = open_consumer(settings, fetch_max_wait_ms=50, max_partition_fetch_bytes=_FETCH_BYTES)
    found: set[tuple[str, int, int]] = set()
    try:
        await consumer.start()
        await require_topic(consumer, tp.topic)
        consumer.assign([tp])
        end = (await consumer.end_offsets([tp]))[tp]
        consumer.seek(tp, (await consumer.beginning_offsets([tp]))[tp])
        while await consumer.position(tp) < end:
            found.update(_refused((await consumer.getmany(tp, timeout_ms=_FETCH_MS)).get(tp, ()), settings.deployment))
        return frozenset(found)
    finally:
        await consumer.stop()


def _refused(letters: Sequence[FetchedRecord], deployment: str) -> Iterator[tuple[str, int, int]]:
    for letter in letters:
        headers = {name: value or b"" for name, value in letter.headers}
        is_ours = headers.get("deployment", b"").decode("utf-8", "replace") in (deployment, "")
        if is_ours and headers.get("error.code") == DeadLetterCode.AHEAD_OF_CLOCK.encode():
            topic, partition, offset = (headers.get(f"source.{name}", b"") for name in ("topic", "partition", "offset"))
            if partition.isdigit() and offset.isdigit():
                yield topic.decode("utf-8", "replace"), int(partition), int(offset)
