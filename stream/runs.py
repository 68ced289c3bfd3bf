"""Count dead letters in a row: a partition that yields nothing else is halted, since its producer is broken."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from stream.batches import Record
from stream.dead_letters import DeadLetter

LONGEST_RUN = 1_000


@dataclass(slots=True)
class Runs:
    """The length of the current run by partition, and the partitions that went over the limit, with the reason."""

    lengths: dict[int, int] = field(default_factory=dict)
    halted: dict[int, str] = field(default_factory=dict)

    def add(self, dead: Iterable[DeadLetter], records: Mapping[int, Sequence[Record]]) -> None:
        """Take in what became of the records of some partitions, each in the order of the log."""
        lost = {(letter.record.partition, letter.record.offset): letter for letter in dead}
        for partition, lot in records.items():
            if not lost:
                self.lengths[partition] = 0
            for record in lot if lost else ():
                letter = lost.get((partition, record.offset))
                self.lengths[partition] = 0 if letter is None else self.lengths.get(partition, 0) + 1
                if letter is not None and self.lengths[partition] == LONGEST_RUN:
                    self.halted[partition] = (
                        f"{LONGEST_RUN} dead letters in a row up to offset {record.offset}, the last {letter.code} "
                        f"({letter.detail}); mend the producer, then restart the worker"
                    )
