"""What may be a card number is found in every window and in the usual disguises; of ordinary texts nothing is lost."""

import base64
import json
import re
from collections.abc import Callable
from itertools import pairwise
from urllib.parse import quote

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.card_search import FARTHEST, LARGEST_GAP, LONGEST, SHORTEST, find_numbers, is_range_number
from stream.redaction import MASK, redact_headers_thoroughly, redact_thoroughly
from support.fleet.payments import luhn, payment

NUMBERS = tuple(
    luhn(start.ljust(length - 1, "7"))
    for start, length in (
        ("4532", 13),
        ("4532", 16),
        ("4532", 19),
        ("51", 16),
        ("2221", 16),
        ("37", 15),
        ("36", 14),
        ("3528", 16),
        ("2131", 15),
        ("82", 16),
        ("9792", 16),
        ("62", 17),
    )
)
BETWEEN = ["", *" -._:@/\t\xa0\u2009\u2011\x00", '", "', ",\n        ", "%20", "%C2%A0", "+", "&nbsp;", "&#160;"]
BETWEEN += ["\\u00a0", "\\t", "\\n", "\\u002d"]


def in_fours(number: str, between: str) -> str:
    return between.join(number[at : at + 4] for at in range(0, len(number), 4))


def shifted(number: str, zero: str) -> str:
    return "".join(chr(ord(zero) + int(digit)) for digit in number)


def hidden(text: bytes, number: str) -> bool:
    """Tell whether nothing of a number is left that is longer than what may stay of any text."""
    left = redact_thoroughly(text)
    return number.encode() not in left and re.sub(rb"[^0-9]", b"", left) != number.encode()


@pytest.mark.parametrize("between", BETWEEN, ids=repr)
def test_a_number_is_found_whatever_divides_its_groups(between: str) -> None:
    for number in NUMBERS:
        divided = in_fours(number, between).encode()
        assert redact_thoroughly(b"pan=" + divided + b"; x") == b"pan=" + MASK + b"; x"


@pytest.mark.parametrize(
    "disguise",
    [
        lambda number: shifted(number, "\uff10").encode(),
        lambda number: shifted(number, "\u0660").encode(),
        lambda number: shifted(number, "\U0001d7ce").encode(),
        lambda number: json.dumps(shifted(number, "\uff10")).encode(),
        lambda number: "".join(f"\\u{ord(digit):04x}" for digit in number).encode(),
        lambda number: "".join(f"%{ord(digit):02x}" for digit in number).encode(),
        lambda number: "".join(f"&#{ord(digit)};" for digit in number).encode(),
        lambda number: quote(shifted(number, "\uff10")).encode(),
        lambda number: number.encode("utf-16"),
        lambda number: number.encode("utf-16-be"),
        lambda number: in_fours(number, " ").encode("utf-32-le"),
        lambda number: json.dumps(list(number), indent=8).encode(),
        lambda number: json.dumps([int(digit) for digit in number]).encode(),
        lambda number: json.dumps(json.dumps({"card": in_fours(number, "-")})).encode(),
        lambda number: repr(ValueError(f"got {in_fours(number, chr(9))!r}")).encode(),
        lambda number: json.dumps(json.dumps(json.dumps(shifted(number, "\uff10")))).encode(),
        lambda number: base64.b64encode(number.encode()),
        lambda number: b"data:" + base64.b64encode(b'{"pan":"' + in_fours(number, " ").encode() + b'"}'),
        lambda number: base64.urlsafe_b64encode(b"\xff\xfe" + number.encode() + b"\xff?"),
        lambda number: b"x" + base64.b64encode(number.encode()).rstrip(b"="),
        lambda number: number.encode().hex().encode(),
        lambda number: ("1229" + number + "0729").encode(),
        lambda number: (number + "1229123").encode(),
        lambda number: ("00000000" + number).encode(),
        lambda number: b"%" + number.encode(),
        lambda number: b"\\u" + number.encode(),
        lambda number: b"\xff" + number.encode() + b"\xfe",
    ],
)
def test_a_number_is_found_in_each_disguise(disguise: Callable[[str], bytes]) -> None:
    for number in NUMBERS:
        text = disguise(number)
        spans = find_numbers(text)
        assert spans
        assert all(begin < end for begin, end in spans)
        assert hidden(text, number)
        assert hidden(b'{"note":"' + text + b'","more":1}', number)


@given(st.text(st.sampled_from("0123456789"), min_size=0, max_size=60))
def test_every_window_of_digits_is_looked_at(digits: str) -> None:
    covered = set[int]()
    for begin in range(len(digits)):
        for length in range(SHORTEST, LONGEST + 1):
            if begin + length <= len(digits) and is_range_number(digits[begin : begin + length]):
                covered.update(range(begin, begin + length))
    found = {at for begin, end in find_numbers(digits.encode()) for at in range(begin, end)}
    assert covered <= found
    decoded = bytes.fromhex(digits[: len(digits) // 2 * 2])
    if sum(chr(byte).isdecimal() for byte in decoded) < SHORTEST:
        assert covered == found


@given(st.binary(max_size=300), st.integers(0, 320))
def test_what_is_redacted_is_never_longer_and_holds_nothing_any_more(text: bytes, longest: int) -> None:
    redacted = redact_thoroughly(text, longest)
    assert len(redacted) <= min(len(text), longest)
    spans = find_numbers(text)
    assert all(behind < begin for (_, behind), (begin, _) in pairwise(spans))
    assert not spans or (spans[0][0] >= 0 and spans[-1][1] <= len(text))


def test_ordinary_records_are_kept_as_they_are() -> None:
    for number in range(100):
        text = json.dumps(payment(number, device_id=f"d-{number}", merchant_country="DE")).encode()
        assert redact_thoroughly(text) is text
    for text in (b"", b"5-" * 6, b"2026-01-31T12:00:00.123Z 127.0.0.1:9092 " * 9, b'{"a":[1,2,3],"b":1796090241559}'):
        assert redact_thoroughly(text) is text


def test_digits_that_letters_or_much_else_divide_are_no_number() -> None:
    number = NUMBERS[1]
    assert find_numbers(in_fours(number, "x").encode()) == []
    assert find_numbers(in_fours(number, " " * LARGEST_GAP).encode()) != []
    assert find_numbers(in_fours(number, " " * (LARGEST_GAP + 1)).encode()) == []


@pytest.mark.parametrize("encode", [bytes, base64.b64encode, lambda text: in_fours(text.decode(), "  ").encode()])
def test_a_number_that_is_cut_leaves_nothing(encode: Callable[[bytes], bytes]) -> None:
    number = encode(NUMBERS[1].encode())
    text = b"x " + number + b" " + b"y" * FARTHEST * 2
    for longest in (*range(20), 40):
        redacted = redact_thoroughly(text, longest)
        assert len(redacted) <= longest
        assert not re.search(rb"[0-9]", redacted)
        assert number[:4] not in redacted


def test_headers_are_redacted_by_name_and_value() -> None:
    number = NUMBERS[1]
    found = redact_headers_thoroughly([("a", None), (f"x-{number}", b"1"), ("b", in_fours(number, ".").encode())])
    assert list(found) == [("a", None), ("x-[redacted]", b"1"), ("b", MASK)]


def test_few_random_texts_lose_anything() -> None:
    rng = np.random.default_rng(1)
    tokens = [bytes(rng.integers(0, 256, 16, np.uint8)).hex() for _ in range(1_000)]
    assert sum(bool(find_numbers(token.encode())) for token in tokens) < 10
    words = [base64.b64encode(bytes(rng.integers(0, 256, 300, np.uint8))) for _ in range(100)]
    assert sum(bool(find_numbers(word)) for word in words) < 4
