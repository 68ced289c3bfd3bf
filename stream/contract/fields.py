"""The types that fields share, and how one field is checked on its own."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, NamedTuple

import msgspec

from models.errors import InvalidTimeError
from models.times import Moment, parse_time_ms
from stream.contract.codes import DeadLetterCode, Rejection
from stream.contract.iso import COUNTRIES, CURRENCY_DECIMALS
from stream.redaction import holds_card_number

# `(?!\n)$`: Python's `$` alone also matches before a last newline; JSON Schema's does not mind the look-ahead.
Token = Annotated[
    str, msgspec.Meta(pattern=r"^[A-Za-z0-9._:@-]{1,64}(?!\n)$", description="a token, never a card number")
]
TransactionId = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
AmountMinor = Annotated[int, msgspec.Meta(ge=0, le=10**12, description="in the currency's minor unit")]
CurrencyCode = Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}(?!\n)$", description="ISO 4217, alphabetic")]
CountryCode = Annotated[str, msgspec.Meta(pattern="^[A-Z]{2}(?!\n)$", description="ISO 3166-1 alpha-2")]
CategoryCode = Annotated[str, msgspec.Meta(pattern="^[0-9]{4}(?!\n)$", description="merchant category code")]
Latitude = Annotated[float, msgspec.Meta(ge=-90, le=90, description="degrees north")]
Longitude = Annotated[float, msgspec.Meta(ge=-180, le=180, description="degrees east")]
Time = Annotated[
    int | str,
    msgspec.Meta(description="RFC 3339 with a zone, or integer epoch milliseconds; cut to whole milliseconds"),
]
TimeText = Annotated[str, msgspec.Meta(description="RFC 3339, UTC, three decimals")]


class Field(NamedTuple):
    """How one field is read: its type, whether a record can do without it, and what else must hold.

    `check` takes the converted value and returns None or what is wrong with it.
    """

    type: Any
    required: bool
    check: Callable[[Any], Rejection | None] = lambda _value: None


def known_currency(value: str) -> Rejection | None:
    """Refuse what is no currency with a minor unit."""
    if value in CURRENCY_DECIMALS:
        return None
    return Rejection(DeadLetterCode.UNKNOWN_CURRENCY, f"{value!r} is no ISO 4217 code with a minor unit")


def known_country(value: str) -> Rejection | None:
    """Refuse what is no officially assigned country code."""
    if value in COUNTRIES:
        return None
    return Rejection(DeadLetterCode.INVALID_FIELD, f"{value!r} is no ISO 3166-1 alpha-2 code")


def no_card_number(value: str) -> Rejection | None:
    """Refuse an identifier that holds a card number."""
    if holds_card_number(value):
        return Rejection(DeadLetterCode.CARD_NUMBER, "holds a card number; send a token instead")
    return None


def read_time(value: int | str) -> Moment | Rejection:
    """Read a moment between 1970 and 9999, or say why it is none."""
    try:
        moment = parse_time_ms(value)
    except InvalidTimeError as error:
        return Rejection(DeadLetterCode.INVALID_FIELD, str(error))
    if moment.epoch_ms < 0:
        return Rejection(DeadLetterCode.INVALID_FIELD, f"{value!r:.80} is before 1970")
    return moment


def well_formed_time(value: int | str) -> Rejection | None:
    """Refuse what is no moment between 1970 and 9999."""
    moment = read_time(value)
    return moment if isinstance(moment, Rejection) else None


def field_problem(name: str, field: Field, raw: Mapping[str, Any]) -> Rejection | None:
    """Say what is wrong with one field of a decoded object; None where nothing is, or where it may be absent."""
    value = raw.get(name)
    if value is None:
        return Rejection(DeadLetterCode.MISSING_FIELD, f"{name}: absent or null") if field.required else None
    try:
        converted = msgspec.convert(value, field.type)
    except msgspec.ValidationError as error:
        code = DeadLetterCode.UNKNOWN_CURRENCY if field.check is known_currency else DeadLetterCode.INVALID_FIELD
        return Rejection(code, f"{name}: {error}, got {value!r:.80}")
    problem = field.check(converted)
    return problem and Rejection(problem.code, f"{name}: {problem.detail}")


def decode_object(value: bytes | None) -> dict[str, Any] | Rejection:
    """Decode a record's value to a JSON object, or say why it is none."""
    if not value:
        return Rejection(DeadLetterCode.EMPTY_VALUE, "the record has no value; a JSON object is expected")
    try:
        raw = msgspec.json.decode(value)
    except RecursionError:
        return Rejection(DeadLetterCode.TOO_DEEP, "nested deeper than the decoder goes")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return Rejection(DeadLetterCode.NOT_JSON, f"not UTF-8 JSON: {error}")
    if not isinstance(raw, dict):
        return Rejection(DeadLetterCode.NOT_AN_OBJECT, f"a JSON object is expected, got {type(raw).__name__}")
    return raw


def schema_problem(raw: Mapping[str, Any], expected: str) -> Rejection | None:
    """Refuse a record that names another schema than the one read here."""
    named = raw.get("schema", expected)
    if named == expected:
        return None
    return Rejection(DeadLetterCode.UNSUPPORTED_SCHEMA, f"schema: {named!r:.80} where {expected!r} is read")


def key_problem(key: bytes | None, card_id: str) -> Rejection | None:
    """Refuse a record whose key is not its card, since it may lie on another partition than the card's others."""
    if key == card_id.encode():
        return None
    shown = "none" if key is None else repr(key[:80])
    return Rejection(DeadLetterCode.WRONG_KEY, f"the record's key must be its card_id {card_id!r}, got {shown}")
