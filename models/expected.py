"""Say in words what a field or a setting takes, so that no message shows a regular expression.

msgspec's own messages quote a text's pattern. A type with a pattern therefore states its form in words beside it, and
messages are made from those words.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any

from msgspec import inspect

from fraudstream_client.field_types import EXPECTED

_SMALLEST_UNQUOTED = 10**20
LONGEST_QUOTATION = 200
"""A text of an unreadable record that is longer is not quoted: the answer would be too large for its topic."""
_BOUNDS = (("ge", "at least"), ("gt", "above"), ("le", "at most"), ("lt", "below"))
_KINDS: dict[type[inspect.Type], str] = {
    inspect.BoolType: "true or false",
    inspect.IntType: "an integer",
    inspect.FloatType: "a number",
    inspect.StrType: "a text",
    inspect.DictType: "an object",
    inspect.ListType: "a list",
}


@cache
def expected(kind: Any) -> str:  # noqa: ANN401 - a type, or what annotates one
    """Return what a type takes, as the end of "expected …": "an integer from 1 to 10" or "one of wait, degrade"."""
    return _words(inspect.type_info(kind))


def without_pattern(error: Exception) -> str:
    """Return the message of an error of decoding a whole record, without the pattern that a text in it must match."""
    before, found, rest = str(error).partition(" matching regex ")
    return f"{before} of another form{''.join(rest.rpartition(' - at ')[1:])}" if found else before


def explained(error: Exception) -> str:
    """Return an error's message, but not a long one: it quotes what was read, and half of it may hide a card number."""
    message = without_pattern(error)
    return message if len(message) <= LONGEST_QUOTATION else f"{len(message)} characters that are not allowed"


def quoted(value: object) -> str:
    """Quote a short text or a number, or say what else it is: `repr` of a deeply nested value raises."""
    match value:
        case bool() | float():
            return str(value)
        case int():
            return str(value) if abs(value) < _SMALLEST_UNQUOTED else "a larger number"
        case str():
            return repr(value) if len(value) <= LONGEST_QUOTATION else f"{len(value)} characters"
        case dict():
            return "an object"
    return "a list"


def _words(found: inspect.Type) -> str:
    match found:
        case inspect.Metadata(type=inner, extra=extra):
            return str(extra[EXPECTED]) if extra and EXPECTED in extra else _words(inner)
        case inspect.UnionType(types=types):
            return " or ".join(_words(one) for one in types if not isinstance(one, inspect.NoneType))
        case inspect.LiteralType(values=values):
            return _one_of(map(str, values))
        case inspect.EnumType(cls=cls):
            return _one_of(str(member.value) for member in cls)
    kind = _KINDS.get(type(found), "another type")
    return " ".join([kind, *_lengths(found), *_range(found)])


def _one_of(values: Iterator[str]) -> str:
    names = list(values)
    return names[0] if len(names) == 1 else f"one of {', '.join(names)}"


def _range(found: inspect.Type) -> Iterator[str]:
    """Yield the limits of a number."""
    least, most = getattr(found, "ge", None), getattr(found, "le", None)
    if least is not None and most is not None:
        yield f"from {least} to {most}"
        return
    limits = [f"{word} {limit}" for name, word in _BOUNDS if (limit := getattr(found, name, None)) is not None]
    if limits:
        yield " and ".join(limits)


def _lengths(found: inspect.Type) -> Iterator[str]:
    """Yield the limits of a text's length."""
    least, most = getattr(found, "min_length", None), getattr(found, "max_length", None)
    if most is not None:
        yield f"of {least or 0} to {most} characters"
    elif least == 1:
        yield "that is not empty"
