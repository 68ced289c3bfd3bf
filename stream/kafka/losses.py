"""Partitions that cannot be read on: what Kafka no longer has, and what cannot be unpacked.

Nothing is passed over in silence: the partition waits, and says what an operator can do.
"""

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from stream.kafka.fetcher import Trouble
from stream.kafka.unpacking import Unreadable


async def examine(tp: TopicPartition, trouble: Trouble) -> str | int:
    """Return why a partition waits, or the offset from which it may go on."""
    if isinstance(trouble, Unreadable):
        last = trouble.end - 1
        return (
            f"offsets {trouble.first} to {last} cannot be read: {trouble.reason}; pass over them with `fraudstream "
            f"dead-letters skip --topic {tp.topic} --partition {tp.partition} --offset {trouble.first}`"
        )
    if isinstance(trouble, KafkaError):
        return str(trouble)
    return f"offset {trouble} does not exist"
