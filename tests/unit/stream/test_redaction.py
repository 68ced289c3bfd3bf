import json
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stream.card_numbers import card_numbers
from stream.redaction import (
    MASK,
    redact,
    redact_beginning,
    redact_each,
    redact_headers,
    redact_json,
    redact_text,
    shorten,
    shown,
)
from support.stream_records import CARD_NUMBER, CARD_NUMBERS, luhn

DIGITS = "0123456789"
PIECES = st.one_of(
    CARD_NUMBERS,
    st.text(DIGITS + " -", max_size=25),
    st.sampled_from(('{"a": "', '", ', "[redacted]", "\\u00b0", "\\u0034", "\\u0020", "x", "\n", "é", "--")),
)
TEXTS = st.lists(PIECES, max_size=8).map("".join)


@given(CARD_NUMBERS, st.text(max_size=20), st.text(max_size=20))
def test_redacted_json_text_does_not_contain_the_card_number(number: str, before: str, after: str) -> None:
    value = {"note": f"{before}x{number}x{after}", "list": [int(number), {number: None}]}
    for written in (json.dumps(value), json.dumps(value, ensure_ascii=False), json.dumps(value, indent=2)):
        assert number.encode() not in redact(written.encode("utf-8", "surrogatepass"))


@given(TEXTS)
@example(f"12 {CARD_NUMBER} {CARD_NUMBER}-3")
def test_redaction_never_lengthens_text_and_is_idempotent(text: str) -> None:
    once = redact(text.encode())
    assert len(once) <= len(text.encode())
    assert redact(once) is once
    assert next(card_numbers(once), None) is None


def wrong_check_digit(number: str) -> str:
    return number[:-1] + str((int(number[-1]) + 1) % 10)


@pytest.mark.parametrize(
    "text",
    [
        "",
        luhn("453201511283"),  # 13 digits
        luhn("4532015112830366123"),  # 20 digits
        luhn("153201511283036"),
        luhn("753201511283036"),
        luhn("0532015112830"),
        luhn("45320151128303"),  # 15 digits that begin with neither 34 nor 37
        wrong_check_digit(CARD_NUMBER),
        f"0{CARD_NUMBER}0000",
        CARD_NUMBER[:8] + "." + CARD_NUMBER[8:],
        CARD_NUMBER[:8] + "x" + CARD_NUMBER[8:],
        '{"occurred_at":1769860800123,"labelled_at":1769860800124}',
        "2026-01-31T12:00:00.123Z",
        "٤٥٣٢٠١٥١١٢٨٣٠٣٦٦",
    ],
)
def test_text_without_a_card_number_is_returned_as_the_same_object(text: str) -> None:
    encoded = text.encode()
    assert redact(encoded) is encoded


@given(st.lists(TEXTS.map(str.encode), max_size=6))
@example([CARD_NUMBER[:8].encode(), CARD_NUMBER[8:].encode(), b"", f"{CARD_NUMBER}, {CARD_NUMBER}".encode()])
@example([CARD_NUMBER[:-1].encode() + b"\\", b"u003" + CARD_NUMBER[-1:].encode()])
def test_texts_are_redacted_together_as_each_would_be_alone(texts: list[bytes]) -> None:
    assert list(redact_each(texts)) == [redact(text) for text in texts]


# --- beginnings of longer texts


@given(number=CARD_NUMBERS, before=st.text("x" + DIGITS + "- ", max_size=30), data=st.data())
def test_at_most_five_digits_of_a_card_number_stay_before_a_cut_within_it(number: str, before: str, data: Any) -> None:
    escaped = st.lists(st.booleans(), min_size=len(number), max_size=len(number))
    digits = [f"\\u{ord(digit):04x}" if yes else digit for digit, yes in zip(number, data.draw(escaped), strict=True)]
    separators = st.lists(
        st.sampled_from(("", "", "-", " ", "  -", "\\u0020", "\\u002D")),
        min_size=len(number) - 1,
        max_size=len(number) - 1,
    )
    planted = "".join(digit + gap for digit, gap in zip(digits, [*data.draw(separators), ""], strict=True))
    text = f"{before}.{planted}.".encode()
    kept = redact_beginning(text, len(text) - data.draw(st.integers(1, len(planted) + 1)))
    assert len(kept) < len(text)
    assert next(card_numbers(kept), None) is None
    left = re.sub(rb"[ -]|\\u002[0D]|\\u003|%b" % re.escape(MASK), b"", kept.partition(b".")[2])
    assert len(left) <= 5
    assert left.isdigit() or not left


@given(TEXTS, st.integers(0, 200))
@example("5" * 40, 34)
@example("4 " * 40, 60)
@example("4\\u0020" * 40, 100)
def test_the_beginning_of_a_text_has_no_card_number_and_is_its_own(text: str, longest: int) -> None:
    whole = text.encode()
    kept = redact_beginning(whole, longest)
    assert len(kept) <= longest
    assert next(card_numbers(kept), None) is None
    assert redact_beginning(whole, len(whole)) == redact(whole)
    if next(card_numbers(whole), None) is None:
        assert whole.startswith(kept) or MASK in kept


def test_text_is_kept_up_to_its_cut_except_for_the_digits_there() -> None:
    assert redact_beginning(b"x" * 100, 60) == b"x" * 60
    assert redact_beginning(b"12-34-x" * 100, 70) == b"12-34-x" * 10
    assert redact_beginning(b"x" * 50 + b"1234567890" * 3, 60) == b"x" * 50
    assert redact_beginning(b"1" * 100, 60) == b"1" * 42
    assert redact_beginning(b"\\u00fc" * 100, 63) == b"\\u00fc" * 10


@given(CARD_NUMBERS, st.integers(0, 400), st.integers(2, 30))
def test_a_shortened_text_shows_no_part_of_a_card_number(number: str, before: int, longest: int) -> None:
    found = shorten("x" * before + number + "y" * 600, longest)
    assert len(found) <= longest
    assert number[:6] not in found
    assert found == "x" * min(before, longest) + f"[redacted]{'y' * 30}"[: max(0, longest - before)]


@given(CARD_NUMBERS, st.integers(0, 200))
def test_a_truncated_value_shows_no_part_of_a_card_number(number: str, before: int) -> None:
    long = "x" * (1_180 + before) + number
    for value in ("x" * before + number, b"x" * before + number.encode(), int(number), long, long.encode()):
        written = shown(value)
        assert len(written) <= 80
        assert number[:6] not in written


def test_card_numbers_in_headers_are_redacted_except_in_machine_identifiers() -> None:
    number = CARD_NUMBER.encode()
    kept = [("traceparent", number), ("tracestate", number), ("correlation-id", number), ("x", None), ("y", b"1")]
    assert redact_headers([*kept, ("note", b"of " + number), (f"h-{CARD_NUMBER}", b"1")]) == (
        *kept,
        ("note", b"of " + MASK),
        (f"h-{MASK.decode()}", b"1"),
    )
    assert redact_headers(()) == ()
    assert redact_headers(kept) is kept
    assert redact_headers([(CARD_NUMBER, None), (CARD_NUMBER, b"")]) == ((MASK.decode(), None), (MASK.decode(), b""))


@given(CARD_NUMBERS, st.integers(0, 45), st.sampled_from(("abcdef", "0f", "d")))
def test_a_models_digest_is_left_whole_and_what_stands_beside_it_is_not(number: str, before: int, digits: str) -> None:
    filled = (digits * 64)[:before] + number
    digest = filled + (digits * 64)[: 64 - len(filled)]
    text = f"{digest} is live, of {number}; models/{digest}: {digest}"
    redacted = f"{digest} is live, of [redacted]; models/{digest}: {digest}"
    assert redact_text(text) == redacted
    assert redact_json({"digest": digest, "note": text}) == {"digest": digest, "note": redacted}
    longer, shorter = f"d{number}" + "d" * 64, f"d{number}d"
    assert number not in redact_text(longer) + redact_text(shorter), "no other run of hexadecimal digits is a digest"
