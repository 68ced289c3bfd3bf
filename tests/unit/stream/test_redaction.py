import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stream.redaction import MASK, card_numbers, holds_card_number, redact, redact_headers, shown
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


@given(TEXTS)
def test_spans_are_ordered_and_do_not_overlap(text: str) -> None:
    end_before = 0
    for start, end in card_numbers(text.encode()):
        assert end_before <= start < end
        end_before = end


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


@given(CARD_NUMBERS, st.integers(0, 200))
def test_a_truncated_value_shows_no_part_of_a_card_number(number: str, before: int) -> None:
    for value in ("x" * before + number, b"x" * before + number.encode(), int(number)):
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
