"""Write the outputs of a batch, each partition's on its own: one that no broker takes holds up no other partition."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from fraudstream_client.validity import place_of
from models.limits import LimitState
from stream.engine.batches import in_thread_if_large
from stream.engine.publisher import Destination, Outgoing, Published
from stream.errors import StaleBatchError
from stream.positions.dead_letters import DeadLetter, LetterOrigin, slices, to_records
from stream.positions.offsets import Position
from stream.scoring.facts import Decided


class _Unconfirmed(NamedTuple):
    """The decisions of one partition, and the epoch and the log under which they were made."""

    fact: Decided
    epoch: int
    log: int


class UnconfirmedDecisions:
    """Keeps the last unconfirmed decisions of each partition, and those found written, until they are told of.

    Of what a batch had beside its decisions, dead letters are kept: they are written before the scores.
    """

    def __init__(self) -> None:
        self._partitions: dict[int, _Unconfirmed] = {}
        self.found: list[Decided] = []
        """Those that were found written and not told of yet: an attempt that fails has told of nothing."""

    def take_found(self) -> list[Decided]:
        """Return what was found, to be told of now."""
        taken, self.found = self.found, []
        return taken

    def keep(self, fact: Decided, partitions: Iterable[int], epochs: Mapping[int, int], log: int) -> None:
        """Keep the decisions of partitions whose outputs are not known to be written."""
        for partition in partitions:
            scored = fact.scored.of([partition])
            if len(scored):
                dead = [letter for letter in fact.dead if letter.record.partition == partition]
                own = Decided(scored, dead, 0, 0, [], fact.revision, fact.digest, fact.stopgap)
                self._partitions[partition] = _Unconfirmed(own, epochs[partition], log)

    def look(self, positions: Mapping[int, Position]) -> None:
        """Find those of partitions whose positions are known again that are ours and valid; forget the others.

        They are ours if the highest epoch is theirs and no score was found void: a score of another worker's would be
        of another epoch, or make one of the two void.
        """
        for partition in positions.keys() & self._partitions.keys():
            fact, epoch, log = self._partitions.pop(partition)
            standing = positions[partition].standing
            if standing.highest_epoch != epoch or positions[partition].void:
                continue
            valid = [one for one in fact.scored.records if place_of(log, one.offset) <= standing.last_place]
            if valid:
                dead = [one for one in fact.dead if place_of(log, one.record.offset) <= standing.last_place]
                scored = fact.scored.among(valid)
                self.found.append(Decided(scored, dead, 0, 0, [], fact.revision, fact.digest, fact.stopgap))


class TopicOutputs(NamedTuple):
    """The records for the partitions of a topic."""

    topic: str
    records: Mapping[int, Sequence[Outgoing]]


@dataclass(slots=True)
class Written:
    """What became of the outputs of each partition.

    `ends` is the offset after its last output, where it has one. `failed` says why outputs are not known to be written;
    those in `pending` are still being written, or the dead letters before them are. Those of `given_up` were given up,
    or the dead letters before them, and may still be appended: `letters_given_up` tells of the dead letters.
    `letters_end` is the offset after the last dead letter, 0 if there is none.
    """

    ends: dict[int, int] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)
    pending: dict[int, "asyncio.Task[int]"] = field(default_factory=dict)
    given_up: set[int] = field(default_factory=set)
    letters_given_up: bool = False
    letters_end: int = 0

    def with_letters(self, end: int) -> None:
        """Note where dead letters end that were written; 0 if there were none."""
        self.letters_end = max(self.letters_end, end)

    def without_letters(
        self, partitions: Collection[int], why: str, letters: Destination, published: Published
    ) -> None:
        """Note why the dead letters of partitions are not known to be written; their outputs were not begun."""
        self.failed.update(dict.fromkeys(partitions, why))
        if letters in published.given_up:
            self.letters_given_up = True
            self.given_up.update(partitions)
        if (writing := published.pending.get(letters)) is not None:
            self.pending.update(dict.fromkeys(partitions, writing))


class EachPublisher(Protocol):
    """Publishes to each destination on its own, as `stream.engine.publisher.Publisher` does."""

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
        valid score that has no letter was accepted. Many large dead letters are written slice by slice, so that a
        revocation need not wait for all of them.

        Raises:
            StaleBatchError: `may_go_on` was false after a slice.
        """
        written, behind = Written(), {letter.record.partition for letter in dead}
        clean = {partition: some for partition, some in outputs.records.items() if partition not in behind}
        for number, (size, some) in enumerate(slices(dead)):
            if number and not may_go_on():
                raise StaleBatchError("its partitions are being revoked, and its dead letters are not all written")
            letters = await in_thread_if_large(size, to_records, some, origin)
            published = await self._publish(TopicOutputs(outputs.topic, clean), letters, written)
            clean = {}
            if why := _failures(published).get(self._letters):
                written.without_letters(behind, why, self._letters, published)
                return written
            written.with_letters(published.ends.get(self._letters, 0))
        left = {partition: outputs.records.get(partition, ()) for partition in behind}
        await self._publish(TopicOutputs(outputs.topic, clean | left), (), written)
        return written

    async def _publish(self, outputs: TopicOutputs, letters: Sequence[Outgoing], written: Written) -> Published:
        """Publish outputs beside dead letters, and note what became of the outputs."""
        published = await self._publisher.publish_each(
            {(outputs.topic, partition): some for partition, some in outputs.records.items()} | {self._letters: letters}
        )
        failures = _failures(published)
        for partition in outputs.records:
            where = (outputs.topic, partition)
            if where in failures:
                written.failed[partition] = failures[where]
            if where in published.ends:
                written.ends[partition] = published.ends[where]
            if where in published.pending:
                written.pending[partition] = published.pending[where]
            if where in published.given_up:
                written.given_up.add(partition)
        return published


def _failures(published: Published) -> dict[Destination, str]:
    """Return why the records of destinations are not known to be written."""
    return published.failures | {
        where: f"{where[0]} {where[1]} has not acknowledged its records yet" for where in published.pending
    }


class ScoresToWrite(NamedTuple):
    """The scores of one partition, and what its limits go by after them."""

    records: Sequence[Outgoing]
    limits: LimitState
