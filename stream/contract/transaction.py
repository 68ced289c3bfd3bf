"""Decode `transaction/1`: one decoder for clean records, field by field for the others.

All paths accept the same records; the slower ones explain a rejection in more detail.
"""

import hashlib
import re
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import msgspec

from fraudstream_client.field_types import (
    AmountMinor,
    CategoryCode,
    CountryCode,
    CurrencyCode,
    Latitude,
    Longitude,
    Time,
    Token,
    TransactionId,
)
from fraudstream_client.inputs import Channel
from models.times import Moment, format_time
from stream.contract import erasure
from stream.contract.attributes import Attributes, attributes_problem, have_valid_names, well_formed_attributes
from stream.contract.codes import DeadLetterCode, Rejection
from stream.contract.fields import (
    ORDINARY_VALUE_BYTES,
    Field,
    KnownFields,
    RawRecord,
    decode_object,
    key_problem,
    known_country,
    known_currency,
    read_fields,
    read_time,
    schema_problem,
    well_formed_time,
)
from stream.contract.iso import COUNTRIES, CURRENCY_DECIMALS
from stream.id_rules import FIELDS as IDS
from stream.id_rules import NO_SHAPES, IdRules
from stream.redaction import shown

_Schema = Literal["transaction/1"]
SCHEMA: _Schema = get_args(_Schema)[0]
"""The object that a decoder returns: msgspec leaves a default out only if it is this very one, see `_content`."""
BACKFILL_HEADER = "fraudstream-backfill"
_MARK = re.compile(rb"([0-9a-f]{16}):(0|[1-9][0-9]{0,14})")

Headers = Sequence[tuple[str, bytes | None]]


class Transaction(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, gc=False):
    """The fields of a `TransactionRecord` as they are decoded.

    Its texts have no patterns, since msgspec calls `re` for each of them: `_is_clean` looks at all of them at once.
    """

    schema: _Schema = SCHEMA
    transaction_id: TransactionId
    card_id: str
    merchant_id: str
    occurred_at: Time
    amount_minor: AmountMinor
    currency: str
    kind: Literal["authorization"] = "authorization"
    account_id: str | None = None
    customer_id: str | None = None
    device_id: str | None = None
    mcc: str | None = None
    channel: Channel | None = None
    merchant_country: str | None = None
    card_country: str | None = None
    latitude: Latitude | None = None
    longitude: Longitude | None = None
    merchant_amount_minor: AmountMinor | None = None
    merchant_currency: str | None = None
    attributes: Attributes | None = None


class ParsedTransaction(NamedTuple):
    """A valid transaction, or with `erases` the erasure of its card up to its time, with the request as its id.

    `occurred_ms` and `utc_offset_minutes` are its time and the UTC offset of its text; `dropped` names invalid optional
    fields, `unknown` counts fields that the contract does not define, `content` hashes what a repetition must repeat.
    """

    transaction: Transaction
    occurred_ms: int
    utc_offset_minutes: int
    dropped: tuple[str, ...]
    unknown: int
    content: int
    erases: bool = False


FIELDS: dict[str, Field] = {
    "transaction_id": Field(TransactionId, required=True),
    "card_id": Field(Token, required=True, no_card=True),
    "merchant_id": Field(Token, required=True, no_card=True),
    "occurred_at": Field(Time, required=True, check=well_formed_time),
    "amount_minor": Field(AmountMinor, required=True),
    "currency": Field(CurrencyCode, required=True, check=known_currency),
    "account_id": Field(Token, required=False, no_card=True),
    "customer_id": Field(Token, required=False, no_card=True),
    "device_id": Field(Token, required=False, no_card=True),
    "mcc": Field(CategoryCode, required=False),
    "channel": Field(Channel, required=False),
    "merchant_country": Field(CountryCode, required=False, check=known_country),
    "card_country": Field(CountryCode, required=False, check=known_country),
    "latitude": Field(Latitude, required=False),
    "longitude": Field(Longitude, required=False),
    "merchant_amount_minor": Field(AmountMinor, required=False),
    "merchant_currency": Field(CurrencyCode, required=False, check=known_currency),
    "attributes": Field(Attributes, required=False, check=well_formed_attributes),
}
_KNOWN = KnownFields([*FIELDS, "schema", "kind"])
_ID_FORM = "[A-Za-z0-9._:@-]{1,64}+"
_NO_CARD = r"(?=[0-9._:@-]*+[A-Za-z]|[^/]{1,12}+(?:/|\Z))"
"""In front of a token: it has a letter, or at most 12 characters; no other is a card number."""
_TOKENS = re.compile(f"{_ID_FORM}(?:/{_ID_FORM}){{4}}")
"""Five tokens; the slash between them belongs to no token and to no card number."""
_CLEAN_TOKENS = re.compile(f"{_NO_CARD}{_ID_FORM}(?:/{_NO_CARD}{_ID_FORM}){{4}}")
"""Those of which none can be a card number: nearly all, so one expression decides both."""
_CATEGORY_DIGITS = 4
_ANY_TIME_MS = 1 << 62
_NO_CURRENCY = "XXX"
"""ISO 4217's code where there is none, with an erasure."""
_decode = msgspec.json.Decoder(Transaction).decode
_pack = msgspec.msgpack.Encoder().encode


def clock_problem(accepted: ParsedTransaction, latest_ms: int) -> Rejection | None:
    """Reject a transaction that is ahead of our own clock: brokers may accept timestamps of any time."""
    if accepted.occurred_ms <= latest_ms:
        return None
    ahead = accepted.occurred_ms - latest_ms
    detail = f"occurred_at: {format_time(accepted.occurred_ms)} is {ahead} ms later than this worker's clock permits"
    return Rejection(DeadLetterCode.AHEAD_OF_CLOCK, f"{detail}; set message.timestamp.after.max.ms on the topic")


def read_accepted_transaction(value: bytes | None) -> ParsedTransaction | Rejection:
    """Decode a record that a worker has accepted before: by no clock, no setting and no rule that came later.

    Rejected is only what cannot be computed with at all.
    """
    clean = _read_clean(value, None)
    if clean is not None:
        return _accept(clean, clean.card_id.encode(), _ANY_TIME_MS)
    raw = decode_object(value, _KNOWN)
    if isinstance(raw, Rejection):
        return raw
    if raw.fields.get("kind") == erasure.KIND:
        return _erasure(value, None, None)
    kept = read_fields(FIELDS, raw.fields, accepted=True)
    if isinstance(kept, Rejection):
        return kept
    try:
        transaction = msgspec.convert(kept.values, Transaction)
    except msgspec.ValidationError:  # a text's form has changed since
        transaction = Transaction(**kept.values)
    key = transaction.card_id.encode("utf-8", "surrogatepass")
    return _accept(transaction, key, _ANY_TIME_MS, kept.dropped, raw.unknown)


def read_transaction(
    value: bytes | None, key: bytes | None, latest_ms: int, ids: IdRules = NO_SHAPES
) -> ParsedTransaction | Rejection:
    """Decode one record of the transactions topic.

    Args:
        value: the record's value.
        key: the record's key, which must be its `card_id`.
        latest_ms: the latest `occurred_at` allowed, in epoch milliseconds: the record's timestamp plus the skew.
        ids: which ids are card numbers.
    """
    clean = _read_clean(value, ids)
    return _read_carefully(value, key, latest_ms, ids) if clean is None else _accept(clean, key, latest_ms)


def _read_clean(value: bytes | None, ids: IdRules | None) -> Transaction | None:
    """Decode an ordinary record without a fault; None if it is none. Without rules no id is a card number."""
    if value is None or len(value) > ORDINARY_VALUE_BYTES:
        return None
    try:
        transaction = _decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return transaction if _is_clean(transaction, ids) else None


def _is_clean(one: Transaction, ids: IdRules | None) -> bool:
    """Check what the types leave out: the forms of texts, ISO codes and card numbers.

    How many bytes attributes have is not checked: an ordinary record has no more than they may have.
    """
    return (
        one.currency in CURRENCY_DECIMALS
        and (one.merchant_country is None or one.merchant_country in COUNTRIES)
        and (one.card_country is None or one.card_country in COUNTRIES)
        and (one.merchant_currency is None or one.merchant_currency in CURRENCY_DECIMALS)
        and (one.attributes is None or have_valid_names(one.attributes))
        and (one.mcc is None or (len(one.mcc) == _CATEGORY_DIGITS and one.mcc.isascii() and one.mcc.isdigit()))
        and _are_clean_tokens(one, ids)
    )


def _are_clean_tokens(one: Transaction, ids: IdRules | None) -> bool:
    """Check all identifiers at once: absent ones read "None", which is a token."""
    text = f"{one.card_id}/{one.merchant_id}/{one.account_id}/{one.customer_id}/{one.device_id}"
    if _CLEAN_TOKENS.fullmatch(text) is not None:
        return True
    if _TOKENS.fullmatch(text) is None:
        return False
    if ids is None:
        return True
    named = {name: str(getattr(one, name)) for name in IDS}
    return not any(ids.refuses(name, value, {"occurred_at": one.occurred_at}) for name, value in named.items())


def _accept(
    transaction: Transaction, key: bytes | None, latest_ms: int, dropped: tuple[str, ...] = (), unknown: int = 0
) -> ParsedTransaction | Rejection:
    moment = read_time(transaction.occurred_at)
    if isinstance(moment, Rejection):
        return Rejection(moment.code, f"occurred_at: {moment.detail}")
    problem = key_problem(key, transaction.card_id)
    if problem is not None:
        return problem
    if moment.epoch_ms > latest_ms:
        return Rejection(
            DeadLetterCode.IN_THE_FUTURE,
            f"occurred_at: {format_time(moment.epoch_ms)} is {moment.epoch_ms - latest_ms} ms later than the record's "
            "timestamp and the allowed skew permit",
        )
    content = _content(transaction, moment)
    return ParsedTransaction(transaction, moment.epoch_ms, moment.utc_offset_minutes, dropped, unknown, content)


def _content(transaction: Transaction, moment: Moment) -> int:
    """Hash what a repeated transaction must repeat: all known fields but attributes, the time by its value."""
    packed = _pack((moment, msgspec.structs.replace(transaction, occurred_at=0, attributes=None)))
    return int.from_bytes(hashlib.blake2b(packed, digest_size=8).digest(), "little")


def _read_carefully(
    value: bytes | None, key: bytes | None, latest_ms: int, ids: IdRules
) -> ParsedTransaction | Rejection:
    """Decode a record that is not clean: first without its unknown fields, which often are the only reason."""
    raw = decode_object(value, _KNOWN)
    if isinstance(raw, Rejection):
        return raw
    if raw.fields.get("kind") == erasure.KIND:
        return _erasure(value, key, latest_ms)
    try:
        transaction = msgspec.convert(
            {name: value for name, value in raw.fields.items() if name in _KNOWN.names and value is not None},
            Transaction,
        )
        is_bounded = transaction.attributes is None or not attributes_problem(transaction.attributes)
        clean = is_bounded and _is_clean(transaction, ids)
    except msgspec.ValidationError:
        clean = False
    if not clean:
        return _read_field_by_field(raw, key, latest_ms, ids)
    return _accept(transaction, key, latest_ms, unknown=raw.unknown)


def _erasure(value: bytes | None, key: bytes | None, latest_ms: int | None) -> ParsedTransaction | Rejection:
    """Decode an erasure, which takes the place of a transaction in the order of its card's records."""
    read = erasure.read_erasure(value, key, latest_ms)
    if isinstance(read, Rejection):
        return read
    placed = Transaction(
        transaction_id=read.request_id,
        card_id=read.card_id,
        merchant_id="",
        occurred_at=read.erased_ms,
        amount_minor=0,
        currency=_NO_CURRENCY,
    )
    return ParsedTransaction(placed, read.erased_ms, 0, (), 0, 0, erases=True)


def _read_field_by_field(
    raw: RawRecord, key: bytes | None, latest_ms: int, ids: IdRules
) -> ParsedTransaction | Rejection:
    problem = schema_problem(raw.fields, SCHEMA) or _kind_problem(raw.fields)
    if problem is not None:
        return problem
    kept = read_fields(FIELDS, raw.fields, ids)
    if isinstance(kept, Rejection):
        return kept
    return _accept(msgspec.convert(kept.values, Transaction), key, latest_ms, kept.dropped, raw.unknown)


def _kind_problem(raw: dict[str, Any]) -> Rejection | None:
    kind = raw.get("kind")
    if kind in (None, "authorization"):
        return None
    what = f"kind: {shown(kind)} is not supported, expected 'authorization' or '{erasure.KIND}'"
    return Rejection(DeadLetterCode.UNSUPPORTED_KIND, what)


class BackfillMark(NamedTuple):
    """Which backfill a record belongs to (16 hexadecimal digits), and its number there, from 0; the header says it.

    Such records only fill the histories: a worker applies these payments and never decides them. `fraudstream backfill`
    writes them, and one that was cut off goes on where it ended.
    """

    backfill: str
    number: int

    def header(self) -> tuple[str, bytes]:
        """Return the header of such a record."""
        return BACKFILL_HEADER, f"{self.backfill}:{self.number}".encode()


def backfill_mark(headers: Headers) -> BackfillMark | None:
    """Return the mark of a record; None if it has none, or one that no backfill has written.

    A record with a header that is not understood is a payment like any other: it must not stay without a decision.
    """
    values = [value for name, value in headers if name == BACKFILL_HEADER]
    if len(values) != 1:
        return None
    found = _MARK.fullmatch(values[0] or b"")
    return None if found is None else BackfillMark(found[1].decode(), int(found[2]))
