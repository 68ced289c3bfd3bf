"""Decisions whose scores no broker has acknowledged in time: they count once a look at the scores finds them there."""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from stream.consumer import place_of
from stream.kafka.offsets import Position
from stream.scoring.facts import Decided


class _Unconfirmed(NamedTuple):
    """The decisions of one partition, and the epoch and the log under which they were made."""

    fact: Decided
    epoch: int
    log: int


class UnconfirmedDecisions:
    """Keeps the last unconfirmed decisions of each partition."""

    def __init__(self) -> None:
        self._partitions: dict[int, _Unconfirmed] = {}

    def keep(self, fact: Decided, partitions: Iterable[int], epochs: Mapping[int, int], log: int) -> None:
        """Keep the decisions of partitions whose outputs are not known to be written."""
        for partition in partitions:
            scored = fact.scored.of([partition])
            if len(scored):
                own = Decided(scored, [], 0, 0, [], fact.revision, fact.digest, fact.stopgap)
                self._partitions[partition] = _Unconfirmed(own, epochs[partition], log)

    def confirmed(self, positions: Mapping[int, Position]) -> Iterator[Decided]:
        """Yield those of partitions whose positions are known again that are ours and valid; forget the others.

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
                scored = fact.scored.among(valid)
                yield Decided(scored, [], 0, 0, [], fact.revision, fact.digest, fact.stopgap)
