import json
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stream.card_numbers import card_numbers
from stream.redaction import (
    MASK,
    holds_card_number,
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


def with_separators(number: str, separators: Any) -> str:
    return "".join(digit + separator for digit, separator in zip(number, [*separators, ""], strict=True))


@given(CARD_NUMBERS, st.sampled_from(("", "x", "id-", '"', "\\u00b0", "\\n", "7 ", "12-", "0.")), st.data())
def test_a_card_number_is_redacted_whatever_separates_its_digits_or_precedes_it(
    number: str, before: str, data: Any
) -> None:
    separators = data.draw(
        st.lists(st.sampled_from(("", "", " ", "-", " - ")), min_size=len(number) - 1, max_size=len(number) - 1)
    )
    planted = with_separators(number, separators)
    redacted = redact(f"{before}{planted}x".encode())
    assert MASK in redacted
    assert planted.encode() not in redacted
    assert holds_card_number(f"{before}{planted}x")


@given(CARD_NUMBERS, st.text(max_size=20), st.text(max_size=20))
def test_redacted_json_text_does_not_contain_the_card_number(number: str, before: str, after: str) -> None:
    value = {"note": f"{before}x{number}x{after}", "list": [int(number), {number: None}]}
    for written in (json.dumps(value), json.dumps(value, ensure_ascii=False), json.dumps(value, indent=2)):
        assert number.encode() not in redact(written.encode("utf-8", "surrogatepass"))


@given(CARD_NUMBERS, st.data())
def test_card_numbers_written_with_json_escapes_are_redacted(number: str, data: Any) -> None:
    escaped = data.draw(st.lists(st.booleans(), min_size=len(number), max_size=len(number)))
    written = "".join(f"\\u{ord(digit):04x}" if yes else digit for digit, yes in zip(number, escaped, strict=True))
    assert redact(f'{{"a": "{written}"}}'.encode()) == b'{"a": "[redacted]"}'
    assert redact(f'"{number[:4]}\\u0020{number[4:8]}\\u002d{number[8:]}"'.encode()) == b'"[redacted]"'


@pytest.mark.parametrize("before", ["\\u00b0", "\\u00e9", "\\u1234"])
def test_digits_of_other_escapes_are_not_part_of_a_card_number(before: str) -> None:
    assert redact(f"n{before}{CARD_NUMBER}".encode()) == f"n{before}[redacted]".encode()


@given(TEXTS)
@example(f"12 {CARD_NUMBER} {CARD_NUMBER}-3")
def test_redaction_never_lengthens_text_and_is_idempotent(text: str) -> None:
    once = redact(text.encode())
    assert len(once) <= len(text.encode())
    assert redact(once) is once
    assert next(card_numbers(once), None) is None


@given(st.binary(max_size=200))
def test_any_bytes_can_be_redacted(text: bytes) -> None:
    assert len(redact(text)) <= len(text)


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


@given(st.integers(0, 10**13 - 1))
def test_epoch_milliseconds_are_not_card_numbers(moment: int) -> None:
    assert not holds_card_number(str(moment))


def test_a_megabyte_of_digits_dashes_or_card_numbers_can_be_redacted() -> None:
    for text in (b"4" * 1_000_000, b"4-" * 500_000, b"1" * 13 + b"-" * 1_000_000, f"{CARD_NUMBER},".encode() * 50_000):
        assert len(redact(text)) <= len(text)


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


@pytest.mark.parametrize(
    ("value", "expected"),
    [("a", "'a'"), (b"\xff", r"b'\xff'"), (1.5, "1.5"), (None, "None"), ([[]], "an array"), ({"a": 1}, "an object")],
)
def test_values_are_shown_by_type(value: object, expected: str) -> None:
    assert shown(value) == expected


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
