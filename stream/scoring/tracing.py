"""The port to tracing: what a batch's records are called on the way, and what is said of it at the end.

`stream.telemetry` keeps these promises with OpenTelemetry; without it, records go as they came. Nothing here makes a
span.
"""

from collections.abc import Sequence
from typing import Protocol

from stream.clock import Stage
from stream.kafka.batches import Record
from stream.kafka.publisher import Headers
from stream.scoring.facts import Decided, LabelsApplied


class BatchTrace(Protocol):
    """One attempt at a batch, seen by tracing. Exactly one of `decided`, `labelled` and `failed` ends it."""

    def headers(self, record: Record) -> Headers:
        """Return the headers of what answers a record: its own, with its trace continued where it is sampled."""
        ...

    def decided(self, fact: Decided) -> None:
        """Hear that a batch of transactions came through."""
        ...

    def labelled(self, fact: LabelsApplied) -> None:
        """Hear that a batch of labels came through."""
        ...

    def failed(self, error: BaseException) -> None:
        """Hear that this attempt came to nothing; another may follow, as a journey of its own."""
        ...

    def compared(self, records: Sequence[Record], digest: str, stage: Stage) -> None:
        """Hear, after the end, that the challenger scored some of the batch's records in that time."""
        ...


class Tracing(Protocol):
    """Begins journeys."""

    def begin(self, records: Sequence[Record]) -> BatchTrace:
        """Begin an attempt at these records."""
        ...


class NoTracing:
    """The journey, and the tracing, of a process without traces: costs nothing."""

    def begin(self, records: Sequence[Record]) -> BatchTrace:  # noqa: ARG002 - the port's signature
        """Return itself: nothing is kept."""
        return self

    def headers(self, record: Record) -> Headers:
        """Return the record's headers as they came."""
        return record.headers

    def decided(self, fact: Decided) -> None:
        """Say nothing."""

    def labelled(self, fact: LabelsApplied) -> None:
        """Say nothing."""

    def failed(self, error: BaseException) -> None:
        """Say nothing."""

    def compared(self, records: Sequence[Record], digest: str, stage: Stage) -> None:
        """Say nothing."""
