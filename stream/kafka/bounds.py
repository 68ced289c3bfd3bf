"""The first offsets and the ends of partitions, asked for together.

Each partition is looked at on its own, so that one whose broker is away holds up no other. But a request for each costs
a worker that is assigned many partitions more than all else that it looks up, and meanwhile it decides nothing.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import READ_UNCOMMITTED, Fetcher

from stream.kafka.stray import given_up_as_error
from stream.tasks import end_tasks, look_at_error

Result = TypeVar("Result")

_Bounds = Mapping[TopicPartition, tuple[int, int]]
EndOffsets = Callable[[Sequence[TopicPartition]], Awaitable[Mapping[TopicPartition, int]]]


class OffsetBounds:
    """Asks for what is wanted in the same turn of the loop by one pair of requests for each leader.

    Args:
        consumer: over whose connections it asks; its isolation level says whether an end is that of all records, or of
            those before the first transaction that is still open.
        end_offsets: asks for the ends in place of the consumer.
    """

    def __init__(self, consumer: Any, end_offsets: EndOffsets | None = None) -> None:  # noqa: ANN401 - aiokafka's
        self._consumer = consumer
        self._end_offsets: EndOffsets = end_offsets or consumer.end_offsets
        self._wanted: set[TopicPartition] = set()
        self._turn: asyncio.Task[Mapping[TopicPartition, asyncio.Task[_Bounds]]] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    async def of(self, partition: TopicPartition) -> tuple[int, int]:
        """Return a partition's first offset and its end.

        Raises:
            aiokafka.errors.KafkaError: its broker does not respond.
        """
        self._wanted.add(partition)
        if self._turn is None or self._turn.done():  # done means failed: one that succeeds is let go of before
            self._turn = self._begun(self._ask())
        asked = (await asyncio.shield(self._turn))[partition]
        return (await asyncio.shield(asked))[partition]

    async def close(self) -> None:
        """End what is still asked for."""
        await end_tasks(*self._tasks)

    async def _ask(self) -> Mapping[TopicPartition, "asyncio.Task[_Bounds]"]:
        """Ask each leader for its partitions among those that are wanted by now."""
        client = self._consumer._client  # noqa: SLF001 - aiokafka tells nobody else who leads
        with given_up_as_error():
            await client._maybe_wait_metadata()  # noqa: SLF001 - likewise
        self._turn, wanted, self._wanted = None, self._wanted, set()
        by_leader = defaultdict(list)
        for tp in sorted(wanted):
            by_leader[client.cluster.leader_for_partition(tp)].append(tp)
        found = dict[TopicPartition, asyncio.Task[_Bounds]]()
        for some in by_leader.values():
            found |= dict.fromkeys(some, self._begun(self._bounds(some)))
        return found

    def _begun(self, asking: Coroutine[Any, Any, Result]) -> "asyncio.Task[Result]":
        """Return a task that is known until it ends."""
        task = asyncio.create_task(asking)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(look_at_error)
        return task

    async def _bounds(self, partitions: Sequence[TopicPartition]) -> _Bounds:
        with given_up_as_error():
            begins, ends = await asyncio.gather(
                self._consumer.beginning_offsets(partitions), self._end_offsets(partitions)
            )
        return {tp: (begins[tp], ends[tp]) for tp in partitions}


class _EndsOfAll(Fetcher):  # type: ignore[misc] # aiokafka ships no types
    """Asks for ends as the fetcher of a consumer does, but for those of all records; it fetches nothing."""

    def __init__(self, fetcher: Any) -> None:  # noqa: ANN401 - aiokafka's
        self._client, self._retry_backoff = fetcher._client, fetcher._retry_backoff  # noqa: SLF001 - of the same class
        self._isolation_level = READ_UNCOMMITTED


async def ends_of_all(consumer: Any, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:  # noqa: ANN401
    """Return the ends of all records, those included that wait for the end of a transaction.

    Raises:
        aiokafka.errors.KafkaError: a broker does not respond.
    """
    asking = _EndsOfAll(consumer._fetcher)  # noqa: SLF001 - the consumer's public methods ask at its own level
    ends: dict[TopicPartition, int] = await asking.end_offsets(partitions, consumer._request_timeout_ms)  # noqa: SLF001
    return ends
