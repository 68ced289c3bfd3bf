"""The validity rule for scores, used by every consumer of the scores topic and by the worker itself.

Read a partition in order and keep two integers: a score is valid if its `epoch` is not below the highest so far and its
(`source.log`, `source.offset`) is above that of the last valid score. All others are void and must be ignored.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import msgspec

from fraudstream_client.outputs import Score

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


Headers = Sequence[tuple[str, bytes | None]]


class ScoreRecord(Protocol):
    """The fields of a record that are used, as aiokafka's and kafka-python's have them."""

    partition: int
    value: bytes | None


class ScoreMessage(Protocol):
    """The methods of a message of confluent-kafka that are used."""

    def partition(self) -> int | None:
        """Return the partition; an error of the whole client has none."""

    def value(self) -> bytes | None:
        """Return the value; a tombstone has none."""

    def error(self) -> object | None:
        """Return the error, if the message is one and no record."""


class TracedRecord(Protocol):
    """The field of a record that is needed to continue its trace, as aiokafka's and kafka-python's have it."""

    headers: Headers


class TracedMessage(Protocol):
    """The method of a message of confluent-kafka that is needed to continue its trace."""

    def headers(self) -> Any:  # noqa: ANN401 - its stubs also allow what only a producer takes
        """Return the headers as pairs of name and value; None if there are none."""


Record = TypeVar("Record", bound=ScoreRecord | ScoreMessage)

_TRACE_HEADERS = frozenset({"traceparent", "tracestate"})
_decode = msgspec.json.Decoder(Score).decode


def trace_of(record: TracedRecord | TracedMessage) -> dict[str, str]:
    """Return a score's trace context, as a carrier for OpenTelemetry's `propagate.extract`.

    With it, a consumer continues the trace in which the payment was decided:

        with tracer.start_as_current_span("answer", extract(trace_of(record))):
            ...

    Empty if the record carries none; `extract` then starts a new trace.
    """
    headers = record.headers() or () if callable(record.headers) else record.headers
    return {name: value.decode() for name, value in trace_headers(headers) if value and value.isascii()}


def trace_headers(headers: Headers) -> Headers:
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

    The records are those of aiokafka, kafka-python or confluent-kafka as these return them, their values as bytes.
    `standings` is the state to store with your own offsets: two integers for each partition. After a valid score they
    are that score's own `epoch` and place, so the last decision that you stored says where to go on.
    """

    standings: dict[int, Standing] = field(default_factory=dict)
    void: int = 0
    unreadable: int = 0

    def of(self, records: Iterable[Record]) -> Iterator[tuple[Record, Score]]:
        """Yield each record whose score is valid, with the score.

        Raises:
            ValueError: a message of confluent-kafka carries an error; the records behind it have not been read.
        """
        for record in records:
            partition, value = _content(record)
            try:
                score = _decode(value or b"")
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                self.unreadable += 1
                continue
            if self._take(partition, score.epoch, place_of(score.source.log, score.source.offset)):
                yield record, score

    def _take(self, partition: int, epoch: int, place: int) -> bool:
        standing = self.standings.get(partition, Standing())
        valid = standing.is_valid(epoch, place)
        self.standings[partition] = standing.after(epoch, place)
        self.void += not valid
        return valid


def _content(record: ScoreRecord | ScoreMessage) -> tuple[int, bytes | None]:
    """Return the partition and the value of a record of any of the three clients."""
    if not callable(record.partition):
        return record.partition, record.value
    error, partition = record.error(), record.partition()
    if error is not None or partition is None:
        raise ValueError(
            f"the consumer returned an error in place of a record of partition {partition}: {error}; look at "
            "message.error() first, and pass on only messages without one"
        )
    return partition, record.value()
