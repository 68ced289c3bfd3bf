"""What leaves as a dead letter: the record as it came, card numbers redacted, with the cause and the place it had.

Count dead letters in a row: a partition that yields nothing else is halted, since its producer is broken.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from stream.contract.codes import DeadLetterCode
from stream.kafka.batches import Record
from stream.kafka.publisher import Outgoing
from stream.redaction import redact, redact_text

_LONGEST_DETAIL = 1_000
MAX_RUN = 1_000


class DeadLetter(NamedTuple):
    """One record that gets no decision, and why."""

    record: Record
    code: DeadLetterCode
    detail: str

    def redacted_detail(self) -> str:
        """Return the detail as it may be written anywhere; redacted before it is cut, or half a number would stay."""
        return redact_text(self.detail)[:_LONGEST_DETAIL]

    def to_record(self) -> Outgoing:
        """Return what is written to `dead-letters`; redaction covers value, key, headers and detail."""
        record = self.record
        kept = tuple((redact_text(name), value and redact(value)) for name, value in record.headers)
        added = {
            "error.code": self.code,
            "error.detail": self.redacted_detail(),
            "source.topic": record.topic,
            "source.partition": str(record.partition),
            "source.offset": str(record.offset),
            "source.timestamp": str(record.timestamp),
        }
        headers = (*kept, *((name, text.encode()) for name, text in added.items()))
        return Outgoing(
            record.offset, record.key and redact(record.key), record.value and redact(record.value), headers
        )


@dataclass(slots=True)
class DeadLetterRuns:
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
            if letter is not None and self.lengths[partition] == MAX_RUN:
                self.halted[partition] = (
                    f"{MAX_RUN} dead letters in a row up to offset {letter.record.offset}, the last {letter.code} "
                    f"({letter.redacted_detail()}); mend the producer, then restart the worker"
                )
