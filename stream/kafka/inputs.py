"""What the brokers say of the input topics now: ids, first and end offsets, and the record at an offset."""

from collections.abc import Iterable, Sequence

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from models.judge import InputTopic
from stream.consumer import log_and_offset
from stream.contract.codes import Rejection
from stream.contract.fields import KnownFields, decode_object
from stream.kafka.fetcher import open_consumer
from stream.kafka.offsets import Position, committed_offsets, identity_of
from stream.kafka.scan import offset_ranges, record_at
from stream.kafka.topic_ids import topic_states
from stream.kafka.topics import LABELS, SCORES, TRANSACTIONS, has_records, partition_counts
from stream.settings import Settings

_IDS = KnownFields(["card_id", "transaction_id"])


async def input_states(
    settings: Settings, admin: AIOKafkaAdminClient, partitions: Sequence[TopicPartition]
) -> dict[TopicPartition, InputTopic]:
    """Return the topic id, the first and the end offset of each of these partitions.

    The end is that of all records, committed or not.

    Raises:
        aiokafka.errors.KafkaError: the brokers do not respond.
    """
    states = await topic_states(admin, sorted({tp.topic for tp in partitions}))
    ids = {topic: state.topic_id for topic, state in states.items()}
    ranges = await offset_ranges(settings, partitions)
    return {tp: InputTopic(ids.get(tp.topic), *ranges[tp]) for tp in partitions}


async def is_same_record(settings: Settings, tp: TopicPartition, state: InputTopic, position: Position) -> bool | None:
    """Tell whether the record at a position's last decision is the transaction that was decided.

    None if that cannot be checked: nothing is known of the transaction, or its record was removed.

    Raises:
        aiokafka.errors.KafkaError: the brokers do not respond.
    """
    _, offset = log_and_offset(position.standing.last_place)
    if not position.identity or not state.begin <= offset < state.end:
        return None
    consumer = open_consumer(settings, fetch_max_wait_ms=settings.fetch_wait_ms)
    try:
        await consumer.start()
        consumer.assign([tp])
        record = await record_at(consumer, tp, offset)
        return record is not None and _identity(record.value) == position.identity
    finally:
        await consumer.stop()


async def has_filled_histories(settings: Settings, admin: AIOKafkaAdminClient) -> bool:
    """Tell whether the deployment has written to histories: it has decided something, or read payments or labels.

    A backfill leaves no scores, but it is committed.

    Raises:
        aiokafka.errors.KafkaError: the brokers do not respond.
    """
    if await has_records(settings, settings.topic(SCORES.name)):
        return True
    counts = await partition_counts(admin, settings)
    names = [settings.topic(layout.name) for layout in (TRANSACTIONS, LABELS)]
    tps = [tp for name in names for tp in partitions_of(name, range(counts.get(name, 0)))]
    return any(commit.offset > 0 for commit in (await committed_offsets(settings, admin, tps)).values())


def _identity(value: bytes | None) -> str | None:
    """Return the identity of the transaction in a record; None if there is none."""
    raw = decode_object(value, _IDS)
    if isinstance(raw, Rejection):
        return None
    return identity_of(str(raw.fields.get("card_id")), str(raw.fields.get("transaction_id")))


def partitions_of(topic: str, numbers: Iterable[int]) -> list[TopicPartition]:
    """Return these partitions of a topic."""
    return [TopicPartition(topic, number) for number in numbers]
