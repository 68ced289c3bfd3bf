"""The tracing port for batches: the headers of each record's outputs, and the batch's result.

`stream.telemetry` implements it with OpenTelemetry; without it, headers are passed on unchanged.
"""

from collections.abc import Sequence
from typing import Protocol

from stream.clock import Stage
from stream.engine.batches import Record
from stream.engine.publisher import Headers
from stream.scoring.facts import Decided, LabelsApplied, PredictionsApplied

Place = tuple[int, int]
"""The partition and the offset of a record of a batch."""


class BatchTrace(Protocol):
    """The trace of one attempt at a batch. Exactly one of `decided`, `labelled`, `predicted` and `failed` ends it."""

    def headers(self, record: Record) -> Headers:
        """Return the headers of a record's output: the record's own, with its trace continued if it is sampled."""
        ...

    def decided(self, fact: Decided) -> None:
        """End it: a batch of transactions is finished."""
        ...

    def labelled(self, fact: LabelsApplied) -> None:
        """End it: a batch of labels is finished."""
        ...

    def predicted(self, fact: PredictionsApplied) -> None:
        """End it: a batch of predictions from storage is finished."""
        ...

    def failed(self, error: BaseException) -> None:
        """End it as failed; a retry begins a new trace."""
        ...

    def compared(self, places: Sequence[Place], digest: str, stage: Stage) -> None:
        """Add, after the end, that the challenger scored the batch's records at these places during `stage`."""
        ...


class Tracing(Protocol):
    """Begins traces of batches."""

    def begin(self, records: Sequence[Record]) -> BatchTrace:
        """Begin the trace of an attempt at these records."""
        ...


class NoTracing:
    """The port, and the trace, of a process without tracing."""

    def begin(self, records: Sequence[Record]) -> BatchTrace:  # noqa: ARG002 - the port's signature
        """Return itself, since it has no state."""
        return self

    def headers(self, record: Record) -> Headers:
        """Return the record's headers unchanged."""
        return record.headers

    def decided(self, fact: Decided) -> None:
        """Do nothing."""

    def labelled(self, fact: LabelsApplied) -> None:
        """Do nothing."""

    def predicted(self, fact: PredictionsApplied) -> None:
        """Do nothing."""

    def failed(self, error: BaseException) -> None:
        """Do nothing."""

    def compared(self, places: Sequence[Place], digest: str, stage: Stage) -> None:
        """Do nothing."""
