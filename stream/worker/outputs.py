"""Write the outputs of a batch, each partition's on its own: one that no broker takes holds up no other partition."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from stream.errors import StaleBatchError
from stream.kafka.batches import in_thread_if_large
from stream.kafka.dead_letters import DeadLetter, LetterOrigin, slices, to_records
from stream.kafka.publisher import Destination, Outgoing, Published


class TopicOutputs(NamedTuple):
    """The records for the partitions of a topic."""

    topic: str
    records: Mapping[int, Sequence[Outgoing]]


@dataclass(slots=True)
class Written:
    """What became of the outputs of each partition.

    `ends` is the offset after its last output, where it has one. `failed` says why outputs are not known to be written;
    those in `pending` are still being written.
    """

    ends: dict[int, int] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)
    pending: dict[int, "asyncio.Task[int]"] = field(default_factory=dict)


class EachPublisher(Protocol):
    """Publishes to each destination on its own, as `stream.kafka.publisher.Publisher` does."""

    async def publish_each(self, outputs: Mapping[Destination, Sequence[Outgoing]]) -> Published:
        """Write the records of each (topic, partition), in order."""
        ...


class PartitionWriter:
    """Writes outputs to the partitions of a topic, and dead letters to the one partition of theirs."""

    def __init__(self, publisher: EachPublisher, dead_letters: str) -> None:
        self._publisher = publisher
        self._letters: Destination = (dead_letters, 0)

    async def write(
        self,
        outputs: TopicOutputs,
        dead: Sequence[DeadLetter],
        may_go_on: Callable[[], bool],
        origin: LetterOrigin,
    ) -> Written:
        """Write outputs; where a partition has dead letters, those first.

        So no worker resumes behind an output while a dead letter before it is missing: an offset at or below the last
        valid score that has no letter was accepted. Many large dead letters are
        written slice by slice, so that a revocation need not wait for all of them.

        Raises:
            StaleBatchError: `may_go_on` was false after a slice.
        """
        written, behind = Written(), {letter.record.partition for letter in dead}
        clean = {partition: some for partition, some in outputs.records.items() if partition not in behind}
        for number, (size, some) in enumerate(slices(dead)):
            if number and not may_go_on():
                raise StaleBatchError("its partitions are being revoked, and its dead letters are not all written")
            letters = await in_thread_if_large(size, to_records, some, origin)
            why, pending = await self._publish(TopicOutputs(outputs.topic, clean), letters, written)
            clean = {}
            if why:
                written.failed.update(dict.fromkeys(behind, why))
                # Letters that come through after all are verdicts: they have to be read before another attempt.
                written.pending.update({} if pending is None else dict.fromkeys(behind, pending))
                return written
        left = {partition: outputs.records.get(partition, ()) for partition in behind}
        await self._publish(TopicOutputs(outputs.topic, clean | left), (), written)
        return written

    async def _publish(
        self, outputs: TopicOutputs, letters: Sequence[Outgoing], written: Written
    ) -> "tuple[str | None, asyncio.Task[int] | None]":
        """Publish outputs beside dead letters; return why these are not known to be written, and what still writes."""
        published = await self._publisher.publish_each(
            {(outputs.topic, partition): some for partition, some in outputs.records.items()} | {self._letters: letters}
        )
        failures = published.failures | {
            where: f"{where[0]} {where[1]} has not acknowledged its records yet" for where in published.pending
        }
        for partition in outputs.records:
            where = (outputs.topic, partition)
            if where in failures:
                written.failed[partition] = failures[where]
            if where in published.ends:
                written.ends[partition] = published.ends[where]
            if where in published.pending:
                written.pending[partition] = published.pending[where]
        return failures.get(self._letters), published.pending.get(self._letters)
