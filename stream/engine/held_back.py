"""The records of a partition that cannot be read yet, because a producer's transaction before them is still open."""

import time
from typing import NamedTuple

from aiokafka import TopicPartition


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
