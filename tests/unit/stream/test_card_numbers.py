"""The search for card numbers against a slow one that reads character by character."""

import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stream import card_numbers as module
from stream.card_numbers import card_numbers, holds_enough_digits
from support.acceptance import sized
from support.stream_records import CARD_NUMBER, CARD_NUMBERS, luhn

PIECES = st.one_of(
    CARD_NUMBERS,
    st.text("0123456789", max_size=22),
    st.sampled_from(("-", " ", " - ", "--", "x", '"', "\\", "\\u", "\\u0", "\\u00", "\\u003", "\\u002", "\n", "é")),
    st.sampled_from(
        ("\\u0020", "\\u002d", "\\u002D", "\\u0034", "\\u0037", "\\u0039", "\\u003a", "\\u00b0", "\\u4532")
    ),
    st.sampled_from(("4-", "5-", "34-34-", "5 5", "12-", "0")),
)
TEXTS = st.lists(PIECES, max_size=30).map("".join)


class Char(NamedTuple):
    """One character of a text, written as a byte or as a JSON escape: a digit, a separator, or another."""

    kind: str
    start: int
    end: int


def characters(text: bytes) -> Iterator[Char]:
    at = 0
    while at < len(text):
        escape = re.compile(rb"\\u([0-9a-fA-F]{4})").match(text, at)
        end = escape.end() if escape else at + 1
        code = int(escape[1], 16) if escape else text[at]
        kind = chr(code) if chr(code) in "0123456789" else "-" if chr(code) in " -" else "x"
        yield Char(kind, at, end)
        at = end


def is_card_number(digits: str) -> bool:
    """Apply the contract's definition to digits without separators."""
    if not 14 <= len(digits) <= 19 or digits[0] not in "23456" or luhn(digits[:-1]) != digits:
        return False
    return len(digits) != 15 or digits.startswith(("34", "37"))


def found_slowly(text: bytes) -> list[tuple[int, int]]:
    """Return the first of the longest card numbers, then the first behind it, and so on."""
    chars, found, at = list(characters(text)), list[tuple[int, int]](), 0
    while at < len(chars):
        ends = list(ends_of_card_numbers(chars, at))
        if ends:
            found.append((chars[at].start, chars[ends[-1]].end))
        at = ends[-1] + 1 if ends else at + 1
    return found


def ends_of_card_numbers(chars: list[Char], first: int) -> Iterator[int]:
    """Yield the last character of each card number that starts at a character, if that is the first of its group."""
    if first and chars[first - 1].kind.isdigit():
        return
    digits = ""
    for at in range(first, len(chars)):
        kind = chars[at].kind
        if kind == "x" or (at == first and kind == "-") or len(digits) > 19:
            return
        digits += kind.strip("-")
        ends_group = at + 1 == len(chars) or not chars[at + 1].kind.isdigit()
        if kind != "-" and ends_group and is_card_number(digits):
            yield at


@given(TEXTS)
@example(f"12 {CARD_NUMBER} {CARD_NUMBER}-3")
@example("\\u00\\u00203" + luhn("3056930902590"))
@example("\\u0034" + CARD_NUMBER[1:])
@example("4-" * 40 + "34" * 30)
def test_both_searches_find_all_card_numbers_and_nothing_else(text: str) -> None:
    encoded = text.encode()
    expected = found_slowly(encoded)
    for few_bytes in (0, 10**6):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "_FEW_BYTES", few_bytes)
            assert list(card_numbers(encoded)) == expected
    assert holds_enough_digits(encoded) or not expected


@given(st.lists(PIECES, min_size=1, max_size=4).map("".join), st.integers(100, 400), st.integers(0, 5))
@example("5-", 400, 0)
@example("34-3", 400, 0)
@example(f"{CARD_NUMBER},", 100, 3)
def test_long_texts_of_one_repeated_piece_are_searched_alike(piece: str, count: int, skipped: int) -> None:
    text = (piece * count)[skipped:].encode()[:3_000]
    assert list(card_numbers(text)) == found_slowly(text)


@given(st.binary(max_size=300))
def test_any_bytes_can_be_searched(text: bytes) -> None:
    assert list(card_numbers(text)) == found_slowly(text)


@pytest.mark.full_size
def test_megabytes_of_digits_and_separators_are_searched() -> None:
    size = sized(100_000, 1_000_000)
    for piece in (b"4", b"5-", b"5 - ", b"34-34", b"\\u0035\\u002d", CARD_NUMBER.encode() + b","):
        text = piece * (size // len(piece))
        spans = list(card_numbers(text))
        head = list(card_numbers(text[:2_000]))
        assert spans[: len(head) - 2] == head[:-2]
    assert list(card_numbers(b"1" * 13 + b"-" * size)) == []
    assert list(card_numbers(b"x" * size + CARD_NUMBER.encode())) == [(size, size + 16)]
    spread = (b"-" * 50_000).join(bytes([digit]) for digit in CARD_NUMBER.encode())
    assert list(card_numbers(spread)) == [(0, len(spread))]
