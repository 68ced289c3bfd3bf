"""Dead letters: the input record with card numbers redacted, the cause and the record's position in Kafka.

`DeadLetterRuns` counts consecutive dead letters: a partition that yields nothing else is halted, since its producer is
faulty.
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
        """Return the detail without card numbers; redacted before it is truncated, else part of a number could stay."""
        return redact_text(self.detail)[:_LONGEST_DETAIL]

    def to_record(self) -> Outgoing:
        """Return the record for `dead-letters`; value, key, headers and detail are redacted."""
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
    """The length of the current run by partition, and the reason for each partition that reached the limit.

    `counted` is the last counted offset by partition, so that a record is counted once even if its batch is retried.
    """

    lengths: dict[int, int] = field(default_factory=dict)
    halted: dict[int, str] = field(default_factory=dict)
    counted: dict[int, int] = field(default_factory=dict)

    def add(self, dead: Iterable[DeadLetter], records: Mapping[int, Sequence[Record]]) -> None:
        """Count the dead letters among the records of some partitions, each in log order."""
        letters = {(letter.record.partition, letter.record.offset): letter for letter in dead}
        for partition, some in records.items():
            new = [record for record in some if record.offset > self.counted.get(partition, -1)]
            if new:
                self.counted[partition] = new[-1].offset
                found = [letters.get((partition, record.offset)) for record in new] if letters else [None]
                self._count(partition, found)

    def _count(self, partition: int, letters: Iterable[DeadLetter | None]) -> None:
        for letter in letters:
            self.lengths[partition] = 0 if letter is None else self.lengths.get(partition, 0) + 1
            if letter is not None and self.lengths[partition] == MAX_RUN:
                self.halted[partition] = (
                    f"{MAX_RUN} dead letters in a row up to offset {letter.record.offset}, the last {letter.code} "
                    f"({letter.redacted_detail()}); fix the producer, then restart the worker"
                )
