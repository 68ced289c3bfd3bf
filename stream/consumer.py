"""The validity rule for scores, used by every consumer of the scores topic and by the worker itself.

Read a partition in order and keep two integers: a score is valid if its `epoch` is not below the highest so far and its
(`source.log`, `source.offset`) is above that of the last valid score. All others are void and must be ignored.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, Protocol, TypeVar

import msgspec

from stream.contract.outputs import Score

OFFSETS_OF_A_LOG = 2**44
"""No log has so many records; a place divided by it gives the log."""


def place_of(log: int, offset: int) -> int:
    """Return one integer that orders records as (log, offset) does; in the first log, 0, it is the offset."""
    return log * OFFSETS_OF_A_LOG + offset


def log_and_offset(place: int) -> tuple[int, int]:
    """Return the log and the offset of a place; (0, -1) if it is -1, which stands for no record."""
    return (0, -1) if place < 0 else divmod(place, OFFSETS_OF_A_LOG)


class Standing(NamedTuple):
    """The state of one partition of scores: all that the next score's validity depends on.

    `last_place` is the place (see `place_of`) of the last valid score's transaction; -1 if there was none.
    """

    highest_epoch: int = -1
    last_place: int = -1

    def is_valid(self, epoch: int, place: int) -> bool:
        """Tell whether a score of this epoch and source place is valid if it comes next."""
        return epoch >= self.highest_epoch and place > self.last_place

    def after(self, epoch: int, place: int) -> "Standing":
        """Return the standing after such a score, valid or void."""
        last_place = place if self.is_valid(epoch, place) else self.last_place
        return Standing(max(self.highest_epoch, epoch), last_place)


class ScoreRecord(Protocol):
    """The fields of a record that are used (aiokafka's records fit; confluent's need a thin wrapper)."""

    partition: int
    value: bytes | None


class TracedRecord(Protocol):
    """The fields of a record that are needed to continue its trace (aiokafka's records fit)."""

    headers: Sequence[tuple[str, bytes | None]]


Record = TypeVar("Record", bound=ScoreRecord)

_TRACE_HEADERS = frozenset({"traceparent", "tracestate"})
_decode = msgspec.json.Decoder(Score).decode


def trace_of(record: TracedRecord) -> dict[str, str]:
    """Return a score's trace context, as a carrier for OpenTelemetry's `propagate.extract`.

    With it, a consumer continues the trace in which the payment was decided:

        with tracer.start_as_current_span("answer", extract(trace_of(record))):
            ...

    Empty if the record carries none; `extract` then starts a new trace.
    """
    return {name: value.decode() for name, value in trace_headers(record.headers) if value and value.isascii()}


def trace_headers(headers: Sequence[tuple[str, bytes | None]]) -> Sequence[tuple[str, bytes | None]]:
    """Return the headers of a record that carry its trace context."""
    return [(name, value) for name, value in headers if name in _TRACE_HEADERS]


@dataclass(slots=True)
class ValidScores(Generic[Record]):
    """Filters valid scores, and counts void and unreadable ones.

    Feed it every record of the scores topic, each partition in order from its beginning (or from an offset whose
    standing you stored with it):

        valid = ValidScores()
        for record, score in valid.of(records):
            ...

    `standings` is the state to store with your own offsets: two integers for each partition.
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
            if self._take(record.partition, score.epoch, place_of(score.source.log, score.source.offset)):
                yield record, score

    def _take(self, partition: int, epoch: int, place: int) -> bool:
        standing = self.standings.get(partition, Standing())
        valid = standing.is_valid(epoch, place)
        self.standings[partition] = standing.after(epoch, place)
        self.void += not valid
        return valid
