"""The queues of all partitions that a consumer reads, in the place where aiokafka keeps what it has fetched."""

from collections.abc import Collection

from aiokafka import TopicPartition

from stream.engine.failing import FailingPartitions
from stream.engine.partition_queue import PartitionQueue
from stream.engine.unpacking import Unreadable


class FetchQueues:
    """The queues of all partitions, in the place where aiokafka's fetcher keeps fetched records.

    To its routine a partition is "contained" while its queue is full, its next offset does not exist, or it pauses
    after an error, and then needs no back-off; so it is left out of requests, and no other partition waits for it.
    """

    def __init__(self) -> None:
        self._queues: dict[TopicPartition, PartitionQueue] = {}
        self.out_of_range: dict[TopicPartition, int] = {}
        """The partitions whose next offset the broker does not have, by that offset, until another is sought."""
        self.failing = FailingPartitions()

    def __contains__(self, tp: TopicPartition) -> bool:
        if tp in self.out_of_range or self.failing.pauses(tp):
            return True
        return tp in self._queues and self._queues[tp].full

    def __getitem__(self, tp: TopicPartition) -> "FetchQueues":
        return self

    def __delitem__(self, tp: TopicPartition) -> None:
        self._queues.pop(tp, None)
        self.out_of_range.pop(tp, None)
        self.failing.forget(tp)

    def calculate_backoff(self) -> float:
        """Return 0: a full queue delays no other partition."""
        return 0

    def clear(self) -> None:
        """Drop everything: the assignment was lost."""
        self._queues.clear()
        self.out_of_range.clear()
        self.failing.clear()

    def of(self, tp: TopicPartition) -> PartitionQueue:
        """Return the queue of a partition."""
        queue = self._queues.get(tp)
        return self._queues.setdefault(tp, PartitionQueue(tp)) if queue is None else queue

    def unreadable(self, tp: TopicPartition) -> Unreadable | None:
        """Return the unreadable range that is next in a partition; None if a record or nothing is."""
        queue = self._queues.get(tp)
        return queue.unreadable() if queue else None

    def filled(self, partitions: Collection[TopicPartition] | None) -> list[TopicPartition]:
        """Return which of these partitions (None: of all) have something queued; callable from any thread."""
        return [tp for tp, queue in tuple(self._queues.items()) if queue and (not partitions or tp in partitions)]
