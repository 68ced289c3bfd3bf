"""Redact card numbers in what is kept, passed on or shown of the input: values, keys, headers, error details.

What is to be truncated is redacted with regard to what comes behind it, since the beginning of a card number alone is
not found. `stream.card_numbers` says what a card number is.
"""

import re
from collections.abc import Sequence
from typing import Any

from stream.card_numbers import LONGEST, card_numbers, holds_enough_digits
from stream.card_search import FARTHEST, find_numbers

Headers = Sequence[tuple[str, bytes | None]]

PASSED_AS_THEY_ARE = frozenset({"traceparent", "tracestate", "correlation-id"})
"""Headers with machine identifiers: a run of digits in them is not a card number, and redaction would corrupt them."""

MASK = b"[redacted]"
"""Shorter than any card number, so redacted text never grows."""

_BETWEEN_TEXTS = b"\n"
"""A byte that belongs to no card number and to no JSON escape."""

_UNFINISHED = re.compile(
    rb"(?:(?:[0-9A-Fa-f]{0,3}u)?\\)?+(?:(?:[ -]|[0Dd]200u\\)*+\d(?:300u\\)?+){0,%d}+" % (LONGEST - 1)
)
"""At the end of a truncated text, reversed: part of an escape, then all digits that a card number may begin with."""

_DIGEST = re.compile(rb"(?<![0-9A-Za-z])([0-9a-f]{64})(?![0-9A-Za-z])")
_BEHIND = FARTHEST * 4 // 3 + 4
"""So many bytes behind what is kept may belong to a number that begins in it, also in base64."""

_READ_FOR_EACH_SHOWN = 16
"""How many characters are looked at for each that is shown, because redaction shortens a text."""


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


def redact_thoroughly(text: bytes, longest: int | None = None) -> bytes:
    """Replace what may be a card number in the first `longest` bytes of a text, encoded or in the midst of digits.

    For what is kept of a refused record. A number that begins there and ends behind them is replaced as well. Returns
    the same object if nothing is replaced.
    """
    kept = len(text) if longest is None else min(len(text), longest)
    parts: list[bytes] = []
    at = 0
    for start, end in find_numbers(text[: kept + _BEHIND] if kept < len(text) else text):
        if start >= kept:
            break
        parts += (text[at:start], MASK[: kept - start] if end > kept else MASK)
        at = min(end, kept)
    return b"".join((*parts, text[at:kept])) if parts or kept < len(text) else text


def redact_text(text: str) -> str:
    """Replace each card number in a text, but not in digests of models, of which one in a thousand has one."""
    parts = _DIGEST.split(text.encode("utf-8", "replace"))
    return b"".join(part if at % 2 else redact(part) for at, part in enumerate(parts)).decode()


def redact_text_thoroughly(text: str) -> str:
    """Replace what may be a card number in a text that quotes somebody, in whatever dress, but not in digests."""
    parts = _DIGEST.split(text.encode("utf-8", "replace"))
    return b"".join(part if at % 2 else redact_thoroughly(part) for at, part in enumerate(parts)).decode(
        "utf-8", "replace"
    )


def redact_json(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Replace each card number in the texts of plain JSON, names included; numbers stay as they are."""
    match value:
        case str():
            return redact_text(value)
        case dict():
            return {redact_text(name): redact_json(one) for name, one in value.items()}
        case list() | tuple():
            return [redact_json(one) for one in value]
    return value


def redact_each(texts: Sequence[bytes]) -> Sequence[bytes]:
    """Redact texts in one search, which many short ones would repeat; return the same object if there is nothing."""
    joined = _BETWEEN_TEXTS.join(texts)
    if not holds_enough_digits(joined):
        return texts
    found = list(card_numbers(joined))
    redacted: list[bytes] = []
    begin = next_one = 0
    for text in texts:
        parts: list[bytes] = []
        at, end = begin, begin + len(text)
        while next_one < len(found) and found[next_one][0] < end:
            parts += (joined[at : found[next_one][0]], MASK)
            at = found[next_one][1]
            next_one += 1
        redacted.append(b"".join((*parts, joined[at:end])))
        begin = end + len(_BETWEEN_TEXTS)
    return redacted


def redact_beginning(text: bytes, longest: int) -> bytes:
    """Redact the first `longest` bytes, with a card number that begins there and ends behind them.

    Up to five digits of that may stay, if the next ones are a card number of their own.
    """
    return redact(text) if len(text) <= longest else _redact_cut(text[:longest])


def _redact_cut(beginning: bytes) -> bytes:
    """Redact the beginning of a longer text."""
    redacted = redact(beginning)
    unfinished = _UNFINISHED.match(redacted[::-1])
    return redact(redacted[: len(redacted) - unfinished.end()]) if unfinished else redacted


def redact_headers_thoroughly(headers: Headers) -> Headers:
    """Return headers with what may be a card number in their names and values redacted."""
    return [
        (
            redact_thoroughly(name.encode("utf-8", "replace")).decode("utf-8", "replace"),
            value and redact_thoroughly(value),
        )
        for name, value in headers
    ]


def redact_headers(headers: Headers, excepted: frozenset[str] = PASSED_AS_THEY_ARE) -> Headers:
    """Return headers with card numbers in their names and values redacted, except for those of some names."""
    searched = [header for header in headers if header[0] not in excepted]
    if not searched:
        return headers
    texts = [text for name, value in searched for text in (name.encode("utf-8", "replace"), value or b"")]
    redacted = redact_each(texts)
    if redacted is texts:
        return headers
    pairs = zip(redacted[::2], redacted[1::2], strict=True)
    return tuple(header if header[0] in excepted else _redacted_header(header[1], *next(pairs)) for header in headers)


def _redacted_header(given: bytes | None, name: bytes, value: bytes) -> tuple[str, bytes | None]:
    return name.decode(), given and value


def shorten(text: str, longest: int) -> str:
    """Redact a text, then truncate it to `longest` characters; a long text is not read to its end."""
    looked_at = longest * _READ_FOR_EACH_SHOWN
    beginning = text[:looked_at].encode("utf-8", "replace")
    return (redact(beginning) if len(text) <= looked_at else _redact_cut(beginning)).decode("utf-8", "replace")[
        :longest
    ]


def shown(value: object, longest: int = 80) -> str:
    """Format a record's value for a message: redacted, then truncated, else part of a card number could stay."""
    match value:
        case str():
            return repr(shorten(value, longest))[:longest]
        case bytes():
            return repr(redact_beginning(value, longest * _READ_FOR_EACH_SHOWN))[:longest]
        case dict() | list():
            return "an object" if isinstance(value, dict) else "an array"
        case _:
            return shorten(repr(value), longest)
