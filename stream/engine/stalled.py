"""Partitions whose next records cannot be read for now, since when, and what an operator reads about it.

Their broker answers with an error that it may recover from, such as one of its disk; or a producer's transaction before
the records is still open.
"""

import time
from typing import NamedTuple

from aiokafka import TopicPartition


class FailingFetch(NamedTuple):
    """The last error of a partition, since when each fetch of it fails, and when the next one may follow.

    Both times are in monotonic seconds.
    """

    error: str
    since: float
    next_at: float

    def reason(self, seconds: float) -> str:
        """Return what an operator reads once the fetches have failed for so long."""
        return f"its broker has answered each fetch with an error for {seconds:.0f} s, the last one {self.error}"


class FailingPartitions:
    """What fails now, by partition."""

    def __init__(self) -> None:
        self._partitions: dict[TopicPartition, FailingFetch] = {}

    def note(self, tp: TopicPartition, error: str, pause: float) -> bool:
        """Take the error of a fetch, after which the partition pauses for so many seconds; tell whether it is new."""
        now, before = time.monotonic(), self._partitions.get(tp)
        self._partitions[tp] = FailingFetch(error, now if before is None else before.since, now + pause)
        return before is None or before.error != error

    def seconds(self, tp: TopicPartition) -> float:
        """Return for how long each fetch of a partition has failed; 0 if the last one did not."""
        return time.monotonic() - self._partitions[tp].since if tp in self._partitions else 0.0

    def forget(self, tp: TopicPartition) -> None:
        """Note that a partition was fetched, or is not fetched for another reason."""
        self._partitions.pop(tp, None)

    def clear(self) -> None:
        """Forget all: the assignment was lost."""
        self._partitions.clear()

    def pauses(self, tp: TopicPartition) -> bool:
        """Tell whether a partition must not be fetched yet."""
        return tp in self._partitions and time.monotonic() < self._partitions[tp].next_at

    def shortest_pause(self) -> float:
        """Return the seconds until one of those that pause may be fetched; infinity if none does."""
        now = time.monotonic()
        return min((one.next_at - now for one in self._partitions.values() if one.next_at > now), default=float("inf"))

    def copy(self) -> dict[TopicPartition, FailingFetch]:
        """Return what fails, by partition; callable from any thread."""
        return self._partitions.copy()


class HeldBack(NamedTuple):
    """How many records lie behind a partition's last stable offset, and since when that offset has stood still.

    `records` is an upper bound: transaction markers count. `since` is in monotonic seconds.
    """

    stable: int
    records: int
    since: float

    @classmethod
    def after(cls, before: "HeldBack | None", stable: int, end: int, now: float) -> "HeldBack | None":
        """Return what is held back by a response's last stable offset and end; None if nothing is."""
        if not 0 <= stable < end:
            return None
        return cls(stable, end - stable, now if before is None or before.stable != stable else before.since)

    def reason(self, seconds: float) -> str:
        """Return what an operator reads once the offset has stood still for so long."""
        return (
            f"up to {self.records} records from offset {self.stable} on wait for a producer's transaction that has "
            f"been open for {seconds:.0f} s; it ends with its producer or its transaction.timeout.ms, or "
            "kafka-transactions.sh finds and aborts it"
        )


class HeldBackPartitions:
    """What is held back now, by partition."""

    def __init__(self) -> None:
        self._partitions: dict[TopicPartition, HeldBack] = {}

    def note(self, tp: TopicPartition, stable: int, end: int) -> None:
        """Take a response's last stable offset and end of a partition."""
        found = HeldBack.after(self._partitions.get(tp), stable, end, time.monotonic())
        if found is None:
            self._partitions.pop(tp, None)
        else:
            self._partitions[tp] = found

    def copy(self) -> dict[TopicPartition, HeldBack]:
        """Return what is held back, by partition; callable from any thread."""
        return self._partitions.copy()
