"""Why a record went to `dead-letters`: one enumeration, also in `docs/dead-letters.md`."""

from enum import StrEnum
from typing import NamedTuple


class DeadLetterCode(StrEnum):
    """The value of the header `error.code`."""

    EMPTY_VALUE = "empty_value"
    """No value, or none of any length."""
    NOT_JSON = "not_json"
    """The value is not UTF-8 JSON (NaN, lone surrogates and trailing bytes included)."""
    TOO_DEEP = "too_deep"
    """The JSON is nested deeper than the decoder goes."""
    NOT_AN_OBJECT = "not_an_object"
    """The JSON is no object."""
    UNSUPPORTED_SCHEMA = "unsupported_schema"
    """`schema` names a record or a version that is not read here."""
    UNSUPPORTED_KIND = "unsupported_kind"
    """`kind` has no meaning here."""
    MISSING_FIELD = "missing_field"
    """A required field is absent or null."""
    INVALID_FIELD = "invalid_field"
    """A required field has a wrong type or a value out of bounds."""
    UNKNOWN_CURRENCY = "unknown_currency"
    """`currency` is no ISO 4217 code with a minor unit."""
    CARD_NUMBER = "card_number"
    """An identifier holds a card number."""
    WRONG_KEY = "wrong_key"
    """The record's key is not its `card_id`."""
    IN_THE_FUTURE = "in_the_future"
    """`occurred_at` is later than the record's timestamp by more than the allowed skew."""
    TOO_LATE = "too_late"
    """Older than its card's horizon."""
    TRANSACTION_CONFLICT = "transaction_conflict"
    """A transaction of this card had the same id and other content."""
    UNDECIDABLE = "undecidable"
    """Nothing could decide it: an error of ours that holds to this one record."""


class Rejection(NamedTuple):
    """Why one record cannot be used; `detail` says which field, what it held and what is expected."""

    code: DeadLetterCode
    detail: str
