"""Which ids are refused since they are card numbers, and which are accepted since they have a declared shape.

Only the whole of an id is looked at: of random tokens of 16 digits every fifth holds a card number somewhere, and an id
that is refused is a card that is never decided. So an id that has a letter beside its separators is never refused. A
category is a text: each run of digits in it is looked at as an id is, whatever divides them but letters.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

from fraudstream_client.field_types import ATTRIBUTE_NAME
from models.errors import InvalidTimeError
from models.times import parse_time_ms
from stream.card_search import LONGEST, SHORTEST, is_range_number

_BETWEEN = re.compile(r"[ ._:@-]+")
"""What may stand between the digits: all that a token may have beside letters and digits, and a space."""
_DIGITS_ALONE = re.compile(r"[0-9 ._:@-]+")
_SECURITY_CODE = re.compile(r"[ ._:@-]([0-9]{3,4})[ ._:@-]*\Z")
"""A card verification value at the end of an id, behind a separator."""
_RUN = re.compile(r"\d[\W\d_]*\d")
_NO_DIGITS = re.compile(r"\D+")
_YEARS = 10
_CACHED_TEXTS = 4_096
_TIMES = ("occurred_at", "labelled_at", "computed_at")
LONGEST_ID = 64
"""The most characters of an id: a longer one is invalid, and used nowhere."""

Shape = Callable[[str], object]
"""Returns something true for an id that has it."""

_NAMED: Mapping[str, Shape] = {
    "uuid": re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}").fullmatch,
    "hex32": re.compile(r"[0-9A-Fa-f]{32}").fullmatch,
    "hex64": re.compile(r"[0-9A-Fa-f]{64}").fullmatch,
    "ulid": re.compile(r"[0-7][0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{25}").fullmatch,
    "base32": re.compile(r"[A-Z2-7]{16,64}").fullmatch,
}
FORMS = "uuid, hex32, hex64, ulid, base32, prefixed:TEXT or digits:N"
FIELDS = ("card_id", "merchant_id", "account_id", "customer_id", "device_id")
"""The ids that a shape can be declared for, beside declared categories and tokens as `attributes.NAME`."""
_SHAPED = f"{', '.join(FIELDS)} or attributes.NAME"
_ATTRIBUTE = re.compile(rf"attributes\.{ATTRIBUTE_NAME}")


class IdRules(NamedTuple):
    """The declared shapes by field; without any, an id is refused by its digits alone."""

    shapes: Mapping[str, Sequence[Shape]] = MappingProxyType({})

    def refuses(self, field: str, text: str, record: Mapping[str, Any]) -> bool:
        """Tell whether an id may not be kept: it has no declared shape, and the whole of it is a card number.

        An expiry lies within the ten years from the time in the record, so no clock matters.
        """
        if len(text) > LONGEST_ID or _DIGITS_ALONE.fullmatch(text) is None:
            return False
        return not any(shape(text) for shape in self.shapes.get(field, ())) and is_card_number(text, _year(record))

    def refuses_text(self, field: str, text: str, record: Mapping[str, Any]) -> bool:
        """Tell whether a category may not be kept: it has no declared shape, and a card number stands in it.

        Not in the midst of more digits, as in an id.
        """
        runs = long_runs(text)
        if not runs or any(shape(text) for shape in self.shapes.get(field, ())):
            return False
        year = _year(record)
        return any(is_card_number(_as_id(run), year) for run in runs)


NO_SHAPES = IdRules()


@lru_cache(maxsize=_CACHED_TEXTS)
def long_runs(text: str) -> Sequence[str]:
    """Return the runs of digits, with what may stand between them, that are long enough for a card number."""
    return [run for run in _RUN.findall(text) if sum(map(str.isdigit, run)) >= SHORTEST]


def _as_id(run: str) -> str:
    """Return a run of digits, of whatever script, in ASCII and with dashes between them."""
    return _NO_DIGITS.sub("-", "".join(str(unicodedata.digit(one)) if one.isdigit() else one for one in run))


def _year(record: Mapping[str, Any]) -> int:
    """Return the year of a record; of one without a valid time, which is refused anyway, any."""
    stated = next((time for name in _TIMES if (time := record.get(name)) is not None), 0)
    try:
        return datetime.fromtimestamp(parse_time_ms(stated).epoch_ms / 1000, UTC).year
    except (InvalidTimeError, OverflowError, ValueError, OSError):
        return 0


def is_card_number(text: str, year: int) -> bool:
    """Tell whether the whole of an id is a card number: alone, with an expiry, with a separated verification value."""
    digits = _BETWEEN.sub("", text).lstrip("0")
    if _is_number_or_has_expiry(digits, year):
        return True
    code = _SECURITY_CODE.search(text)
    return code is not None and _is_number_or_has_expiry(digits[: -len(code[1])], year)


def _is_number_or_has_expiry(digits: str, year: int) -> bool:
    return is_range_number(digits) or any(
        is_range_number(digits[:-length]) and _is_expiry(digits[-length:], year)
        for length in (4, 6)
        if SHORTEST + length <= len(digits) <= LONGEST + length
    )


def _is_expiry(digits: str, year: int) -> bool:
    """Tell whether digits are a month and a year, of two or four digits, of the next ten years."""
    month, of_year = digits[:2], digits[2:]
    return "01" <= month <= "12" and any(str(one).endswith(of_year) for one in range(year, year + _YEARS + 1))


def read_shapes(text: str) -> IdRules:
    """Read `FIELD=SHAPE` separated by commas; a field may stand in it more than once.

    Raises:
        ValueError: says which entry cannot be used; it may hold anything, so it is not quoted.
    """
    shapes: dict[str, list[Shape]] = {}
    for number, part in enumerate((one.strip() for one in text.split(",") if one.strip()), 1):
        field, _, form = part.partition("=")
        shape = _shape(form)
        if (field not in FIELDS and _ATTRIBUTE.fullmatch(field) is None) or shape is None:
            raise ValueError(f"entry {number}: expected FIELD=SHAPE, with one of {_SHAPED}, and {FORMS}")
        shapes.setdefault(field, []).append(shape)
    return IdRules(shapes)


def _shape(form: str) -> Shape | None:
    kind, _, detail = form.partition(":")
    if form in _NAMED:
        return _NAMED[form]
    if kind == "prefixed" and detail:
        return lambda text: text.startswith(detail) and len(text) > len(detail)
    if kind == "digits" and detail.isdecimal() and detail.isascii() and 1 <= int(detail) <= LONGEST_ID:
        return re.compile(rf"[0-9]{{{int(detail)}}}").fullmatch
    return None


def common_shapes(text: str) -> frozenset[str]:
    """Return the forms of an id that could be declared for it, all but a prefix."""
    found = {name for name, shape in _NAMED.items() if shape(text)}
    return frozenset(found | {f"digits:{len(text)}"} if text.isdecimal() and text.isascii() else found)


@lru_cache(maxsize=8)
def declared_ids(text: str) -> IdRules:
    """Return the rules of a setting that was read before, as `read_shapes` does."""
    return read_shapes(text)
