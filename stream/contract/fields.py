"""Field types shared by the input records, and their validation field by field."""

import math
import re
from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any, NamedTuple, get_args, get_origin

import msgspec
import numpy as np

from models.errors import InvalidTimeError
from models.expected import expected
from models.times import Moment, parse_time_ms
from stream.contract.codes import DeadLetterCode, Rejection
from stream.contract.iso import COUNTRIES, CURRENCY_DECIMALS
from stream.id_rules import NO_SHAPES, IdRules
from stream.redaction import shown

DEEPEST = 500
"""The deepest accepted nesting of JSON; decoders' own limits differ between Python versions."""

LARGEST_VALUE_BYTES = 8 * 1024 * 1024
"""The largest value that is decoded: Kafka's own limit, 1 MiB, is for compressed records, which unpack to any size."""

ORDINARY_VALUE_BYTES = 16 * 1024
"""A value up to this size is decoded as a whole. Unknown fields of a larger one are checked to be JSON and skipped: as
lists of lists they would take forty times their bytes of memory, and much of the garbage collector's time.
"""

ATTRIBUTES = "attributes"
LARGEST_ATTRIBUTES_BYTES = 128 * 1024
"""Of `attributes` in JSON, whose texts may be escaped and whose numbers may be long."""

MOST_COUNTED = 10_000
"""If a large value may have more members, its unknown fields count as so many."""

_STEPS = np.zeros(256, np.int8)
_STEPS[list(b"[{")], _STEPS[list(b"]}")] = 1, -1
"""By how much a byte outside of strings changes the nesting depth."""
_NO_MARKS = bytes(set(range(256)) - set(b'"[]{}'))
_TEXT = re.compile(rb'"[^"]*"')

_decode = msgspec.json.Decoder(float_hook=float).decode
"""The hook makes 1e400 an infinity: without it such a number would be invalid JSON, even in a field that is ignored."""
_divide = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_check = msgspec.json.Decoder(msgspec.Raw).decode


class Field(NamedTuple):
    """How one field is validated: its type, whether it is required, and further conditions.

    `check` takes the converted value and returns None or the problem. With `no_card`, the value must not contain a card
    number, whatever its type, in its first characters.
    """

    type: Any
    required: bool
    check: Callable[[Any], Rejection | None] = lambda _value: None
    no_card: bool = False

    @property
    def is_text(self) -> bool:
        """Whether it is required, and a text will do."""
        kind = get_args(self.type)[0] if get_origin(self.type) is Annotated else self.type
        return self.required and (kind is str or str in get_args(kind))


class RawRecord(NamedTuple):
    """A record's decoded fields, all or the known ones, and the number of unknown ones."""

    fields: dict[str, Any]
    unknown: int


class KnownFields:
    """The names of the fields of a record that are read, and a decoder that skips all others."""

    def __init__(self, names: Collection[str]) -> None:
        self.names = frozenset(names)
        fields = [(name, msgspec.Raw | msgspec.UnsetType, msgspec.UNSET) for name in self.names]
        self._decode = msgspec.json.Decoder(msgspec.defstruct("Known", fields)).decode

    def of(self, value: bytes) -> RawRecord:
        """Decode the known fields of a JSON object; arrays and objects as empty ones, but for `attributes`.

        Raises:
            msgspec.DecodeError: it is not a JSON object.
        """
        if value.count(b":") > MOST_COUNTED:
            found = msgspec.structs.asdict(self._decode(value))
            raws = {name: raw for name, raw in found.items() if raw is not msgspec.UNSET}
            return RawRecord(_decode_fields(raws), MOST_COUNTED)
        raws = _divide(value)
        known = {name: raw for name, raw in raws.items() if name in self.names}
        return RawRecord(_decode_fields(known), len(raws) - len(known))


class FieldValues(NamedTuple):
    """The valid values of a record, unconverted, and the names of its invalid optional fields."""

    values: dict[str, Any]
    dropped: tuple[str, ...]


def known_currency(value: str) -> Rejection | None:
    """Reject a code that is not a currency with a minor unit."""
    if value in CURRENCY_DECIMALS:
        return None
    return Rejection(DeadLetterCode.UNKNOWN_CURRENCY, f"{value!r} is not an ISO 4217 code with a minor unit")


def known_country(value: str) -> Rejection | None:
    """Reject a code that is not an officially assigned country code."""
    if value in COUNTRIES:
        return None
    return Rejection(DeadLetterCode.INVALID_FIELD, f"{value!r} is not an ISO 3166-1 alpha-2 code")


def read_time(value: int | str) -> Moment | Rejection:
    """Parse a time between 1970 and 9999, or return why it is invalid."""
    try:
        moment = parse_time_ms(value)
    except InvalidTimeError:
        expected = "is neither RFC 3339 with a zone, as in 2026-01-31T12:00:00.000Z, nor integer epoch milliseconds"
        return Rejection(DeadLetterCode.INVALID_FIELD, f"{shown(value)} {expected}, or is not a valid date")
    if moment.epoch_ms < 0:
        return Rejection(DeadLetterCode.INVALID_FIELD, f"{shown(value)} is before 1970")
    return moment


def well_formed_time(value: int | str) -> Rejection | None:
    """Reject a value that is not a time between 1970 and 9999."""
    moment = read_time(value)
    return moment if isinstance(moment, Rejection) else None


def read_fields(
    fields: Mapping[str, Field], raw: Mapping[str, Any], ids: IdRules = NO_SHAPES, *, accepted: bool = False
) -> FieldValues | Rejection:
    """Validate each field of a decoded object on its own; null means absent.

    A record is rejected for every fault of a required field, of which the code of a card number takes precedence; the
    detail lists all of them. Other fields with a fault, card numbers among them, are dropped. One that was `accepted`
    before is rejected only for what cannot be computed with.
    """
    found = {name: _problem(name, field, raw, ids, accepted=accepted) for name, field in fields.items()}
    problems = {name: problem for name, problem in found.items() if problem is not None}
    fatal = [problem for name, problem in problems.items() if fields[name].required]
    if fatal:
        fatal.sort(key=lambda problem: problem.code is not DeadLetterCode.CARD_NUMBER)
        return Rejection(fatal[0].code, "; ".join(problem.detail for problem in fatal))
    values = {name: raw[name] for name in fields if name not in problems and raw.get(name) is not None}
    return FieldValues(values, tuple(problems))


def _problem(name: str, field: Field, raw: Mapping[str, Any], ids: IdRules, *, accepted: bool) -> Rejection | None:
    value = raw.get(name)
    if value is None:
        return Rejection(DeadLetterCode.MISSING_FIELD, f"{name}: absent or null") if field.required else None
    if accepted and field.is_text and isinstance(value, str) and value:
        return field.check(value)  # the form of a text may have been another when it was accepted
    if field.no_card and not accepted and isinstance(value, str | int) and ids.refuses(name, str(value), raw):
        detail = "is a card number; send a token instead, or declare the form of yours in FRAUDSTREAM_ID_SHAPES"
        return Rejection(DeadLetterCode.CARD_NUMBER, f"{name}: {detail}")
    try:
        converted = msgspec.convert(value, field.type)
    except msgspec.ValidationError:
        unknown = field.check is known_currency and isinstance(value, str)
        code = DeadLetterCode.UNKNOWN_CURRENCY if unknown else DeadLetterCode.INVALID_FIELD
        return Rejection(code, f"{name}: expected {expected(field.type)}, got {shown(value)}")
    problem = field.check(converted)
    return problem and Rejection(problem.code, f"{name}: {problem.detail}")


def decode_object(value: bytes | None, known: KnownFields) -> RawRecord | Rejection:
    """Decode a record's value as a JSON object, or return why it is not one; its length is checked first."""
    problem = _size_problem(value)
    if problem is not None:
        return problem
    try:
        return _decode_bounded(value or b"", known)
    except RecursionError:
        return Rejection(DeadLetterCode.TOO_DEEP, f"nested deeper than {DEEPEST} levels")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if isinstance(error, msgspec.ValidationError):  # valid JSON, an integer has more digits than Python converts
            return Rejection(DeadLetterCode.INVALID_FIELD, str(error))
        return Rejection(DeadLetterCode.NOT_JSON, f"not UTF-8 JSON: {error}")


def _size_problem(value: bytes | None) -> Rejection | None:
    if not value:
        return Rejection(DeadLetterCode.EMPTY_VALUE, "the record has no value; a JSON object is expected")
    if len(value) > LARGEST_VALUE_BYTES:
        return Rejection(DeadLetterCode.TOO_LARGE, f"{len(value)} bytes, more than {LARGEST_VALUE_BYTES}")
    return None


def _decode_bounded(value: bytes, known: KnownFields) -> RawRecord | Rejection:
    """Decode JSON, or only the known fields of a large object; raise RecursionError if it is nested too deep."""
    if _depth(value) > DEEPEST:
        raise RecursionError
    if len(value) <= ORDINARY_VALUE_BYTES:
        try:
            raw = _decode(value)
        except msgspec.ValidationError:  # an integer has too many digits, perhaps in a field that is ignored
            return _decode_known(value, known)
        if isinstance(raw, dict):
            return RawRecord(raw, sum(name not in known.names for name in raw))
        return _not_an_object(raw)
    return _decode_known(value, known)


def _decode_known(value: bytes, known: KnownFields) -> RawRecord | Rejection:
    if not value.isascii():
        str(value, "utf-8")  # what is skipped is not checked for this
    beginning = value.lstrip()[:1]
    if beginning == b"{":
        return known.of(value)
    _check(value)
    return _not_an_object([] if beginning == b"[" else _decode(value))


def _not_an_object(raw: object) -> Rejection:
    return Rejection(DeadLetterCode.NOT_AN_OBJECT, f"a JSON object is expected, got {type(raw).__name__}")


def _decode_fields(raws: Mapping[str, msgspec.Raw]) -> dict[str, Any]:
    return {name: _decode_field(name, bytes(raw)) for name, raw in raws.items()}


def _decode_field(name: str, value: bytes) -> Any:  # noqa: ANN401 - any JSON
    match value[:1]:
        case b"[":
            return []
        case b"{":
            return _decode_attributes(value) if name == ATTRIBUTES else {}
    try:
        return _decode(value)
    except msgspec.ValidationError:  # an integer with more digits than Python converts
        return math.copysign(math.inf, -1 if value.startswith(b"-") else 1)


def _decode_attributes(value: bytes) -> Any:  # noqa: ANN401 - an object, or what is none
    """Decode the one field that is an object; one that is too large is none."""
    if len(value) > LARGEST_ATTRIBUTES_BYTES:
        return []
    try:
        return _decode(value)
    except msgspec.ValidationError:
        return []


def _depth(value: bytes) -> int:
    """Return the nesting depth of JSON; 0 if the number of brackets cannot exceed DEEPEST.

    Of text that is not JSON, the depth of its beginning that could be JSON is counted: no decoder reads further.
    """
    if value.count(b"[") + value.count(b"{") <= DEEPEST:
        return 0
    marks = value.replace(rb"\\", b"").replace(rb"\"", b"").translate(None, _NO_MARKS).replace(b'""', b"")
    outside_texts = _TEXT.sub(b"", marks).partition(b'"')[0]
    return int(np.cumsum(_STEPS[np.frombuffer(outside_texts, np.uint8)], dtype=np.int32).max(initial=0))


def schema_problem(raw: Mapping[str, Any], expected: str) -> Rejection | None:
    """Reject a record that names another schema than the expected one; null means none is named."""
    named = raw.get("schema")
    if named is None or named == expected:
        return None
    return Rejection(
        DeadLetterCode.UNSUPPORTED_SCHEMA, f"schema: {shown(named)} is not supported, expected {expected!r}"
    )


def key_problem(key: bytes | None, card_id: str) -> Rejection | None:
    """Reject a record whose key is not its `card_id`: it may be on another partition than the card's other records."""
    if key == card_id.encode():
        return None
    got = "none" if key is None else shown(key)
    return Rejection(DeadLetterCode.WRONG_KEY, f"the record's key must be its card_id {card_id!r}, got {got}")
