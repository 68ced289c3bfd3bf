"""Decode a batch of records into columns and dead letters."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.history.records import HAS_PLACE, pack_place, pack_traits
from features.history.store import Transactions
from features.own_fields import OwnValues
from features.own_table import OwnTable
from fraudstream_client.validity import place_of
from stream.contract.attributes import FieldRules
from stream.contract.codes import DeadLetterCode, Rejection
from stream.contract.iso import CURRENCY_DECIMALS
from stream.contract.label import ParsedLabel, read_label
from stream.contract.prediction import ParsedPrediction, PredictionSource, read_prediction
from stream.contract.transaction import (
    BACKFILL_HEADER,
    ParsedTransaction,
    backfill_mark,
    clock_problem,
    read_accepted_transaction,
    read_transaction,
)
from stream.engine.batches import Record
from stream.engine.unpacking import LARGEST_HEADER_COUNT, LARGEST_NAMED, FetchedRecord, Headers
from stream.id_rules import NO_SHAPES, IdRules
from stream.kafka.topics import LARGEST_LEAD_MS
from stream.positions.dead_letters import DeadLetter
from stream.positions.letters import OWN_HEADERS
from stream.redaction import PASSED_AS_THEY_ARE, shorten

_LARGEST_HEADERS_BYTES = 1024 * 1024
"""Half of what an output may be as a whole; a score itself is a few kB."""
_LONGEST_NAME = 64
_MEANINGFUL = OWN_HEADERS | {BACKFILL_HEADER}
_NO_EXPONENT = 0
NO_FIELD_RULES = FieldRules()
_COLUMNS = 8
"""How many of a transaction's columns are int64."""


class AttributeCounts(NamedTuple):
    """How many payments had a valid value of each declared field, and each name that nobody declares.

    An empty name stands for those that are not told.
    """

    fields: Mapping[str, int] = MappingProxyType({})
    undeclared: Mapping[str, int] = MappingProxyType({})

    @classmethod
    def total(cls, some: Sequence["AttributeCounts"]) -> "AttributeCounts":
        """Return several together."""
        return cls(*(sum(map(Counter, each), Counter[str]()) for each in zip(*some, strict=True)))


NO_ATTRIBUTES = AttributeCounts()


@dataclass(frozen=True, slots=True)
class Decoded:
    """The transactions of a batch as records, values and columns, all in the same order, and the dead letters.

    `backfilled`, of shape (n,), tells which of them only fill the histories and get no decision. `undeclared` are the
    names of attributes that nobody declares, each as often as it came; empty for one that is not told.
    """

    records: Sequence[Record]
    accepted: Sequence[ParsedTransaction]
    columns: Transactions
    backfilled: NDArray[np.bool_]
    dead: Sequence[DeadLetter]
    undeclared: Sequence[str] = ()

    def among(self, which: NDArray[np.bool_]) -> "Decoded":
        """Return those of the transactions that are marked, with all dead letters."""
        numbers = np.flatnonzero(which)
        some, accepted = ([rows[at] for at in numbers.tolist()] for rows in (self.records, self.accepted))
        return Decoded(some, accepted, self.columns.at(numbers), self.backfilled[numbers], self.dead, self.undeclared)  # type: ignore[arg-type]

    def attribute_counts(self) -> AttributeCounts:
        """Count payments by their own fields."""
        own = self.columns.own
        if own is None and not self.undeclared:
            return NO_ATTRIBUTES
        fields = own.counts if type(own) is OwnTable else Counter(chain.from_iterable(own or ()))
        return AttributeCounts(fields, Counter(self.undeclared))

    def part(self, first: int, behind: int) -> "Decoded":
        """Return some of the transactions; the dead letters are with the first of them."""
        if not first and behind == len(self.records):
            return self
        columns, which = self.columns.first(behind).after(first), slice(first, behind)
        dead, names = ((), ()) if first else (self.dead, self.undeclared)
        return Decoded(self.records[which], self.accepted[which], columns, self.backfilled[which], dead, names)


SealProblem = Callable[[Record], str]
"""Says why the signature of an erasure does not count; empty if it does."""


def no_key_erases(_record: Record) -> str:
    """Refuse every erasure, for want of a key."""
    return "no key with the role erase is trusted here: FRAUDSTREAM_COMMAND_KEYS names a file of keys"


def decode(
    records: Sequence[Record],
    skew_ms: int,
    log: int = 0,
    now_ms: int | None = None,
    *,
    fields: FieldRules = NO_FIELD_RULES,
    is_accepted: Callable[[Record], bool] | None = None,
    seal_problem: SealProblem = no_key_erases,
) -> Decoded:
    """Decode each record of log `log`.

    `skew_ms` is how far a transaction may be ahead of its record's timestamp, and an hour more ahead of `now_ms`; None:
    the clock does not matter. `fields` say which ids are card numbers, and what is read of attributes. `is_accepted`
    tells which records were accepted before: of those, no clock, no setting and no rule refuses one now. None: no
    record was. `seal_problem` says what is wrong with the signature of an erasure.
    """
    latest_ms = None if now_ms is None else now_ms + skew_ms + LARGEST_LEAD_MS
    has_attributes = fields.reads
    kept, accepted, dead = [], [], []
    for record in records:
        if is_accepted is not None and is_accepted(record):
            read = _damage_of(record) or read_accepted_transaction(record.value)
        else:
            until_ms = record.timestamp + skew_ms
            read = _damage_of(record) or read_transaction(record.value, record.key, until_ms, fields.ids)
            if not isinstance(read, Rejection):
                late = None if latest_ms is None else clock_problem(read, latest_ms)
                unsealed = seal_problem(record) if read.erases else ""
                read = late or (Rejection(DeadLetterCode.UNSIGNED_ERASURE, unsealed) if unsealed else read)
        if isinstance(read, Rejection):
            dead.append(DeadLetter(record, read.code, read.detail))
        else:
            passable, left_out = without_impassable_headers(record)
            kept.append(passable)
            if left_out:
                read = read._replace(dropped=(*read.dropped, *left_out))
            has_attributes |= read.transaction.attributes is not None
            accepted.append(read)
    backfilled = np.array([bool(one.headers) and backfill_mark(one.headers) is not None for one in kept], np.bool_)
    if not has_attributes:
        return Decoded(kept, accepted, _columns(kept, accepted, log, None), backfilled, dead)
    own = fields.read_all([one.transaction for one in accepted])
    for at, names in own.dropped.items():
        accepted[at] = accepted[at]._replace(dropped=(*names, *accepted[at].dropped))
    columns = _columns(kept, accepted, log, own.values if fields.reads else None)
    return Decoded(kept, accepted, columns, backfilled, dead, own.undeclared)


def _damage_of(record: Record) -> Rejection | None:
    """Return why the record could not be unpacked; None if it could."""
    return Rejection(DeadLetterCode.UNREADABLE_RECORD, record.damage) if record.damage else None


def read_label_record(
    record: Record, log: int = 0, *, ids: IdRules = NO_SHAPES, accepted: bool = False
) -> ParsedLabel | Rejection:
    """Decode one record of log `log` of the labels topic; no later rule refuses one that was `accepted` before."""
    place = place_of(log, record.offset)
    return _damage_of(record) or read_label(record.value, record.key, (record.partition, place), ids, accepted=accepted)


def read_prediction_record(
    record: Record, skew_ms: int, log: int = 0, *, ids: IdRules = NO_SHAPES, accepted: bool = False
) -> ParsedPrediction | Rejection:
    """Decode one record of log `log` of the predictions topic; `skew_ms` as for `decode`, `accepted` as for a label."""
    source = PredictionSource(record.partition, place_of(log, record.offset), record.timestamp, skew_ms, accepted)
    return _damage_of(record) or read_prediction(record.value, record.key, source, ids)


def without_impassable_headers(record: Record) -> tuple[Record, tuple[str, ...]]:
    """Leave out headers that would make an output too large to pass on, the largest first, and misleading ones.

    Misleading are unknown backfill marks, and headers with which only a worker speaks to readers of scores.

    Returns the record, and the names of headers of the original that cannot be passed on: of the first
    `LARGEST_NAMED`, and how many more there are.
    """
    if not (record.headers or record.left_out or record.left_out_more):
        return record, ()
    headers = record.headers[:LARGEST_HEADER_COUNT]
    left_out = _too_large(headers) | _misleading(headers)
    more = record.headers[LARGEST_HEADER_COUNT:]
    count = len(record.left_out) + record.left_out_more + len(left_out) + len(more)
    if not count:
        return record, ()
    own = [*(headers[at] for at in sorted(left_out)), *more[:LARGEST_NAMED]]
    names = [*record.left_out, *(name for name, _ in own)][:LARGEST_NAMED]
    named = [f"headers.{shorten(name, _LONGEST_NAME)}" for name in names]
    unnamed = [f"headers: {count - len(names)} more"] if count > len(names) else []
    copy = FetchedRecord(
        record.topic,
        record.partition,
        record.offset,
        record.timestamp,
        record.timestamp_type,
        record.key,
        record.value,
        tuple(header for at, header in enumerate(headers) if at not in left_out),
    )
    return copy, (*named, *unnamed)


def _misleading(headers: Headers) -> set[int]:
    """Return which headers have a name of a worker's own, or that of a backfill's mark and are none.

    A payment with such a mark is decided. A worker's own would tell of a loss, or of late dead letters, in its name.
    """
    named = {at for at, (name, _) in enumerate(headers) if name in _MEANINGFUL}
    if named and backfill_mark(headers) is not None:
        return {at for at in named if headers[at][0] != BACKFILL_HEADER}
    return named


def _too_large(headers: Headers) -> set[int]:
    """Return which headers do not fit together with the others; identifiers of traces and messages are preferred."""
    sizes = [len(name.encode()) + len(value or b"") for name, value in headers]
    total, too_large = sum(sizes), set[int]()
    if total <= _LARGEST_HEADERS_BYTES:
        return too_large
    for at in sorted(range(len(sizes)), key=lambda at: (headers[at][0] in PASSED_AS_THEY_ARE, -sizes[at])):
        if total <= _LARGEST_HEADERS_BYTES:
            break
        total -= sizes[at]
        too_large.add(at)
    return too_large


def _columns(
    records: Sequence[Record], accepted: Sequence[ParsedTransaction], log: int, own: Sequence[OwnValues] | None
) -> Transactions:
    transactions = [one.transaction for one in accepted]
    numbers = [_numbers(record, parsed, log) for record, parsed in zip(records, accepted, strict=True)]
    erases = [one.erases for one in accepted]
    # In Fortran's order, so that each column is contiguous.
    occurred_ms, utc_offset_minutes, amount_minor, exponent, partition, offset, place, traits = (
        np.array(numbers, np.int64, order="F").reshape(-1, _COLUMNS, order="F").T
    )
    return Transactions(
        transaction_ids=[one.transaction_id for one in transactions],
        card_ids=[one.card_id for one in transactions],
        merchant_ids=[one.merchant_id for one in transactions],
        occurred_ms=occurred_ms,
        utc_offset_minutes=utc_offset_minutes,
        amount_minor=amount_minor,
        exponent=exponent,
        content=np.array([one.content for one in accepted], np.uint64),
        partition=partition,
        offset=offset,
        device_ids=[one.device_id for one in transactions],
        place=place,
        traits=traits,
        erases=erases if True in erases else None,
        own=own,
    )


def _numbers(record: Record, parsed: ParsedTransaction, log: int) -> tuple[int, int, int, int, int, int, int, int]:
    """Return the columns of one transaction that are int64, in the order in which `_columns` names them."""
    one, clock = parsed.transaction, parsed.utc_offset_minutes
    place, traits = 0, pack_traits(one.mcc, one.merchant_country, one.channel, clock, one.currency)
    if one.latitude is not None and one.longitude is not None:
        place, traits = pack_place(one.latitude, one.longitude), traits | (1 << HAS_PLACE.shift)
    exponent, offset = CURRENCY_DECIMALS.get(one.currency, _NO_EXPONENT), place_of(log, record.offset)
    return parsed.occurred_ms, clock, one.amount_minor, exponent, record.partition, offset, place, traits
