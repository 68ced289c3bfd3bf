"""Write the outputs of a batch, each partition's on its own: one that no broker takes holds up no other partition."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from stream.kafka.dead_letters import DeadLetter
from stream.kafka.publisher import Destination, Outgoing, Publisher


@dataclass(slots=True)
class Written:
    """What became of the outputs of each partition.

    `ends` is the offset after its last output, where it has one. `failed` says why outputs are not known to be written;
    those in `pending` are still being written.
    """

    ends: dict[int, int] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)
    pending: dict[int, "asyncio.Task[int]"] = field(default_factory=dict)


class PartitionWriter:
    """Writes outputs to the partitions of `topic`, and dead letters to the one partition of theirs."""

    def __init__(self, publisher: Publisher, topic: str, dead_letters: str) -> None:
        self._publisher = publisher
        self._topic = topic
        self._letters: Destination = (dead_letters, 0)

    async def write(self, outputs: Mapping[int, Sequence[Outgoing]], dead: Iterable[DeadLetter]) -> Written:
        """Write outputs, by partition; where a partition has dead letters, those first.

        So no worker resumes behind an output while a dead letter before it is missing.
        """
        letters: dict[int, list[Outgoing]] = defaultdict(list)
        for letter in dead:
            letters[letter.record.partition].append(letter.to_record())
        written = Written()
        all_letters = [letter for some in letters.values() for letter in some]
        clean = {partition: some for partition, some in outputs.items() if partition not in letters}
        if why := await self._publish(clean, all_letters, written):
            written.failed.update(dict.fromkeys(letters, why))
        elif letters:
            await self._publish({partition: outputs.get(partition, ()) for partition in letters}, (), written)
        return written

    async def _publish(
        self, outputs: Mapping[int, Sequence[Outgoing]], letters: Sequence[Outgoing], written: Written
    ) -> str | None:
        """Publish outputs beside dead letters; return why the dead letters are not known to be written."""
        published = await self._publisher.publish_each(
            {(self._topic, partition): some for partition, some in outputs.items()} | {self._letters: letters}
        )
        failures = published.failures | {
            where: f"{where[0]} {where[1]} has not acknowledged its records yet" for where in published.pending
        }
        for partition in outputs:
            where = (self._topic, partition)
            if where in failures:
                written.failed[partition] = failures[where]
            if where in published.ends:
                written.ends[partition] = published.ends[where]
            if where in published.pending:
                written.pending[partition] = published.pending[where]
        return failures.get(self._letters)
