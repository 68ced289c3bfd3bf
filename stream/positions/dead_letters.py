"""Dead letters: the cause and the record's position in Kafka; and, where it is asked for, the record, redacted.

A record that does not fit is cut before it is redacted, so the cost of each is bounded; many large ones are published
slice by slice, and converted in another thread. `DeadLetterRuns` counts consecutive dead letters: a partition that
yields nothing else is halted, since its producer is faulty. Those of a backfill do not count.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, NamedTuple

import msgspec
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from fraudstream_client.field_types import LARGEST_AMOUNT
from stream.contract.codes import DeadLetterCode
from stream.contract.fields import ORDINARY_VALUE_BYTES
from stream.contract.iso import CURRENCY_DECIMALS
from stream.contract.transaction import backfill_mark
from stream.engine.batches import Record, size_of
from stream.engine.publisher import Headers, Outgoing
from stream.engine.unpacking import LARGEST_HEADER_COUNT
from stream.id_rules import LONGEST_ID, is_card_number
from stream.kafka.client import LARGEST_OUTPUT_BYTES
from stream.positions.letters import CODE, EPOCH, SOURCE_LOG
from stream.redaction import redact_headers_thoroughly, redact_thoroughly

MAX_RUN = 1_000
TRUNCATED = "error.truncated"
"""The header of a dead letter that is not whole; its text names what was cut, with the original sizes."""
VALUES = "error.values"
"""The header of a dead letter that does not keep the value of its record: `none`."""
TRANSACTION, AMOUNT = "source.transaction_id", "source.amount"
"""Headers of such a letter: what it would be looked for by, and the currency and amount in minor units."""
Content = tuple[bytes | None, bytes | None]
"""A record's key and value."""
Values = Literal["none", "redacted"]
"""What is kept of a record, as `FRAUDSTREAM_DEAD_LETTER_VALUES` says."""

_LONGEST_DETAIL = 1_000
_LONGEST_TRUNCATED = 100
_LENGTH_BYTES = 5
"""At most this many bytes say how long a key, a value, or a header's name or value is."""

_LEAST_BYTES = 64 * 1024
"""So much of a key and of a value is kept, and headers are left out for it."""

_SLICE_BYTES = 8 * 1024 * 1024
"""Dead letters are published in slices of about this size: each is acknowledged within the producer's timeout."""


class _Fitted(NamedTuple):
    """What is kept of a record: so many bytes of its key and value, some headers; and what is said of the rest."""

    key_bytes: int
    value_bytes: int
    headers: Headers
    truncated: str = ""


class DeadLetter(NamedTuple):
    """One record that gets no decision, and why."""

    record: Record
    code: DeadLetterCode
    detail: str

    def redacted_detail(self) -> str:
        """Return the detail without card numbers; redacted before it is truncated, else part of a number could stay."""
        detail = self.detail.encode("utf-8", "replace")
        return redact_thoroughly(detail, _LONGEST_DETAIL).decode("utf-8", "ignore")

    def to_record(self, origin: "LetterOrigin") -> Outgoing:
        """Return the record for `dead-letters`; key, headers and detail are redacted, and the value, if it is kept.

        With its headers the record is not larger than `LARGEST_OUTPUT_BYTES`: what does not fit is cut, or left out.
        """
        record, added = self.record, self._added(origin)
        key, value = content = (record.key, record.value if origin.values == "redacted" else None)
        if origin.values == "none":
            added += [(VALUES, b"none"), *_facts(record.value)]
        fitted = _fit(record, content, added)
        if fitted.truncated:
            added.append((TRUNCATED, fitted.truncated.encode()))
        return Outgoing(
            record.offset,
            key and redact_thoroughly(key, fitted.key_bytes),
            value and redact_thoroughly(value, fitted.value_bytes),
            (*redact_headers_thoroughly(fitted.headers), *added),
        )

    def _added(self, origin: "LetterOrigin") -> list[tuple[str, bytes]]:
        record, epoch = self.record, origin.epochs.get(self.record.partition)
        added = {
            CODE: self.code,
            "error.detail": self.redacted_detail(),
            "source.topic": record.topic,
            "source.partition": str(record.partition),
            "source.offset": str(record.offset),
            SOURCE_LOG: str(origin.log),
            "source.timestamp": str(record.timestamp),
            "deployment": origin.deployment,
            **({} if epoch is None else {EPOCH: str(epoch)}),
        }
        return [(name, text.encode()) for name, text in added.items()]


class _Facts(msgspec.Struct):
    """What a letter without a value says of its record, if it can be read."""

    transaction_id: str | None = None
    currency: str | None = None
    amount_minor: int | None = None


_read_facts = msgspec.json.Decoder(_Facts).decode


def _facts(value: bytes | None) -> list[tuple[str, bytes]]:
    """Return the headers for a record's transaction and amount, as far as they have a form that can be kept."""
    if value is None or len(value) > ORDINARY_VALUE_BYTES:
        return []
    try:
        found = _read_facts(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []
    name, amount = found.transaction_id or "", found.amount_minor
    encoded = name.encode("utf-8", "replace")
    is_kept = 0 < len(name) <= LONGEST_ID and redact_thoroughly(encoded) == encoded and not is_card_number(name, 0)
    facts = [(TRANSACTION, encoded)] if is_kept else []
    if found.currency in CURRENCY_DECIMALS and amount is not None and 0 <= amount <= LARGEST_AMOUNT:
        facts.append((AMOUNT, f"{found.currency} {amount}".encode()))
    return facts


def _fit(record: Record, content: Content, added: list[tuple[str, bytes]]) -> _Fitted:
    """Divide the room of one record among a record's parts.

    With what is added, there are no more headers than are read of a record. The value is cut first, then the key, each
    to no less than `_LEAST_BYTES`; then headers are left out, the longest first.
    """
    key, value = (len(part or b"") for part in content)
    marked = [*added, (TRUNCATED, bytes(_LONGEST_TRUNCATED))]
    own = record.headers[: LARGEST_HEADER_COUNT - len(marked)]
    missing = len(record.left_out) + record.left_out_more + len(record.headers) - len(own)
    if _estimate(*content, [*own, *(marked if missing else added)]) <= LARGEST_OUTPUT_BYTES:
        return _Fitted(key, value, own, f"{missing} headers left out" if missing else "")
    room = LARGEST_OUTPUT_BYTES - _estimate(None, None, marked) - 3 * _LENGTH_BYTES
    least_value = min(value, _LEAST_BYTES)
    headers, taken = _shortest(own, room - min(key, _LEAST_BYTES) - least_value)
    room -= taken
    key_kept = min(key, room - least_value)
    value_kept = min(value, room - key_kept)
    missing += len(own) - len(headers)
    said = (
        f"value of {value} bytes" if value_kept < value else "",
        f"key of {key} bytes" if key_kept < key else "",
        f"{missing} headers left out" if missing else "",
    )
    return _Fitted(key_kept, value_kept, headers, ", ".join(filter(None, said)))


def _estimate(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """Return an upper bound of the size of a batch with this one record; one near the limit is not compressed."""
    size: int = DefaultRecordBatchBuilder.estimate_size_in_bytes(key, value, list(headers))
    return size


def _shortest(headers: Headers, room: int) -> tuple[Headers, int]:
    """Return as many of the shortest headers as fit, in their order, and their size."""
    sizes = [len(name.encode()) + len(value or b"") + 2 * _LENGTH_BYTES for name, value in headers]
    taken, kept = 0, set[int]()
    for at in sorted(range(len(sizes)), key=sizes.__getitem__):
        if taken + sizes[at] > room:
            break
        taken += sizes[at]
        kept.add(at)
    return [header for at, header in enumerate(headers) if at in kept], taken


def slices(letters: Iterable[DeadLetter]) -> Iterator[tuple[int, list[DeadLetter]]]:
    """Yield slices of about 8 MiB with their sizes; a dead letter counts no more than what an output may have."""
    size, some = 0, list[DeadLetter]()
    for letter in letters:
        size += min(size_of(letter.record), LARGEST_OUTPUT_BYTES)
        some.append(letter)
        if size >= _SLICE_BYTES:
            yield size, some
            size, some = 0, []
    if some:
        yield size, some


class LetterOrigin(NamedTuple):
    """Where letters come from: the deployment, the log of the topic, and the epochs of partitions of transactions.

    `values` is what they keep of their records.
    """

    deployment: str = ""
    log: int = 0
    epochs: Mapping[int, int] = MappingProxyType({})
    values: Values = "none"


def to_records(letters: Iterable[DeadLetter], origin: LetterOrigin) -> list[Outgoing]:
    """Convert dead letters of one origin, in their order."""
    return [letter.to_record(origin) for letter in letters]


class Halt(NamedTuple):
    """Why a partition is halted: the last record of a run of dead letters; a skip of that offset ends it.

    `log` is the number of its log; from the offset `read_to` on the partition is not read.
    """

    topic: str
    partition: int
    offset: int
    code: DeadLetterCode
    log: int = 0
    read_to: int = 0

    def __str__(self) -> str:
        place = f"--topic {self.topic} --partition {self.partition} --offset {self.offset}"
        return (
            f"{MAX_RUN} dead letters in a row up to offset {self.offset}, the last {self.code}; see `fraudstream "
            f"dead-letters show {self.topic}:{self.partition}:{self.offset}`, fix the producer, then go on behind them "
            f"by `fraudstream dead-letters skip {place}`"
        )


@dataclass(slots=True)
class DeadLetterRuns:
    """The length of the current run by partition, and the halt of each partition that reached the limit.

    A partition that has `reached` it is halted once its batch is written: until then it is read again, if need be.
    `counted` is the last counted offset by partition, so that a record is counted once even if its batch is retried.
    """

    lengths: dict[int, int] = field(default_factory=dict)
    reached: dict[int, Halt] = field(default_factory=dict)
    halted: dict[int, Halt] = field(default_factory=dict)
    counted: dict[int, int] = field(default_factory=dict)

    def forget(self, partition: int) -> None:
        """Forget a partition's run: an operator lets it go on, or its next records are of another assignment or log."""
        for of_partition in (self.lengths, self.reached, self.halted, self.counted):
            of_partition.pop(partition, None)

    def written(self, partition: int, log: int, read_to: int) -> None:
        """Halt a partition whose run reached the limit: all its letters up to `read_to` of its log are written."""
        if (halt := self.reached.pop(partition, None)) is not None:
            self.halted[partition] = halt._replace(log=log, read_to=read_to)

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
            if letter is not None and backfill_mark(letter.record.headers) is not None:
                continue  # a file that is filled in again with other contents: no producer is to be stopped for it
            self.lengths[partition] = 0 if letter is None else self.lengths.get(partition, 0) + 1
            if letter is not None and self.lengths[partition] == MAX_RUN:
                self.reached[partition] = Halt(letter.record.topic, partition, letter.record.offset, letter.code)
