"""Decisions whose scores no broker has acknowledged in time: they count once a look at the scores finds them there."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from stream.consumer import place_of
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
