"""Find card numbers in what is kept of a refused record: in every window of digits, and in the usual disguises.

A refused record may hold anything, and nobody needs its digits: so a number is looked for at each digit, whatever
stands before and behind it, and whatever stands between its digits but letters. Digits of other scripts and escapes of
JSON, URLs and HTML are read as what they stand for; base64 and hexadecimal texts are decoded. That redacts too much,
which costs nothing here. `stream.id_rules` says which ids are refused, where too much would cost decisions.

The ranges are those that schemes and processors publish; a scheme that is not listed is not found. Lengths are 13 to 19
digits, those of ISO/IEC 7812 that are in use. The time is proportional to the length of a text, whatever it is.
"""

import re
import unicodedata
from base64 import b64decode
from binascii import Error
from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache
from html import unescape
from itertools import chain
from urllib.parse import unquote_to_bytes

import numpy as np
from numpy.typing import NDArray

SHORTEST, LONGEST = 13, 19
"""The number of digits of a card number."""

_ALL = range(SHORTEST, LONGEST + 1)
_SIXTEEN, _FROM_SIXTEEN, _FROM_FOURTEEN = range(16, 17), range(16, 20), range(14, 20)
_FIFTEEN = range(15, 16)

_RANGES: tuple[tuple[str, str, str, range], ...] = (
    ("UATP, JCB with 1800", "1", "1", _FIFTEEN),
    ("JCB, 15 digits", "2131", "2131", _FIFTEEN),
    ("Mir", "2200", "2204", _FROM_SIXTEEN),
    ("Borica", "2205", "2205", _SIXTEEN),
    ("Mastercard", "2221", "2720", _SIXTEEN),
    ("Diners Club", "300", "305", _FROM_FOURTEEN),
    ("Diners Club", "3095", "3095", _FROM_FOURTEEN),
    ("American Express", "34", "34", _FIFTEEN),
    ("JCB", "3528", "3589", _FROM_SIXTEEN),
    ("Diners Club", "36", "36", _FROM_FOURTEEN),
    ("American Express", "37", "37", _FIFTEEN),
    ("Diners Club", "38", "39", _FROM_FOURTEEN),
    ("Visa", "4", "4", _ALL),
    ("Maestro and others", "50", "50", _ALL),
    ("Mastercard", "51", "55", _SIXTEEN),
    ("Maestro and others", "56", "59", _ALL),
    ("Discover, UnionPay, RuPay, Maestro, Troy and others", "60", "69", _ALL),
    ("UnionPay", "81", "81", _FROM_SIXTEEN),
    ("RuPay", "82", "82", _SIXTEEN),
    ("Uzcard", "8600", "8600", _SIXTEEN),
    ("Troy", "9792", "9792", _SIXTEEN),
    ("Humo", "9860", "9860", _SIXTEEN),
)
"""A scheme, its first and last beginning, and how many digits its numbers have. None overlaps another."""

Span = tuple[int, int]
"""The first byte of what is to be redacted, and the one behind it."""

LARGEST_GAP = 32
"""So many bytes that are no letters may stand between two digits of one number."""
FARTHEST = LONGEST * (LARGEST_GAP + 1)
"""So many bytes a number takes, at most; encoded in base64, a third more."""

_WIDTH = 4
"""So many first digits say which lengths a number may have."""
_STARTS = sorted((low.ljust(_WIDTH, "0"), high.ljust(_WIDTH, "9"), lengths) for _, low, high, lengths in _RANGES)
_LOWS = [low for low, _, _ in _STARTS]
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)

_DIGIT, _NINE = ord("0"), ord("9")
_REST = b"\x02"
"""Stands for the bytes of a digit behind the first one."""

_JSON = rb'\\+u[0-9A-Fa-f]{4}|\\+[bfnrt"/]|\\+'
"""However often it was quoted: a text in a message in a record has several backslashes."""
_HTML = rb"&(?:nbsp|ensp|emsp|thinsp|#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6});"
_UTF_8 = rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}"
_URL = rb"%[0-7][0-9A-Fa-f]|%[c-fC-F][0-9A-Fa-f](?:%[89abAB][0-9A-Fa-f]){1,3}"
_READINGS = (
    None,
    re.compile(rb"|".join((_JSON, _HTML, _UTF_8))),
    re.compile(rb"|".join((_JSON, _HTML, _UTF_8, _URL))),
)
"""As it stands, since what looks like an escape may be none, and with its escapes read, those of URLs last."""

_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{18,}")
_HEXADECIMAL = re.compile(rb"(?:[0-9A-Fa-f]{2}){%d,}" % SHORTEST)
_APART = b"x"
"""A letter, which belongs to no number and to no escape that would hide one."""
_STANDARD_BASE64 = bytes.maketrans(b"-_", b"+/")
_NOT_DIGITS = bytes(byte for byte in range(256) if not _DIGIT <= byte <= _NINE)


def schemes() -> Iterator[tuple[str, str, str, range]]:
    """Yield each range: the scheme, its first and last beginning, and its lengths."""
    yield from _RANGES


def is_range_number(digits: str) -> bool:
    """Tell whether a text of ASCII digits is a number of a known range that passes Luhn."""
    if not SHORTEST <= len(digits) <= LONGEST:
        return False
    at = bisect_right(_LOWS, digits[:_WIDTH]) - 1
    if at < 0:
        return False
    _, high, lengths = _STARTS[at]
    return digits[:_WIDTH] <= high and len(digits) in lengths and passes_luhn(digits)


def passes_luhn(digits: str) -> bool:
    """Tell whether a text of ASCII digits passes the check of ISO/IEC 7812-1, annex B."""
    backwards = [ord(digit) - 48 for digit in reversed(digits)]
    return (sum(backwards[::2]) + sum(_DOUBLED[digit] for digit in backwards[1::2])) % 10 == 0


def _lengths_by_start() -> NDArray[np.uint8]:
    """Return for each number that the first digits make a bit for each length that a number may have."""
    table = np.zeros(10**_WIDTH, np.uint8)
    for _, low, high, lengths in schemes():
        bits = sum(1 << (length - SHORTEST) for length in lengths)
        table[int(low.ljust(_WIDTH, "0")) : int(high.ljust(_WIDTH, "9")) + 1] |= np.uint8(bits)
    return table


_LENGTHS = _lengths_by_start()


def find_numbers(text: bytes) -> list[Span]:
    """Return the spans of all card numbers in a text, in order; those that touch or overlap are one."""
    return _merged(sorted(chain(_plain(text), _encoded(text))))


def _plain(text: bytes) -> Iterator[Span]:
    """Yield the spans of numbers that are not encoded as a whole."""
    read = set[bytes]()
    for escapes in _READINGS:
        as_read = text if escapes is None else escapes.sub(_read, text)
        if as_read not in read and len(as_read.translate(None, _NOT_DIGITS)) >= SHORTEST:
            yield from _windows(as_read)
        read.add(as_read)


def _read(found: re.Match[bytes]) -> bytes:
    return _as_read(found[0])


@lru_cache(maxsize=4_096)
def _as_read(escape: bytes) -> bytes:
    """Return what an escape or a character stands for, in as many bytes: a digit, a letter, or what is between them."""
    character = _character(escape)
    digit = unicodedata.decimal(character, None) if character is not None else None
    if digit is not None:
        return b"%d" % digit + _REST * (len(escape) - 1)
    return (b"x" if character is not None and character.isalpha() else b" ") * len(escape)


def _character(escape: bytes) -> str | None:
    """Return the character that an escape stands for; None if it is none."""
    quoted = escape.lstrip(b"\\")
    match escape[:1], quoted[:1]:
        case b"\\", b"u":
            text = (b"\\" + quoted).decode("unicode-escape")
        case b"\\", _:
            text = " "
        case b"%", _:
            text = unquote_to_bytes(escape).decode("utf-8", "replace")
        case b"&", _:
            text = unescape(escape.decode())
        case _:
            text = escape.decode("utf-8", "replace")
    return text if len(text) == 1 else None


def _windows(text: bytes) -> Iterator[Span]:
    """Yield the spans of windows that are numbers, merged."""
    data = np.frombuffer(text, np.uint8)
    at = np.flatnonzero((data >= _DIGIT) & (data <= _NINE))
    folded = data | 0x20
    letters = np.cumsum((folded >= ord("a")) & (folded <= ord("z")), dtype=np.int64)[at]
    value = data[at].astype(np.int64) - _DIGIT
    apart = (letters[1:] != letters[:-1]) | (np.diff(at) > LARGEST_GAP + 1)
    run = np.concatenate(([0], np.cumsum(apart)))
    count = len(at)
    last_start = count - SHORTEST + 1
    beginning = sum(value[place : place + last_start] * 10 ** (_WIDTH - 1 - place) for place in range(_WIDTH))
    bits = _LENGTHS[beginning]
    sums = _luhn_sums(value)
    first, end = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for length in range(SHORTEST, min(LONGEST, count) + 1):
        start = np.flatnonzero(bits[: count - length + 1] & (1 << (length - SHORTEST)))
        start = start[run[start] == run[start + length - 1]]
        parity = (start + length) % 2
        start = start[(sums[parity, start + length] - sums[parity, start]) % 10 == 0]
        first.append(start)
        end.append(start + length)
    for begin, behind in _merged_indices(np.concatenate(first), np.concatenate(end)):
        last = int(at[behind - 1]) + 1
        while text[last : last + 1] == _REST:
            last += 1
        yield int(at[begin]), last


def _luhn_sums(value: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the sums of the digits before each index, as they count in a number that ends at an even or odd index.

    The last digit of a number counts once, the one before it doubled.
    """
    doubled = 2 * value - 9 * (value > 4)  # noqa: PLR2004 - a doubled digit above nine is that of two digits
    is_even = np.arange(len(value)) % 2 == 0
    of_even_end, of_odd_end = np.where(is_even, doubled, value), np.where(is_even, value, doubled)
    return np.stack([np.concatenate(([0], np.cumsum(one))) for one in (of_even_end, of_odd_end)])


def _merged_indices(first: NDArray[np.int64], end: NDArray[np.int64]) -> Iterator[Span]:
    """Yield the unions of windows of digits that overlap, in order."""
    order = np.argsort(first, kind="stable")
    first, end = first[order], end[order]
    if not len(first):
        return
    reached = np.maximum.accumulate(end)
    begins = np.concatenate(([True], first[1:] >= reached[:-1]))
    ends = np.concatenate((np.flatnonzero(begins)[1:] - 1, [len(first) - 1]))
    yield from zip(first[begins].tolist(), reached[ends].tolist(), strict=True)


def _encoded(text: bytes) -> Iterator[Span]:
    """Yield the spans of texts in base64 or hexadecimal that hold a number."""
    spans, ends, parts = list[Span](), list[int](), list[bytes]()
    length = 0
    tokens = ((one, (bytes.fromhex(one[0].decode()),)) for one in _HEXADECIMAL.finditer(text))
    for found, decoded in chain(tokens, ((one, _decoded(one[0])) for one in _BASE64.finditer(text))):
        for part in decoded:
            length += len(part) + len(_APART)
            spans.append(found.span())
            ends.append(length)
            parts.append(part)
    for begin, _ in _plain(_APART.join(parts)):  # in one search, which many short ones would repeat
        yield spans[bisect_right(ends, begin)]


def _decoded(token: bytes) -> Iterator[bytes]:
    """Yield what a token in base64 may stand for: what is glued before it may have any length."""
    standard = token.translate(_STANDARD_BASE64)
    for skipped in range(4):
        part = standard[skipped:]
        try:
            yield b64decode(part + b"=" * (-len(part) % 4))
        except Error:  # one character more than whole bytes take
            yield b64decode(part[:-1])


def _merged(spans: list[Span]) -> list[Span]:
    merged: list[Span] = []
    for begin, end in spans:
        if merged and begin <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((begin, end))
    return merged
