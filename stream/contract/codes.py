"""Why a record went to `dead-letters`; the table in `docs/reference/dead-letter-codes.md` is generated from it."""

from enum import StrEnum
from typing import NamedTuple


class DeadLetterCode(StrEnum):
    """The value of the header `error.code`."""

    UNREADABLE_RECORD = "unreadable_record"
    """The record's bytes do not follow Kafka's format; the value is the whole record as it came."""
    EMPTY_VALUE = "empty_value"
    """The value is absent or empty."""
    TOO_LARGE = "too_large"
    """The value is larger than 8 MiB, which a compressed record may be."""
    NOT_JSON = "not_json"
    """The value is not UTF-8 JSON (NaN, lone surrogates and trailing bytes included)."""
    TOO_DEEP = "too_deep"
    """The JSON is nested deeper than 500 levels."""
    NOT_AN_OBJECT = "not_an_object"
    """The JSON value is not an object."""
    UNSUPPORTED_SCHEMA = "unsupported_schema"
    """`schema` names a record or version that this topic does not support."""
    UNSUPPORTED_KIND = "unsupported_kind"
    """The transaction's `kind` is not supported."""
    UNSIGNED_ERASURE = "unsigned_erasure"
    """The erasure of a card is not signed by a key with the role `erase`."""
    MISSING_FIELD = "missing_field"
    """A required field is absent or null."""
    INVALID_FIELD = "invalid_field"
    """A required field has a wrong type or a value out of bounds."""
    UNKNOWN_CURRENCY = "unknown_currency"
    """`currency` is not an ISO 4217 code with a minor unit."""
    CARD_NUMBER = "card_number"
    """`card_id` or `merchant_id` is a card number, and of no declared shape."""
    WRONG_KEY = "wrong_key"
    """The record's key is not its `card_id`."""
    IN_THE_FUTURE = "in_the_future"
    """`occurred_at`, or a prediction's `computed_at`, is later than the record's timestamp by more than the allowed
    skew."""
    AHEAD_OF_CLOCK = "ahead_of_clock"
    """`occurred_at` is later than the worker's clock by more than an hour and the allowed skew, and the topic's brokers
    do not refuse such records."""
    TOO_LATE = "too_late"
    """The transaction is older than its card's horizon."""
    TRANSACTION_CONFLICT = "transaction_conflict"
    """An earlier transaction of this card has the same id and other content."""
    UNDECIDABLE = "undecidable"
    """An internal error on this one record alone: a label, a prediction, or a transaction that could not be appended to
    its histories. After an error later on, a transaction is decided by rules instead."""


UNREADABLE_EVER = frozenset(
    {
        DeadLetterCode.UNREADABLE_RECORD,
        DeadLetterCode.EMPTY_VALUE,
        DeadLetterCode.TOO_LARGE,
        DeadLetterCode.NOT_JSON,
        DeadLetterCode.TOO_DEEP,
        DeadLetterCode.NOT_AN_OBJECT,
        DeadLetterCode.MISSING_FIELD,
    }
)
"""In spite of these no record was ever accepted: they follow from its bytes, under every clock and all settings."""


class Rejection(NamedTuple):
    """Why a record was rejected; `detail` names the field, its value and what is expected."""

    code: DeadLetterCode
    detail: str
