"""Count dead letters in a row: a partition that yields nothing else is halted, since its producer is broken."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from stream.batches import Record
from stream.dead_letters import DeadLetter

LONGEST_RUN = 1_000


@dataclass(slots=True)
class Runs:
    """The length of the current run by partition, and the partitions that went over the limit, with the reason.

    `counted` is the last offset that was counted, by partition: what failed to be written and is tried again counts
    once.
    """

    lengths: dict[int, int] = field(default_factory=dict)
    halted: dict[int, str] = field(default_factory=dict)
    counted: dict[int, int] = field(default_factory=dict)

    def add(self, dead: Iterable[DeadLetter], records: Mapping[int, Sequence[Record]]) -> None:
        """Take in what became of the records of some partitions, each in the order of the log."""
        lost = {(letter.record.partition, letter.record.offset): letter for letter in dead}
        for partition, lot in records.items():
            new = [record for record in lot if record.offset > self.counted.get(partition, -1)]
            if new:
                self.counted[partition] = new[-1].offset
                self._count(partition, [lost.get((partition, record.offset)) for record in new] if lost else [None])

    def _count(self, partition: int, letters: Iterable[DeadLetter | None]) -> None:
        for letter in letters:
            self.lengths[partition] = 0 if letter is None else self.lengths.get(partition, 0) + 1
            if letter is not None and self.lengths[partition] == LONGEST_RUN:
                self.halted[partition] = (
                    f"{LONGEST_RUN} dead letters in a row up to offset {letter.record.offset}, the last {letter.code} "
                    f"({letter.shown()}); mend the producer, then restart the worker"
                )
