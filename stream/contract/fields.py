"""The types that fields share, and how one field is checked on its own."""

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, NamedTuple

import msgspec

from models.errors import InvalidTimeError
from models.times import Moment, parse_time_ms
from stream.contract.codes import DeadLetterCode, Rejection
from stream.contract.iso import COUNTRIES, CURRENCY_DECIMALS
from stream.redaction import holds_card_number, shown

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

    `check` takes the converted value and returns None or what is wrong with it. A field that is `no_card` may hold no
    card number, of whatever type it is.
    """

    type: Any
    required: bool
    check: Callable[[Any], Rejection | None] = lambda _value: None
    no_card: bool = False


class FieldValues(NamedTuple):
    """The values of a record that can be used, as they came, and the names of its optional fields that cannot."""

    values: dict[str, Any]
    dropped: tuple[str, ...]


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


def read_time(value: int | str) -> Moment | Rejection:
    """Read a moment between 1970 and 9999, or say why it is none."""
    try:
        moment = parse_time_ms(value)
    except InvalidTimeError:
        expected = "is neither RFC 3339 with a zone, as in 2026-01-31T12:00:00.000Z, nor integer epoch milliseconds"
        return Rejection(DeadLetterCode.INVALID_FIELD, f"{shown(value)} {expected}, or no day of the calendar")
    if moment.epoch_ms < 0:
        return Rejection(DeadLetterCode.INVALID_FIELD, f"{shown(value)} is before 1970")
    return moment


def well_formed_time(value: int | str) -> Rejection | None:
    """Refuse what is no moment between 1970 and 9999."""
    moment = read_time(value)
    return moment if isinstance(moment, Rejection) else None


def read_fields(fields: Mapping[str, Field], raw: Mapping[str, Any]) -> FieldValues | Rejection:
    """Check each field of a decoded object on its own; null means absent.

    A record is refused for any fault of a required field and for a card number, which is named before all else;
    the detail tells all of these faults.
    """
    problems = {name: problem for name, field in fields.items() if (problem := _problem(name, field, raw.get(name)))}
    fatal = [
        problem
        for name, problem in problems.items()
        if fields[name].required or problem.code is DeadLetterCode.CARD_NUMBER
    ]
    if fatal:
        fatal.sort(key=lambda problem: problem.code is not DeadLetterCode.CARD_NUMBER)
        return Rejection(fatal[0].code, "; ".join(problem.detail for problem in fatal))
    values = {name: raw[name] for name in fields if name not in problems and raw.get(name) is not None}
    return FieldValues(values, tuple(problems))


def _problem(name: str, field: Field, value: object) -> Rejection | None:
    if value is None:
        return Rejection(DeadLetterCode.MISSING_FIELD, f"{name}: absent or null") if field.required else None
    if field.no_card and isinstance(value, str | int) and holds_card_number(str(value)):
        return Rejection(DeadLetterCode.CARD_NUMBER, f"{name}: holds a card number; send a token instead")
    try:
        converted = msgspec.convert(value, field.type)
    except msgspec.ValidationError as error:
        unknown = field.check is known_currency and isinstance(value, str)
        code = DeadLetterCode.UNKNOWN_CURRENCY if unknown else DeadLetterCode.INVALID_FIELD
        return Rejection(code, f"{name}: {error}, got {shown(value)}")
    problem = field.check(converted)
    return problem and Rejection(problem.code, f"{name}: {problem.detail}")


def decode_object(value: bytes | None) -> dict[str, Any] | Rejection:
    """Decode a record's value to a JSON object, or say why it is none."""
    if not value:
        return Rejection(DeadLetterCode.EMPTY_VALUE, "the record has no value; a JSON object is expected")
    try:
        raw = _decode_bounded(value)
    except RecursionError:
        return Rejection(DeadLetterCode.TOO_DEEP, f"nested deeper than {DEEPEST} levels")
    except msgspec.ValidationError as error:  # JSON, with an integer of more digits than Python reads
        return Rejection(DeadLetterCode.INVALID_FIELD, str(error))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return Rejection(DeadLetterCode.NOT_JSON, f"not UTF-8 JSON: {error}")
    if not isinstance(raw, dict):
        return Rejection(DeadLetterCode.NOT_AN_OBJECT, f"a JSON object is expected, got {type(raw).__name__}")
    return raw


DEEPEST = 500
"""How deep JSON may be nested. Where a decoder gives up differs with the version of Python; this does not."""

_TEXT_OR_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[\[{]|[\]}]', re.DOTALL)
"""A text without an end goes to the end, or each quote in it would be tried as a beginning: minutes for a megabyte."""


def _decode_bounded(value: bytes) -> Any:  # noqa: ANN401 - any JSON
    """Decode JSON that is not nested too deep; RecursionError where it is."""
    if _depth(value) > DEEPEST:
        raise RecursionError
    return _decode(value)


def _depth(value: bytes) -> int:
    """Return how deep JSON is nested, or less than DEEPEST where it cannot be deeper."""
    if value.count(b"[") + value.count(b"{") <= DEEPEST:
        return 0
    depth = deepest = 0
    for found in _TEXT_OR_BRACKET.finditer(value):
        sign = found[0][:1]
        depth += (sign in b"[{") - (sign in b"]}")
        deepest = max(deepest, depth)
    return deepest


_decode = msgspec.json.Decoder(float_hook=float).decode
"""With a hook, since without one a number such as 1e400 is taken for no JSON, even in a field that no one reads."""


def schema_problem(raw: Mapping[str, Any], expected: str) -> Rejection | None:
    """Refuse a record that names another schema than the one read here; null names none."""
    named = raw.get("schema")
    if named is None or named == expected:
        return None
    return Rejection(DeadLetterCode.UNSUPPORTED_SCHEMA, f"schema: {shown(named)} where {expected!r} is read")


def key_problem(key: bytes | None, card_id: str) -> Rejection | None:
    """Refuse a record whose key is not its card, since it may lie on another partition than the card's others."""
    if key == card_id.encode():
        return None
    got = "none" if key is None else shown(key)
    return Rejection(DeadLetterCode.WRONG_KEY, f"the record's key must be its card_id {card_id!r}, got {got}")
