"""What leaves as a dead letter: the record as it came, card numbers redacted, with the cause and the place it had."""

from typing import NamedTuple

from stream.batches import Record
from stream.contract.codes import DeadLetterCode
from stream.publishing import Outgoing
from stream.redaction import redact, redact_text

_LONGEST_DETAIL = 1_000


class DeadLetter(NamedTuple):
    """One record that gets no decision, and why."""

    record: Record
    code: DeadLetterCode
    detail: str

    def shown(self) -> str:
        """Return the detail as it may be written anywhere; redacted before it is cut, or half a number would stay."""
        return redact_text(self.detail)[:_LONGEST_DETAIL]

    def outgoing(self) -> Outgoing:
        """Return what is written to `dead-letters`; redaction covers value, key, headers and detail."""
        record = self.record
        kept = tuple((redact_text(name), value and redact(value)) for name, value in record.headers)
        added = {
            "error.code": self.code,
            "error.detail": self.shown(),
            "source.topic": record.topic,
            "source.partition": str(record.partition),
            "source.offset": str(record.offset),
            "source.timestamp": str(record.timestamp),
        }
        headers = (*kept, *((name, text.encode()) for name, text in added.items()))
        return Outgoing(
            record.offset, record.key and redact(record.key), record.value and redact(record.value), headers
        )
