"""Decode `transaction/1`: one decoder for clean records, field by field for the others.

All paths accept the same records; the slower ones explain a rejection in more detail.
"""

import hashlib
import re
from typing import Any, Literal, NamedTuple

import msgspec

from models.times import Moment, format_time
from stream.contract.codes import DeadLetterCode, Rejection
from stream.contract.fields import (
    ORDINARY_VALUE_BYTES,
    AmountMinor,
    CategoryCode,
    CountryCode,
    CurrencyCode,
    Field,
    KnownFields,
    Latitude,
    Longitude,
    RawRecord,
    Time,
    Token,
    TransactionId,
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
from stream.redaction import holds_card_number, shown

SCHEMA = "transaction/1"


class Transaction(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A card payment to decide."""

    schema: Literal["transaction/1"] = "transaction/1"
    transaction_id: TransactionId
    card_id: Token
    merchant_id: Token
    occurred_at: Time
    amount_minor: AmountMinor
    currency: CurrencyCode
    kind: Literal["authorization"] = "authorization"
    account_id: Token | None = None
    customer_id: Token | None = None
    device_id: Token | None = None
    mcc: CategoryCode | None = None
    channel: Literal["pos", "ecommerce", "moto", "atm"] | None = None
    merchant_country: CountryCode | None = None
    card_country: CountryCode | None = None
    latitude: Latitude | None = None
    longitude: Longitude | None = None
    merchant_amount_minor: AmountMinor | None = None
    merchant_currency: CurrencyCode | None = None


class ParsedTransaction(NamedTuple):
    """A valid transaction.

    `occurred_ms` and `utc_offset_minutes` are its time and the UTC offset of its text; `dropped` names invalid optional
    fields, `unknown` counts fields that the contract does not define, `content` hashes what a repetition must repeat.
    """

    transaction: Transaction
    occurred_ms: int
    utc_offset_minutes: int
    dropped: tuple[str, ...]
    unknown: int
    content: int


FIELDS: dict[str, Field] = {
    "transaction_id": Field(TransactionId, required=True),
    "card_id": Field(Token, required=True, no_card=True),
    "merchant_id": Field(Token, required=True, no_card=True),
    "occurred_at": Field(Time, required=True, check=well_formed_time),
    "amount_minor": Field(AmountMinor, required=True),
    "currency": Field(CurrencyCode, required=True, check=known_currency),
    "account_id": Field(Token, required=False, no_card=True),
    "customer_id": Field(Token, required=False, no_card=True),
    "device_id": Field(Token, required=False),
    "mcc": Field(CategoryCode, required=False),
    "channel": Field(Literal["pos", "ecommerce", "moto", "atm"], required=False),
    "merchant_country": Field(CountryCode, required=False, check=known_country),
    "card_country": Field(CountryCode, required=False, check=known_country),
    "latitude": Field(Latitude, required=False),
    "longitude": Field(Longitude, required=False),
    "merchant_amount_minor": Field(AmountMinor, required=False),
    "merchant_currency": Field(CurrencyCode, required=False, check=known_currency),
}
_KNOWN = KnownFields([*FIELDS, "schema", "kind"])
_LONG_RUN = re.compile(r"[0-9][0-9-]{12}")
_decode = msgspec.json.Decoder(Transaction).decode
_pack = msgspec.msgpack.Encoder().encode


def clock_problem(accepted: ParsedTransaction, latest_ms: int) -> Rejection | None:
    """Reject a transaction that is ahead of our own clock: brokers may accept timestamps of any time."""
    if accepted.occurred_ms <= latest_ms:
        return None
    ahead = accepted.occurred_ms - latest_ms
    detail = f"occurred_at: {format_time(accepted.occurred_ms)} is {ahead} ms later than this worker's clock permits"
    return Rejection(DeadLetterCode.AHEAD_OF_CLOCK, f"{detail}; set message.timestamp.after.max.ms on the topic")


def read_transaction(value: bytes | None, key: bytes | None, latest_ms: int) -> ParsedTransaction | Rejection:
    """Decode one record of the transactions topic.

    Args:
        value: the record's value.
        key: the record's key, which must be its `card_id`.
        latest_ms: the latest `occurred_at` allowed, in epoch milliseconds: the record's timestamp plus the skew.
    """
    if value is None or len(value) > ORDINARY_VALUE_BYTES:
        return _read_carefully(value, key, latest_ms)
    try:
        transaction = _decode(value)
        clean = _is_clean(transaction)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        clean = False
    if not clean:
        return _read_carefully(value, key, latest_ms)
    return _accept(transaction, key, latest_ms)


def _is_clean(transaction: Transaction) -> bool:
    """Check what the types cannot express: ISO codes and card numbers."""
    return (
        transaction.currency in CURRENCY_DECIMALS
        and (transaction.merchant_currency is None or transaction.merchant_currency in CURRENCY_DECIMALS)
        and (transaction.merchant_country is None or transaction.merchant_country in COUNTRIES)
        and (transaction.card_country is None or transaction.card_country in COUNTRIES)
        and not _holds_card_number(transaction)
    )


def _holds_card_number(transaction: Transaction) -> bool:
    """Search all identifiers at once, separated by dots; a quick test for long digit runs excludes nearly all."""
    text = f"{transaction.card_id}.{transaction.merchant_id}.{transaction.account_id}.{transaction.customer_id}"
    return _LONG_RUN.search(text) is not None and holds_card_number(text)


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
    return ParsedTransaction(transaction, *moment, dropped, unknown, _content(transaction, moment))


def _content(transaction: Transaction, moment: Moment) -> int:
    """Hash what a repeated transaction must repeat: every known field, with the time by its value."""
    packed = _pack((moment, msgspec.structs.replace(transaction, occurred_at=0)))
    return int.from_bytes(hashlib.blake2b(packed, digest_size=8).digest(), "little")


def _read_carefully(value: bytes | None, key: bytes | None, latest_ms: int) -> ParsedTransaction | Rejection:
    """Decode a record that is not clean: first without its unknown fields, which often are the only reason."""
    raw = decode_object(value, _KNOWN)
    if isinstance(raw, Rejection):
        return raw
    try:
        transaction = msgspec.convert(
            {name: value for name, value in raw.fields.items() if name in _KNOWN.names and value is not None},
            Transaction,
        )
        clean = _is_clean(transaction)
    except msgspec.ValidationError:
        clean = False
    if not clean:
        return _read_field_by_field(raw, key, latest_ms)
    return _accept(transaction, key, latest_ms, unknown=raw.unknown)


def _read_field_by_field(raw: RawRecord, key: bytes | None, latest_ms: int) -> ParsedTransaction | Rejection:
    problem = schema_problem(raw.fields, SCHEMA) or _kind_problem(raw.fields)
    if problem is not None:
        return problem
    kept = read_fields(FIELDS, raw.fields)
    if isinstance(kept, Rejection):
        return kept
    return _accept(msgspec.convert(kept.values, Transaction), key, latest_ms, kept.dropped, raw.unknown)


def _kind_problem(raw: dict[str, Any]) -> Rejection | None:
    kind = raw.get("kind")
    if kind in (None, "authorization"):
        return None
    return Rejection(DeadLetterCode.UNSUPPORTED_KIND, f"kind: {shown(kind)} is not supported, expected 'authorization'")
