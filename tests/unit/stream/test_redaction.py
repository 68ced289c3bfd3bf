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


def parted(number: str, separators: Any) -> str:
    return "".join(digit + separator for digit, separator in zip(number, [*separators, ""], strict=True))


@given(CARD_NUMBERS, st.sampled_from(("", "x", "id-", '"', "\\u00b0", "\\n", "7 ", "12-", "0.")), st.data())
def test_a_planted_card_number_is_found_whatever_parts_it_and_stands_before_it(
    number: str, before: str, data: Any
) -> None:
    separators = data.draw(
        st.lists(st.sampled_from(("", "", " ", "-", " - ")), min_size=len(number) - 1, max_size=len(number) - 1)
    )
    planted = parted(number, separators)
    redacted = redact(f"{before}{planted}x".encode())
    assert MASK in redacted
    assert planted.encode() not in redacted
    assert holds_card_number(f"{before}{planted}x")


@given(CARD_NUMBERS, st.text(max_size=20), st.text(max_size=20))
def test_in_json_text_no_reader_finds_it_again(number: str, before: str, after: str) -> None:
    value = {"note": f"{before}x{number}x{after}", "list": [int(number), {number: None}]}
    for written in (json.dumps(value), json.dumps(value, ensure_ascii=False), json.dumps(value, indent=2)):
        assert number.encode() not in redact(written.encode("utf-8", "surrogatepass"))


@given(CARD_NUMBERS, st.data())
def test_digits_and_separators_that_json_writes_as_escapes_hide_nothing(number: str, data: Any) -> None:
    escaped = data.draw(st.lists(st.booleans(), min_size=len(number), max_size=len(number)))
    written = "".join(f"\\u{ord(digit):04x}" if yes else digit for digit, yes in zip(number, escaped, strict=True))
    assert redact(f'{{"a": "{written}"}}'.encode()) == b'{"a": "[redacted]"}'
    assert redact(f'"{number[:4]}\\u0020{number[4:8]}\\u002d{number[8:]}"'.encode()) == b'"[redacted]"'


@pytest.mark.parametrize("before", ["\\u00b0", "\\u00e9", "\\u1234"])
def test_the_digits_of_another_letters_escape_belong_to_no_card_number(before: str) -> None:
    assert redact(f"n{before}{CARD_NUMBER}".encode()) == f"n{before}[redacted]".encode()


@given(TEXTS)
@example(f"12 {CARD_NUMBER} {CARD_NUMBER}-3")
def test_what_is_redacted_never_grows_and_redacting_again_changes_nothing(text: str) -> None:
    once = redact(text.encode())
    assert len(once) <= len(text.encode())
    assert redact(once) is once
    assert next(card_numbers(once), None) is None


@given(st.binary(max_size=200))
def test_any_bytes_can_be_redacted(text: bytes) -> None:
    assert len(redact(text)) <= len(text)


@given(TEXTS)
def test_spans_are_in_order_apart_and_hold_card_numbers(text: str) -> None:
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
def test_what_is_no_card_number_stays_the_very_same_object(text: str) -> None:
    encoded = text.encode()
    assert redact(encoded) is encoded


@given(st.integers(0, 10**13 - 1))
def test_epoch_milliseconds_are_no_card_numbers(moment: int) -> None:
    assert not holds_card_number(str(moment))


def test_a_megabyte_of_digits_dashes_or_card_numbers_takes_no_age() -> None:
    for text in (b"4" * 1_000_000, b"4-" * 500_000, b"1" * 13 + b"-" * 1_000_000, f"{CARD_NUMBER},".encode() * 50_000):
        assert len(redact(text)) <= len(text)


@given(CARD_NUMBERS, st.integers(0, 200))
def test_a_cut_leaves_no_part_of_a_card_number(number: str, before: int) -> None:
    for value in ("x" * before + number, b"x" * before + number.encode(), int(number)):
        written = shown(value)
        assert len(written) <= 80
        assert number[:6] not in written


@pytest.mark.parametrize(
    ("value", "expected"),
    [("a", "'a'"), (b"\xff", r"b'\xff'"), (1.5, "1.5"), (None, "None"), ([[]], "an array"), ({"a": 1}, "an object")],
)
def test_values_are_shown_by_their_kind(value: object, expected: str) -> None:
    assert shown(value) == expected


def test_headers_lose_card_numbers_and_identifiers_of_machines_stay_as_they_are() -> None:
    number = CARD_NUMBER.encode()
    kept = [("traceparent", number), ("tracestate", number), ("correlation-id", number), ("x", None), ("y", b"1")]
    assert redact_headers([*kept, ("note", b"of " + number), (f"h-{CARD_NUMBER}", b"1")]) == (
        *kept,
        ("note", b"of " + MASK),
        (f"h-{MASK.decode()}", b"1"),
    )
    assert redact_headers(()) == ()
