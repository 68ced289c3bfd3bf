"""Find card numbers in bytes, in time proportional to their length whatever they are.

A card number is a run of 14-19 digits, spaces and dashes ignored, that starts with 2-6 and passes the Luhn check; with
15 digits it must start with 34 or 37. If dashes or spaces divide a longer run, every unbroken sequence of its groups is
checked as well. Digits, spaces and dashes written as JSON escapes count; digits of other escapes belong to no run.

A test that almost every text fails comes first. Then short texts are searched run by run, and long ones as arrays: a
text of single digits, each between two dashes, has six candidates at every other byte.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SHORTEST, LONGEST = 14, 19
"""The number of digits of a card number."""

_AMEX_LENGTH = 15
_AMEX_STARTS = (b"34", b"37")
_FIRST_DIGITS = b"23456"
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)

_DIGITS = rb"(?:\d|\\u003\d)++"
_BETWEEN = rb"(?:[ -]|\\u002[0Dd])++"
_RUN = re.compile(rb"(%b(?:%b%b)*+)|\\u[0-9A-Fa-f]{4}" % (_DIGITS, _BETWEEN, _DIGITS))
_RUN_WITHOUT_ESCAPES = re.compile(rb"\d[\d -]{%d,}\d" % (SHORTEST - 2))
_GROUP = re.compile(rb"(%b)|%b" % (_DIGITS, _BETWEEN))

_SEPARATORS = b" -"
_ESCAPED_SEPARATORS = (rb"\u0020", rb"\u002d", rb"\u002D")
_ESCAPED_DIGIT = rb"\u003"
_ZERO_OR_X = bytes(48 if chr(byte).isdecimal() else 120 for byte in range(256))
_ENOUGH_DIGITS = b"0" * SHORTEST

_SHORT_TEXT, _FEW_BYTES = 2_048, 256
"""A text of this length, whose runs have no more bytes than that together, is searched run by run: it is faster."""

_OTHER, _SEPARATOR, _DIGIT, _PART = range(4)
"""What a byte is to the search: `_PART` are the bytes of an escaped digit or separator before its last one."""

_KINDS = bytes(
    _DIGIT if chr(byte).isdecimal() else _SEPARATOR if byte in _SEPARATORS else _OTHER for byte in range(256)
)
_IS_HEXADECIMAL = np.isin(np.arange(256), list(b"0123456789abcdefABCDEF"))
_ESCAPE_LENGTH = 6


def holds_enough_digits(text: bytes) -> bool:
    """Tell whether a run in `text` may have the digits of a card number; False is certain, True is not."""
    if b"\\u00" in text:
        for escaped in _ESCAPED_SEPARATORS:
            text = text.replace(escaped, b" ")
        text = text.replace(_ESCAPED_DIGIT, b"")
    return _ENOUGH_DIGITS in text.translate(_ZERO_OR_X, _SEPARATORS)


def card_numbers(text: bytes) -> Iterator[tuple[int, int]]:
    """Yield the (start, end) of each card number in `text`, in order, without overlaps.

    At each place the longest one is taken, and the search goes on behind it.
    """
    if not holds_enough_digits(text):
        return iter(())
    if len(text) <= _SHORT_TEXT:
        runs = _long_runs(text)
        if sum(end - start for start, end in runs) <= _FEW_BYTES:
            return _search_runs(text, runs)
    return _search_arrays(text)


# --- a few short runs, one by one


def _long_runs(text: bytes) -> list[tuple[int, int]]:
    """Return the (start, end) of the runs that are long enough for a card number."""
    if b"\\u" not in text:
        return [run.span() for run in _RUN_WITHOUT_ESCAPES.finditer(text)]
    return [run.span() for run in _RUN.finditer(text) if run[1] and run.end() - run.start() >= SHORTEST]


def _search_runs(text: bytes, runs: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    for start, end in runs:
        digits = text[start:end]
        if not digits.isdigit():
            yield from _search_groups(text, [group.span() for group in _GROUP.finditer(text, start, end) if group[1]])
        elif _is_card_number(digits):
            yield start, end


def _is_card_number(digits: bytes) -> bool:
    if not SHORTEST <= len(digits) <= LONGEST or digits[0] not in _FIRST_DIGITS:
        return False
    once = [digit - 48 for digit in reversed(digits)]
    return (sum(once[::2]) + sum(_DOUBLED[digit] for digit in once[1::2])) % 10 == 0 and _may_have_length(
        digits, 0, len(digits)
    )


def _search_groups(text: bytes, groups: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield the card numbers of one run, whose groups of digits are given."""
    pieces = [text[start:end].replace(_ESCAPED_DIGIT, b"") for start, end in groups]
    ends = {last: group[1] for last, group in zip(accumulate(map(len, pieces)), groups, strict=True)}
    digits = b"".join(pieces)
    sums: tuple[list[int], list[int]] | None = None
    first = searched = 0
    for piece, (start, _) in zip(pieces, groups, strict=True):
        if first >= searched and digits[first] in _FIRST_DIGITS:
            for last in range(min(first + LONGEST, len(digits)), first + SHORTEST - 1, -1):
                if last not in ends or not _may_have_length(digits, first, last):
                    continue
                sums = sums or _luhn_sums(digits)
                if (sums[last & 1][last] - sums[last & 1][first]) % 10 == 0:
                    yield start, ends[last]
                    searched = last
                    break
        first += len(piece)


def _luhn_sums(digits: bytes) -> tuple[list[int], list[int]]:
    """Return the sums of the digits before each index, as Luhn counts them if a number ends at an even or odd index.

    A number that ends before index `last` counts its last digit, at `last - 1`, once, and the one before it doubled.
    """
    once = [digit - 48 for digit in digits]
    doubled = [_DOUBLED[digit] for digit in once]
    even, odd = once[:], once[:]
    even[::2], odd[1::2] = doubled[::2], doubled[1::2]
    return list(accumulate(even, initial=0)), list(accumulate(odd, initial=0))


def _may_have_length(digits: bytes, first: int, last: int) -> bool:
    return last - first != _AMEX_LENGTH or digits[first : first + 2] in _AMEX_STARTS


# --- other texts, as arrays


class _Digits(NamedTuple):
    """All n digits of a text: their bytes' places, values, and the numbers of their run and group, which rise."""

    at: NDArray[np.intp]
    value: NDArray[np.uint8]
    run: NDArray[np.int32]
    group: NDArray[np.int32]


def _search_arrays(text: bytes) -> Iterator[tuple[int, int]]:
    octets = np.frombuffer(text, np.uint8)
    kinds = np.frombuffer(bytearray(text.translate(_KINDS)), np.uint8)
    _mark_escapes(octets, kinds)
    at = np.flatnonzero(kinds == _DIGIT)
    run = np.cumsum(kinds == _OTHER, dtype=np.int32)[at]
    group = np.cumsum(kinds <= _SEPARATOR, dtype=np.int32)[at]
    digits = _Digits(at, octets[at] - np.uint8(ord("0")), run, group)
    first, length = _longest_numbers(digits)
    searched = 0
    for start, count in zip(first.tolist(), length.tolist(), strict=True):
        if start >= searched:
            searched = start + count
            begin, end = int(at[start]), int(at[searched - 1]) + 1
            yield begin - (_ESCAPE_LENGTH - 1) * bool(begin and kinds[begin - 1] == _PART), end


def _mark_escapes(octets: NDArray[np.uint8], kinds: NDArray[np.uint8]) -> None:
    r"""Change the kinds of the bytes of each `\uXXXX`."""
    at = np.flatnonzero((octets[: 1 - _ESCAPE_LENGTH] == ord("\\")) & (octets[1 : 2 - _ESCAPE_LENGTH] == ord("u")))
    for place in range(2, _ESCAPE_LENGTH):
        at = at[_IS_HEXADECIMAL[octets[at + place]]]
    for place in range(2, _ESCAPE_LENGTH):
        kinds[at + place] = _OTHER
    at = at[(octets[at + 2] == ord("0")) & (octets[at + 3] == ord("0"))]
    row, last = octets[at + 4], octets[at + 5]
    digits = (row == ord("3")) & (last >= ord("0")) & (last <= ord("9"))
    separators = (row == ord("2")) & ((last == ord("0")) | (last == ord("d")) | (last == ord("D")))
    for chosen, kind in ((at[digits], _DIGIT), (at[separators], _SEPARATOR)):
        for place in range(_ESCAPE_LENGTH - 1):
            kinds[chosen + place] = _PART
        kinds[chosen + _ESCAPE_LENGTH - 1] = kind


def _longest_numbers(digits: _Digits) -> tuple[NDArray[np.intp], NDArray[np.int8]]:
    """Return the first digit of each card number, overlaps included, and the most digits that it may have."""
    beyond = np.zeros(LONGEST, np.uint8)
    value = np.concatenate((digits.value, beyond))
    run = np.concatenate((digits.run, np.full(LONGEST, -1, np.int32)))
    divided = digits.group[1:] != digits.group[:-1]
    begins, ends = np.concatenate(([True], divided)), np.concatenate((divided, [True], beyond > 0))
    first = np.flatnonzero(begins & (digits.value >= 2) & (digits.value <= 6))  # noqa: PLR2004 - as CONTRACT says
    sums = _packed_luhn_sums(value)
    of_even_end = np.where(first % 2 == 0, 0xF0, 0x0F).astype(np.uint8)
    length = np.zeros(len(first), np.int8)
    for count in range(SHORTEST, LONGEST + 1):
        last = first + (count - 1)
        mask = ~of_even_end if count % 2 else of_even_end
        found = ends[last] & (run[last] == run[first]) & ((sums[last + 1] ^ sums[first]) & mask == 0)
        if count == _AMEX_LENGTH:
            found &= (value[first] == 3) & ((value[first + 1] == 4) | (value[first + 1] == 7))  # noqa: PLR2004 - as CONTRACT says
        length[found] = count
    which = np.flatnonzero(length)
    return first[which], length[which]


def _packed_luhn_sums(value: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return `_luhn_sums` modulo 10, those of an even end in the upper four bits; between equal ones the sum is 0."""
    doubled = np.array(_DOUBLED, np.uint8)[value]
    even, odd = value.copy(), value.copy()
    even[::2], odd[1::2] = doubled[::2], doubled[1::2]
    upper, lower = (np.cumsum(one, dtype=np.int32) % 10 for one in (even, odd))
    return np.concatenate(([0], upper * 16 + lower)).astype(np.uint8)
