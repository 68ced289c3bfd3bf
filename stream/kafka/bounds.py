"""The first offsets and the ends of partitions, asked for together.

Each partition is looked at on its own, so that one whose broker is away holds up no other. But a request for each costs
a worker that is assigned many partitions more than all else that it looks up, and meanwhile it decides nothing.
"""

import asyncio
from collections import defaultdict
from collections.abc import Coroutine, Mapping, Sequence
from copy import copy
from typing import Any, TypeVar

from aiokafka import TopicPartition

from stream.kafka.stray import given_up_as_error
from stream.tasks import end_tasks, look_at_error

Result = TypeVar("Result")

_Bounds = Mapping[TopicPartition, tuple[int, int]]
_UNCOMMITTED = 0
"""The isolation level of the protocol that asks for the end of all records."""


class OffsetBounds:
    """Asks for what is wanted in the same turn of the loop by one pair of requests for each leader.

    Args:
        consumer: over whose connections it asks; its isolation level says whether an end is that of all records, or of
            those before the first transaction that is still open.
        of_all: whether an end is that of all records in any case.
    """

    def __init__(self, consumer: Any, *, of_all: bool = False) -> None:  # noqa: ANN401 - aiokafka's
        self._consumer = consumer
        self._of_all = of_all
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
            asking = (
                _ends_of_all(self._consumer, partitions) if self._of_all else self._consumer.end_offsets(partitions)
            )
            begins, ends = await asyncio.gather(self._consumer.beginning_offsets(partitions), asking)
        return {tp: (begins[tp], ends[tp]) for tp in partitions}


async def _ends_of_all(consumer: Any, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:  # noqa: ANN401
    """Return the ends of all records; aiokafka would ask at the consumer's own isolation level."""
    fetcher = copy(consumer._fetcher)  # noqa: SLF001 - its public methods ask at one level
    fetcher._isolation_level = _UNCOMMITTED  # noqa: SLF001 - likewise
    ends: dict[TopicPartition, int] = await fetcher.end_offsets(partitions, consumer._request_timeout_ms)  # noqa: SLF001
    return ends
