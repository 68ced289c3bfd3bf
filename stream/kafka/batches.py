"""What the transport hands to an agent, and the books that say which offsets may be committed.

Nothing here talks to a broker.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from aiokafka import TopicPartition


class Record(Protocol):
    """What is read of a record as aiokafka hands it over; `timestamp` in epoch milliseconds."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


class Commit(NamedTuple):
    """The offset behind the last record that is done with, and a note for whoever reads the partition next."""

    offset: int
    metadata: str


class _Lot(NamedTuple):
    generation: int
    last_offset: int


@dataclass(slots=True)
class CommitLedger:
    """Which lots are out, in the order of the log, and which of them are done.

    A lot is one partition's part of a batch. Lots are keyed by their group generation: what an agent says of a lot that
    was handed out under another assignment means nothing.
    """

    _out: dict[TopicPartition, deque[_Lot]] = field(default_factory=lambda: defaultdict(deque))
    _done: dict[TopicPartition, dict[_Lot, str]] = field(default_factory=lambda: defaultdict(dict))
    _committable: dict[TopicPartition, Commit] = field(default_factory=dict)
    _behind: dict[TopicPartition, int] = field(default_factory=dict)

    def track(self, partition: TopicPartition, generation: int, last_offset: int) -> None:
        """Note that records up to `last_offset` are in work."""
        self._out[partition].append(_Lot(generation, last_offset))

    def is_current(self, partition: TopicPartition, generation: int, last_offset: int) -> bool:
        """Tell whether this lot is still ours to finish."""
        return _Lot(generation, last_offset) in self._out[partition]

    def acknowledge(self, partition: TopicPartition, generation: int, last_offset: int, metadata: str = "") -> None:
        """Note that a lot's outputs are safe; nothing behind a gap becomes committable."""
        lot = _Lot(generation, last_offset)
        if lot not in self._out[partition]:
            return
        self._done[partition][lot] = metadata
        out, done = self._out[partition], self._done[partition]
        while out and out[0] in done:
            first = out.popleft()
            self._committable[partition] = Commit(first.last_offset + 1, done.pop(first))
            self._behind[partition] = first.last_offset + 1

    def finished_offset(self, partition: TopicPartition) -> int | None:
        """Return the offset behind all that is done with; None where nothing is yet under this assignment."""
        return self._behind.get(partition)

    def committable(self) -> dict[TopicPartition, Commit]:
        """Return what may be committed and has not been."""
        return dict(self._committable)

    def committed(self, commits: Mapping[TopicPartition, Commit]) -> None:
        """Note that the broker has these."""
        for partition, commit in commits.items():
            if self._committable.get(partition) == commit:
                del self._committable[partition]

    def drop(self, partition: TopicPartition) -> None:
        """Drop all that is known of a partition that was taken away, or is read again from elsewhere."""
        for books in (self._out, self._done, self._committable, self._behind):
            books.pop(partition, None)


@dataclass(slots=True, eq=False)
class Batch:
    """What one poll returned for one topic, over all its partitions.

    `records` holds at least one record for each partition it names, in the order of the log. The agent calls `start`
    before its first effect, `acknowledge` for each partition whose outputs are safe, and `finish` when it is done with
    the whole, whatever happened; the next poll waits for that.
    """

    topic: str
    generation: int
    records: Mapping[int, Sequence[Record]]
    ledger: CommitLedger
    draining: asyncio.Event
    started: bool = False
    finished: asyncio.Event = field(default_factory=asyncio.Event)

    def is_current(self, partition: int) -> bool:
        """Tell whether the partition is still ours under this batch's assignment."""
        return self.ledger.is_current(
            TopicPartition(self.topic, partition), self.generation, self.records[partition][-1].offset
        )

    def current(self) -> list[int]:
        """Return the partitions that are still ours."""
        return [partition for partition in self.records if self.is_current(partition)]

    def may_start(self) -> bool:
        """Tell whether effects may begin (or be tried again): not while partitions are being taken away."""
        return not self.draining.is_set() and bool(self.current())

    def start(self) -> bool:
        """Begin, if that may be; from now on a revocation waits for `finish`."""
        self.started = self.may_start()
        return self.started

    def acknowledge(self, partition: int, metadata: str = "") -> None:
        """Say that all outputs of the partition's records are acknowledged by the broker."""
        self.ledger.acknowledge(
            TopicPartition(self.topic, partition), self.generation, self.records[partition][-1].offset, metadata
        )

    def finish(self) -> None:
        """Say that nothing more will come of this batch."""
        self.finished.set()
