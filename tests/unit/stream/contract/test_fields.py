"""The checks of a record before its fields mean anything: length, nesting; and that messages stay short."""

import tracemalloc
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stream.contract import fields as module
from stream.contract.codes import DeadLetterCode, Rejection
from stream.contract.fields import (
    DEEPEST,
    LARGEST_VALUE_BYTES,
    MOST_COUNTED,
    Field,
    KnownFields,
    RawRecord,
    decode_object,
    read_fields,
)
from stream.contract.label import FIELDS as LABEL_FIELDS
from stream.contract.label import read_label
from stream.contract.transaction import FIELDS as TRANSACTION_FIELDS
from stream.contract.transaction import ParsedTransaction, read_transaction
from support.stream_records import KEY, LATEST_MS, MENTION, PAYMENT, literally, text

TEXTS = st.text(st.sampled_from('[]{}"\\\n/aé\x7f') | st.characters(codec="utf-8"), max_size=12)
JSON = st.recursive(
    st.none() | st.integers(-5, 5) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=30,
)
MEGABYTE = "x" * 1_000_000


def nesting(value: Any) -> int:
    match value:
        case dict():
            return 1 + max(map(nesting, value.values()), default=0)
        case list():
            return 1 + max(map(nesting, value), default=0)
    return 0


def depth(value: bytes) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "DEEPEST", -1)
        return module._depth(value)


@given(JSON)
@example({'\\"[': ['\\\\"[', '"', "\\"]})
def test_the_nesting_of_json_is_counted_without_the_brackets_in_its_texts(value: Any) -> None:
    assert depth(msgspec.json.encode(value)) == nesting(value)


def deepest_before_an_error(text: bytes) -> int:
    """Return how deep a decoder gets before it meets a backslash outside of a text, where JSON has none."""
    depth = deepest = at = 0
    in_text = False
    while at < len(text):
        sign = text[at : at + 1]
        if sign == b"\\" and not in_text:
            break
        at += 2 if sign == b"\\" else 1
        in_text ^= sign == b'"'
        depth += 0 if in_text else (sign in b"[{") - (sign in b"]}")
        deepest = max(deepest, depth)
    return deepest


@given(st.lists(st.sampled_from((b"[", b"[", b"]", b"{", b"}", b'"', b"\\", b'\\"', b"\\\\", b","))).map(b"".join))
def test_no_decoder_gets_deeper_into_anything_than_is_counted(text: bytes) -> None:
    assert deepest_before_an_error(text) <= depth(text)


def test_nesting_up_to_the_limit_is_decoded_whatever_else_there_is() -> None:
    for more in ("", '"\\\\",' * 1_000, '"[",' * 1_000, "[]," * 1_000):
        deepest = DEEPEST - 2
        fits = literally("x", f"[{more}{'[' * deepest}{']' * deepest}]")
        assert isinstance(decode_object(fits, KnownFields(PAYMENT)), RawRecord)
        found = decode_object(
            literally("x", f"[{more}{'[' * (deepest + 1)}{']' * (deepest + 1)}]"), KnownFields(PAYMENT)
        )
        assert isinstance(found, Rejection)
        assert found.code is DeadLetterCode.TOO_DEEP


PIECES = (
    b'"', b"{", b"}", b"[", b"]", b",", b":", b"\\", b" ", b"\n", b"1", b"-", b"e", b".", b"0", b"NaN", b"null", b"x",
    b"\xff", b"\xed\xa0\x80", b"\\ud800", b"\\udfff", b"\\u0061", b'"a":', b'"b":[1],', b'{"a":1}', b"9" * 5_000,
    b"1e400", b"\x01",
)  # fmt: skip
SPLICED = st.tuples(
    st.dictionaries(st.sampled_from("abcd"), JSON, max_size=4).map(msgspec.json.encode),
    st.lists(st.tuples(st.integers(0, 80), st.sampled_from(PIECES)), max_size=3),
)


def whole_and_divided(value: bytes) -> list[Any]:
    found = []
    for ordinary in (10**9, -1):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "ORDINARY_VALUE_BYTES", ordinary)
            found.append(decode_object(value, KnownFields("ab")))
    return found


@given(SPLICED)
@example((b'{"a":1,"b":"x","c":1}', [(19, b"9" * 5_000)]))
@example((b'{"a":1,"b":"x","c":1}', [(5, b"9" * 5_000)]))
@example((b'{"a":1,"c":"x"}', [(12, b"\xff")]))
def test_known_fields_are_the_same_whether_unknown_ones_are_decoded_or_not(
    spliced: tuple[bytes, list[tuple[int, bytes]]],
) -> None:
    value, pieces = spliced
    for at, piece in pieces:
        value = value[:at] + piece + value[at:]
    whole, divided = whole_and_divided(value)
    if isinstance(whole, Rejection):
        assert isinstance(divided, Rejection)
        assert divided.code == whole.code
    else:
        assert divided.unknown == whole.unknown
        given = {name: value for name, value in whole.fields.items() if name in "ab"}
        assert divided.fields == {
            name: type(value)() if isinstance(value, list | dict) else value for name, value in given.items()
        }


def test_unknown_fields_of_a_large_value_are_counted_up_to_ten_thousand() -> None:
    for count, counted in ((2_000, 2_000), (9_900, 9_900), (20_000, MOST_COUNTED)):
        found = read_transaction(text(**{f"unknown_{at}": 1 for at in range(count)}), KEY, LATEST_MS)
        assert isinstance(found, ParsedTransaction)
        assert found.unknown == counted


@pytest.mark.parametrize(
    "unknown", ['"more":[' + "[[[[]]]]," * 100_000 + "1]", ",".join(f'"{at}":1' for at in range(90_000))]
)
def test_unknown_fields_of_a_large_value_are_not_built(unknown: str) -> None:
    tracemalloc.start()
    try:
        value = text()[:-1] + f",{unknown}}}".encode()
        began = tracemalloc.get_traced_memory()[0]
        assert isinstance(read_transaction(value, KEY, LATEST_MS), ParsedTransaction)
        assert tracemalloc.get_traced_memory()[1] - began < 12 * len(value)
    finally:
        tracemalloc.stop()


def test_a_value_of_more_than_2_mib_is_refused_before_it_is_decoded() -> None:
    room = LARGEST_VALUE_BYTES - len(text(note=""))
    largest = text(note="x" * room)
    assert isinstance(read_transaction(largest, KEY, LATEST_MS), ParsedTransaction)
    for value in (text(note="x" * (room + 1)), b"[" * (LARGEST_VALUE_BYTES + 1)):
        for found in (read_transaction(value, KEY, LATEST_MS), read_label(value, KEY, (0, 0))):
            assert isinstance(found, Rejection)
            assert found.code is DeadLetterCode.TOO_LARGE
            assert found.detail == f"{LARGEST_VALUE_BYTES + 1} bytes, more than {LARGEST_VALUE_BYTES}"


@pytest.mark.parametrize("name", [*PAYMENT, "account_id", "mcc", "channel", "schema", "kind", "merchant_country"])
def test_a_megabyte_in_a_field_of_a_transaction_is_told_in_a_few_words(name: str) -> None:
    found = read_transaction(text(**{name: MEGABYTE, "amount_minor": -1}), KEY, LATEST_MS)
    assert isinstance(found, Rejection)
    assert len(found.detail) < 1_000


@pytest.mark.parametrize("name", [*MENTION, "merchant_id", "occurred_at", "fraud_type", "schema"])
def test_a_megabyte_in_a_field_of_a_label_is_told_in_a_few_words(name: str) -> None:
    found = read_label(msgspec.json.encode(MENTION | {name: MEGABYTE, "fraud": 1}), KEY, (0, 0))
    assert isinstance(found, Rejection)
    assert len(found.detail) < 1_000


@pytest.mark.parametrize("number", [10**19, 10**4_000, -(10**20)])
def test_a_number_with_more_digits_than_a_card_number_is_merely_invalid(number: int) -> None:
    found = read_transaction(literally("card_id", str(number)), KEY, LATEST_MS)
    assert isinstance(found, Rejection)
    assert found.code is DeadLetterCode.INVALID_FIELD


@pytest.mark.parametrize(("name", "field"), [*TRANSACTION_FIELDS.items(), *LABEL_FIELDS.items()])
@pytest.mark.parametrize("value", ["a b", -1, 1e300, [1], {}, True, ""])
def test_an_invalid_value_is_explained_without_a_pattern(name: str, field: Field, value: object) -> None:
    rejected = read_fields({name: field._replace(required=True)}, {name: value})
    if isinstance(rejected, Rejection):
        assert rejected.detail.startswith(f"{name}: ")
        assert not set(rejected.detail) & set("^$\\|*`")
        assert "regex" not in rejected.detail
