"""Find and redact card numbers in bytes.

A card number is a run of 14-19 digits, spaces and dashes ignored, that starts with 2-6 and passes the Luhn check; with
15 digits it must start with 34 or 37. If dashes or spaces divide a longer run, every unbroken sequence of its groups is
checked as well. Digits, spaces and dashes written as JSON escapes count; digits of other escapes belong to no run.
"""

import re
from collections.abc import Iterator, Sequence

PASSED_AS_THEY_ARE = frozenset({"traceparent", "tracestate", "correlation-id"})
"""Headers with machine identifiers: a run of digits in them is not a card number, and redaction would corrupt them."""

MASK = b"[redacted]"
"""Shorter than any card number, so redacted text never grows."""

_DIGITS = rb"(?:\d|\\u003\d)++"
_BETWEEN = rb"(?:[ -]|\\u002[0Dd])++"
_RUN = re.compile(rb"(%b(?:%b%b)*+)|\\u[0-9A-Fa-f]{4}" % (_DIGITS, _BETWEEN, _DIGITS))
_GROUP = re.compile(rb"(%b)|%b" % (_DIGITS, _BETWEEN))
_ESCAPE = re.compile(rb"\\u003")
_SHORTEST, _LONGEST = 14, 19
_AMEX_LENGTH = 15
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


def is_card_number(digits: bytes) -> bool:
    """Tell whether a string of digits without separators is a card number."""
    if not _SHORTEST <= len(digits) <= _LONGEST or digits[0] not in b"23456":
        return False
    if len(digits) == _AMEX_LENGTH and digits[:2] not in (b"34", b"37"):
        return False
    values = [digit - 48 for digit in reversed(digits)]
    return (sum(values[::2]) + sum(_DOUBLED[value] for value in values[1::2])) % 10 == 0


def card_numbers(text: bytes) -> Iterator[tuple[int, int]]:
    """Yield the (start, end) of each card number in `text`, in order, without overlaps."""
    for run in _RUN.finditer(text):
        if not run[1] or run.end() - run.start() < _SHORTEST:
            continue
        groups = [group.span() for group in _GROUP.finditer(text, *run.span()) if group[1]]
        first = 0
        while first < len(groups):
            last = _last_group(text, groups, first)
            if last is not None:
                yield groups[first][0], groups[last][1]
            first = first + 1 if last is None else last + 1


def _last_group(text: bytes, groups: list[tuple[int, int]], first: int) -> int | None:
    """Return the last group of the longest card number that starts with group `first`; None if there is none."""
    digits, found = b"", None
    if text[groups[first][0]] not in b"\\23456":
        return None
    for index in range(first, len(groups)):
        start, end = groups[index]
        digits += _ESCAPE.sub(b"", text[start:end])
        if len(digits) > _LONGEST:
            break
        if is_card_number(digits):
            found = index
    return found


def holds_card_number(text: str) -> bool:
    """Tell whether a field's text contains a card number."""
    return next(card_numbers(text.encode("utf-8", "replace")), None) is not None


def redact(text: bytes) -> bytes:
    """Replace each card number by a mask; return the same object if there is none."""
    parts: list[bytes] = []
    at = 0
    for start, end in card_numbers(text):
        parts += (text[at:start], MASK)
        at = end
    return b"".join((*parts, text[at:])) if parts else text


def redact_text(text: str) -> str:
    """Replace each card number in a text."""
    return redact(text.encode("utf-8", "replace")).decode()


def redact_headers(headers: Sequence[tuple[str, bytes | None]]) -> Sequence[tuple[str, bytes | None]]:
    """Return the headers that an output passes on, redacted except for machine identifiers."""
    if not headers:
        return headers
    return tuple(
        (name, value) if name in PASSED_AS_THEY_ARE else (redact_text(name), value and redact(value))
        for name, value in headers
    )


def shown(value: object, longest: int = 80) -> str:
    """Format a record's value for a message: redacted, then truncated, else part of a card number could stay."""
    match value:
        case str():
            return repr(redact_text(value))[:longest]
        case bytes():
            return repr(redact(value))[:longest]
        case dict() | list():
            return "an object" if isinstance(value, dict) else "an array"
        case _:
            return redact_text(repr(value))[:longest]
