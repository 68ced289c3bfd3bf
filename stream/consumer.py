"""Which score counts: the rule for every consumer of the scores topic, and for the worker itself.

Read a partition in order and keep two integers: a score is valid if its `epoch` is not below the highest so far and its
`source.offset` is above the last valid one's. Nothing here talks to a broker.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, Protocol, TypeVar

import msgspec

from stream.contract.outputs import Score


class Standing(NamedTuple):
    """What one partition of scores has come to: all that the next score's validity depends on."""

    highest_epoch: int = -1
    last_offset: int = -1

    def is_valid(self, epoch: int, offset: int) -> bool:
        """Tell whether a score of this epoch and source offset counts if it comes next."""
        return epoch >= self.highest_epoch and offset > self.last_offset

    def after(self, epoch: int, offset: int) -> "Standing":
        """Return the standing behind such a score, valid or void."""
        last_offset = offset if self.is_valid(epoch, offset) else self.last_offset
        return Standing(max(self.highest_epoch, epoch), last_offset)


class ScoreRecord(Protocol):
    """What is needed of a consumer's record (aiokafka's and confluent's fit, the latter by a thin wrapper)."""

    partition: int
    value: bytes | None


class TracedRecord(Protocol):
    """What is needed of a record to go on in its trace (aiokafka's fits)."""

    headers: Sequence[tuple[str, bytes | None]]


Record = TypeVar("Record", bound=ScoreRecord)

_TRACE_HEADERS = frozenset({"traceparent", "tracestate"})


def trace_of(record: TracedRecord) -> dict[str, str]:
    """Return the trace context that a score came with, as a carrier for OpenTelemetry's `propagate.extract`.

    With it a reader goes on in the trace in which the payment was decided:

        with tracer.start_as_current_span("answer", extract(trace_of(record))):
            ...

    Empty where the record has none; `extract` then begins a trace of its own.
    """
    return {name: value.decode() for name, value in trace_headers(record.headers) if value and value.isascii()}


def trace_headers(headers: Sequence[tuple[str, bytes | None]]) -> Sequence[tuple[str, bytes | None]]:
    """Return those headers of a record that carry its trace."""
    return [(name, value) for name, value in headers if name in _TRACE_HEADERS]


@dataclass(slots=True)
class ValidScores(Generic[Record]):
    """Passes on the scores that count, and counts those that do not.

    Feed it every record of the scores topic, each partition in order from its beginning (or from a position whose
    standing you kept with it):

        valid = ValidScores()
        for record, score in valid.of(records):
            ...

    `standings` is the state to keep with your own offsets: two integers for each partition.
    """

    standings: dict[int, Standing] = field(default_factory=dict)
    void: int = 0
    unreadable: int = 0

    def of(self, records: Iterable[Record]) -> Iterator[tuple[Record, Score]]:
        """Yield each record whose score is valid, with the score."""
        for record in records:
            try:
                score = _decode(record.value or b"")
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                self.unreadable += 1
                continue
            if self._take(record.partition, score.epoch, score.source.offset):
                yield record, score

    def _take(self, partition: int, epoch: int, offset: int) -> bool:
        standing = self.standings.get(partition, Standing())
        valid = standing.is_valid(epoch, offset)
        self.standings[partition] = standing.after(epoch, offset)
        self.void += not valid
        return valid


_decode = msgspec.json.Decoder(Score).decode
