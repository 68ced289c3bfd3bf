"""What the brokers say of the input topics now: ids, first and end offsets, and the record at an offset."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from fraudstream_client.validity import log_and_offset
from models.judge import InputTopic
from stream.contract.codes import Rejection
from stream.contract.fields import KnownFields, decode_object
from stream.engine.fetcher import LogConsumer
from stream.kafka.bounds import OffsetBounds
from stream.kafka.client import committed_offsets, connection_options
from stream.kafka.stray import PlainConsumer
from stream.kafka.topic_ids import TopicState, topic_states
from stream.kafka.topics import LABELS, SCORES, TRANSACTIONS, has_records, partition_counts
from stream.positions.offsets import Position, identity_of
from stream.scan import record_at
from stream.settings import Settings
from stream.tasks import end_tasks

_IDS = KnownFields(["card_id", "transaction_id"])


class InputReader:
    """Asks what the input topics hold; all partitions over the same connections, and none waits for another."""

    def __init__(self, admin: AIOKafkaAdminClient, offsets: PlainConsumer) -> None:
        self._bounds = OffsetBounds(offsets)
        self._admin = admin
        self._asked: dict[frozenset[str], asyncio.Task[Mapping[str, TopicState]]] = {}

    async def states(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, InputTopic]:
        """Return the topic id, the first and the end offset of each of these partitions.

        The end is that of all records, committed or not.

        Raises:
            aiokafka.errors.KafkaError: the brokers do not respond.
        """
        states = await self._topic_states(frozenset(tp.topic for tp in partitions))
        bounds = await asyncio.gather(*(self._bounds.of(tp) for tp in partitions))
        ids = {topic: state.topic_id for topic, state in states.items()}
        return {tp: InputTopic(ids.get(tp.topic), *bound) for tp, bound in zip(partitions, bounds, strict=True)}

    async def _topic_states(self, topics: frozenset[str]) -> Mapping[str, TopicState]:
        """Return the states of topics; those that ask at the same time share a request."""
        if topics not in self._asked:
            self._asked[topics] = task = asyncio.create_task(topic_states(self._admin, sorted(topics)))
            task.add_done_callback(lambda _: self._asked.pop(topics))
        return await asyncio.shield(self._asked[topics])

    async def close(self) -> None:
        """End what is still asked for."""
        await end_tasks(*self._asked.values())
        await self._bounds.close()

    async def is_same_record(
        self, records: LogConsumer, tp: TopicPartition, state: InputTopic, position: Position
    ) -> bool | None:
        """Tell whether the record at a position's last decision is the transaction that was decided.

        `records` is a consumer to which the partition is assigned and that has paused it. None if that cannot be
        checked: nothing is known of the transaction, or its record was removed.

        Raises:
            aiokafka.errors.KafkaError: the brokers do not respond.
        """
        _, offset = log_and_offset(position.standing.last_place)
        if not position.identity or not state.begin <= offset < state.end:
            return None
        records.resume(tp)
        try:
            record = await record_at(records, tp, offset)
        finally:
            records.pause(tp)
        return record is not None and _identity(record.value) == position.identity


@asynccontextmanager
async def input_reader(
    settings: Settings,
    admin: AIOKafkaAdminClient,
    partitions: Sequence[TopicPartition],
) -> AsyncIterator[InputReader]:
    """Open a reader of some partitions.

    Raises:
        aiokafka.errors.KafkaError: the brokers do not respond.
    """
    offsets = PlainConsumer(**connection_options(settings), enable_auto_commit=False)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(offsets.stop)
        await offsets.start()
        offsets.assign(partitions)  # and so it learns who leads them
        offsets.pause(*partitions)
        reader = InputReader(admin, offsets)
        stack.push_async_callback(reader.close)
        yield reader


async def input_states(
    settings: Settings, admin: AIOKafkaAdminClient, partitions: Sequence[TopicPartition]
) -> dict[TopicPartition, InputTopic]:
    """Return the topic id, the first and the end offset of each of these partitions, as an `InputReader` does.

    Raises:
        aiokafka.errors.KafkaError: the brokers do not respond.
    """
    async with input_reader(settings, admin, partitions) as reader:
        return await reader.states(partitions)


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
