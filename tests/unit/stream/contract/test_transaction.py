import time
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from stream.contract import transaction as module
from stream.contract.codes import UNREADABLE_EVER, DeadLetterCode, Rejection
from stream.contract.fields import ORDINARY_VALUE_BYTES, KnownFields, RawRecord, decode_object
from stream.contract.schema import json_schema
from stream.contract.transaction import (
    ParsedTransaction,
    read_accepted_transaction,
    read_transaction,
)
from stream.id_rules import NO_SHAPES, read_shapes
from support.stream_records import (
    CARD_NUMBER,
    FULL_PAYMENT,
    KEY,
    LATEST_MS,
    PAYMENT,
    RANGE_NUMBERS,
    literally,
    luhn,
    text,
)

OPTIONAL = FULL_PAYMENT.keys() - PAYMENT.keys() - {"schema", "kind"}
CONTENT = OPTIONAL - {"attributes"}
"""A producer's retry may have fresh attributes."""
IDENTIFIERS = ("card_id", "merchant_id", "account_id", "customer_id")


def read(value: bytes | None, key: bytes | None = KEY, latest_ms: int = LATEST_MS) -> ParsedTransaction | Rejection:
    return read_transaction(value, key, latest_ms)


def accepted(value: bytes | None, key: bytes | None = KEY) -> ParsedTransaction:
    found = read(value, key)
    assert isinstance(found, ParsedTransaction), found
    return found


def code(value: bytes | None, key: bytes | None = KEY) -> str:
    found = read(value, key)
    assert isinstance(found, Rejection), found
    return found.code


def test_all_fields_are_read() -> None:
    found = accepted(msgspec.json.encode(FULL_PAYMENT))
    assert msgspec.structs.asdict(found.transaction) == FULL_PAYMENT
    assert (found.occurred_ms, found.utc_offset_minutes, found.dropped, found.unknown) == (1769860800123, 0, (), 0)


@pytest.mark.parametrize(
    ("expected", "value"),
    [
        ("empty_value", None),
        ("empty_value", b""),
        ("not_json", b" "),
        ("not_json", b"card,amount"),
        ("not_json", b"{1:2}"),
        ("not_json", b"{'a':1}"),
        ("not_json", text() + b"x"),
        ("not_json", text() + text()),
        ("not_json", text()[:-1]),
        ("not_json", b"\xef\xbb\xbf" + text()),
        ("not_json", text().decode().encode("utf-16")),
        ("not_json", literally("x", "NaN")),
        ("not_json", literally("amount_minor", "Infinity")),
        ("not_json", literally("latitude", "-Infinity")),
        ("not_json", literally("amount_minor", "01")),
        ("not_json", literally("transaction_id", r'"\ud800"')),
        ("not_json", literally("transaction_id", r'"\udc00x"')),
        ("not_json", literally("x", r'"\ud800"')),
        ("not_json", literally("x", r'"\udfff"')),
        ("not_json", literally("transaction_id", b'"\xed\xa0\x80"')),
        ("not_json", literally("x", b'"\xed\xa0\x80"')),
        ("not_json", text()[:-1] + b',"\xed\xa0\x80":1}'),
        ("not_json", literally("x", b'"\xc0\x80"')),
        ("not_json", literally("transaction_id", '"a\nb"')),
        ("too_deep", literally("x", "[" * 5_000 + "]" * 5_000)),
        ("too_deep", literally("x", "[" * 100_000)),
        ("too_deep", literally("latitude", '{"a":' * 5_000 + "1" + "}" * 5_000)),
        ("too_deep", b"[" * 100_000),
        ("too_deep", literally("x", "[" * 500 + "]" * 500)),
        ("not_an_object", b"[1]"),
        ("not_an_object", b"null"),
        ("not_an_object", b'"text"'),
        ("not_an_object", b"5"),
        ("unsupported_schema", text(schema="transaction/2")),
        ("unsupported_schema", text(schema="label/1")),
        ("unsupported_schema", text(schema="")),
        ("unsupported_schema", text(schema=1)),
        ("unsupported_schema", text(schema=["transaction/1"])),
        ("unsupported_kind", text(kind="refund")),
        ("unsupported_kind", text(kind="Authorization")),
        ("unsupported_kind", text(kind="")),
        ("unsupported_kind", text(kind=0)),
        ("unsupported_kind", text(kind=["authorization"])),
        ("unknown_currency", text(currency="eur")),
        ("unknown_currency", text(currency="")),
        ("unknown_currency", text(currency="ZZZ")),
        ("unknown_currency", text(currency="XXX")),
        ("unknown_currency", text(currency="XAU")),
        ("unknown_currency", text(currency="XTS")),
        ("unknown_currency", text(currency="EUR\n")),
        ("unknown_currency", text(currency="EUR ")),
        ("invalid_field", text(currency=978)),
        ("invalid_field", text(currency=["EUR"])),
    ],
)
def test_an_invalid_transaction_is_rejected_with_its_code(expected: str, value: bytes | None) -> None:
    assert code(value) == expected


@pytest.mark.parametrize("name", PAYMENT)
def test_an_absent_or_null_required_field_is_missing(name: str) -> None:
    assert code(text(**{name: None})) == "missing_field"
    assert code(msgspec.json.encode({key: value for key, value in PAYMENT.items() if key != name})) == "missing_field"


@pytest.mark.parametrize(
    ("name", "literal"),
    [
        *(("amount_minor", literal) for literal in ("-1", "1000000000001", "1" + "0" * 30, "-1e30", "9" * 5_000)),
        *(
            ("amount_minor", literal)
            for literal in ("1.0", "1e2", "1.5", "1e400", "true", "false", '"12"', "[1]", "{}")
        ),
        *(("transaction_id", literal) for literal in ('""', f'"{"x" * 65}"', "5", "true", "{}", "[]")),
        *(
            (name, literal)
            for name in ("card_id", "merchant_id")
            for literal in (
                '""',
                f'"{"x" * 65}"',
                r'"a\n"',
                '"a b"',
                '"a/b"',
                '"ä"',
                r'"\u0663"',
                '"a\u00ad"',
                "5",
                "true",
            )
        ),
        *(("occurred_at", literal) for literal in ("1.0", "1e12", "true", "-1", "9" * 30, "253402300800000", "[]")),
        *(
            ("occurred_at", f'"{literal}"')
            for literal in (
                "",
                "2026-01-31",
                "2026-01-31T12:00:00",
                "2026-01-31  12:00:00Z",
                "2026-02-30T12:00:00Z",
                "2026-01-31T24:00:00Z",
                "2016-12-31T23:59:60Z",
                "2026-01-31T12:00:00+24:00",
                "2026-01-31T12:00:00+0100",
                "2026-01-31T12:00:00,5Z",
                "2026-01-31T12:00:00.Z",
                "1969-12-31T23:59:59.999Z",
                "1970-01-01T00:00:00+00:01",
                "10000-01-01T00:00:00Z",
                "9999-12-31T23:59:59-00:01",
                "2026-01-31T12:00:00Z\\n",
                "\uff12026-01-31T12:00:00Z",
            )
        ),
    ],
)
def test_a_required_field_of_a_wrong_type_or_value_is_invalid(name: str, literal: str) -> None:
    found = read(literally(name, literal))
    assert isinstance(found, Rejection)
    assert found.code is DeadLetterCode.INVALID_FIELD
    assert name in found.detail
    assert len(found.detail) < 400


@pytest.mark.parametrize("name", ["device_id", "latitude", "mcc", "merchant_amount_minor"])
@pytest.mark.parametrize("sign", ["", "-"])
def test_an_optional_field_with_more_digits_than_python_converts_is_dropped(name: str, sign: str) -> None:
    found = read(literally(name, f"{sign}{'9' * 5_000}"))
    assert isinstance(found, ParsedTransaction)
    assert found.dropped == (name,)


@pytest.mark.parametrize(
    ("literal", "epoch_ms", "offset"),
    [
        ('"2026-01-31T12:00:00Z"', 1769860800000, 0),
        ('"2026-01-31t12:00:00z"', 1769860800000, 0),
        ('"2026-01-31T12:00:00-00:00"', 1769860800000, 0),
        ('"2026-01-31T12:00:00.1Z"', 1769860800100, 0),
        ('"2026-01-31T12:00:00.1239Z"', 1769860800123, 0),
        ('"2026-01-31T12:00:00.123999999Z"', 1769860800123, 0),
        ('"2026-01-31T12:00:00.9999999999999Z"', 1769860800999, 0),
        ('"2026-02-01T11:59:00+23:59"', 1769860800000, 1439),
        ('"2026-01-30T12:01:00-23:59"', 1769860800000, -1439),
        ("1769860800123", 1769860800123, 0),
        ("0", 0, 0),
        ('"1970-01-01T00:00:00Z"', 0, 0),
    ],
)
def test_times_are_cut_to_milliseconds_and_keep_their_utc_offset(literal: str, epoch_ms: int, offset: int) -> None:
    found = accepted(literally("occurred_at", literal))
    assert (found.occurred_ms, found.utc_offset_minutes) == (epoch_ms, offset)


def test_a_time_one_millisecond_past_the_latest_allowed_is_in_the_future() -> None:
    assert isinstance(read(text(occurred_at=LATEST_MS)), ParsedTransaction)
    assert code(text(occurred_at=LATEST_MS + 1)) == "in_the_future"
    assert isinstance(read(text(occurred_at=5), latest_ms=-(10**18)), Rejection)


@pytest.mark.parametrize("name", ["transaction_id", "card_id", "merchant_id", "device_id"])
def test_identifiers_of_64_characters_are_accepted(name: str) -> None:
    longest = "aA0._:@-" * 8
    key = longest.encode() if name == "card_id" else KEY
    assert getattr(accepted(text(**{name: longest}), key).transaction, name) == longest


def test_a_transaction_id_may_be_any_text_of_up_to_64_characters() -> None:
    for name in ("\U0001f4b3" * 64, " ", "\x00", "a/b?"):
        assert accepted(text(transaction_id=name)).transaction.transaction_id == name
    assert accepted(literally("transaction_id", r'"\ud83d\udcb3"')).transaction.transaction_id == "\U0001f4b3"


@pytest.mark.parametrize("key", [None, b"", b"card-2", b"card-1 ", b'"card-1"', b"CARD-1", b"\xff" * 200])
def test_a_key_other_than_the_card_id_is_rejected(key: bytes | None) -> None:
    assert code(text(), key) == "wrong_key"
    assert code(text(note="unknown"), key) == "wrong_key"


# --- card numbers


@pytest.mark.parametrize("name", ["card_id", "merchant_id"])
@given(number=RANGE_NUMBERS, dash=st.sampled_from(("", *"._:@-")), zeros=st.sampled_from(("", "0", "0000")))
def test_a_card_number_as_the_id_of_a_card_or_merchant_is_rejected(
    name: str, number: str, dash: str, zeros: str
) -> None:
    identifier = f"{zeros}{number[:5]}{dash}{number[5:]}"
    found = read(text(**{name: identifier}), identifier.encode() if name == "card_id" else KEY)
    assert isinstance(found, Rejection)
    assert found.code is DeadLetterCode.CARD_NUMBER
    assert number not in found.detail


@pytest.mark.parametrize("name", ["account_id", "customer_id", "device_id"])
@given(number=RANGE_NUMBERS, dash=st.sampled_from(("", *"._:@-")))
def test_a_card_number_as_another_id_is_dropped(name: str, number: str, dash: str) -> None:
    assert accepted(text(**{name: f"{number[:5]}{dash}{number[5:]}"})).dropped == (name,)


@pytest.mark.parametrize("name", ["card_id", "merchant_id"])
def test_a_spaced_numeric_or_escaped_card_number_is_rejected(name: str) -> None:
    spaced = " ".join(CARD_NUMBER[at : at + 4] for at in range(0, 16, 4))
    escaped = '"' + "".join(f"\\u{ord(digit):04x}" for digit in CARD_NUMBER) + '"'
    for value in (text(**{name: spaced}), text(**{name: int(CARD_NUMBER)})):
        assert code(value) == "card_number"
    assert code(literally(name, escaped)) == "card_number"


@pytest.mark.parametrize("shape", ["digits:16", "prefixed:4"])
def test_a_declared_shape_is_accepted(shape: str) -> None:
    ids = read_shapes(f"card_id={shape}")
    key = CARD_NUMBER.encode()
    for record in (text(card_id=CARD_NUMBER), text(card_id=CARD_NUMBER, more=1)):
        assert isinstance(read_transaction(record, key, LATEST_MS, ids), ParsedTransaction)
    refused = read_transaction(text(card_id=CARD_NUMBER, merchant_id=CARD_NUMBER), key, LATEST_MS, ids)
    assert isinstance(refused, Rejection)
    assert refused.detail.startswith("merchant_id: is a card number")


def test_a_card_number_determines_the_code_and_other_errors_are_reported_too() -> None:
    found = read(text(transaction_id=None, currency="ZZZ", merchant_id=CARD_NUMBER))
    assert isinstance(found, Rejection)
    assert found.code is DeadLetterCode.CARD_NUMBER
    assert all(name in found.detail for name in ("transaction_id", "currency", "merchant_id"))


def test_no_detail_contains_the_beginning_of_a_card_number() -> None:
    for padding in range(60, 90):
        plant = "x" * padding + CARD_NUMBER
        values = [text(**{name: plant}) for name in ("schema", "kind", "transaction_id", "occurred_at", "currency")]
        for found in [
            *(read(value) for value in values),
            read(text(), plant.encode()),
            read(text(transaction_id=[plant])),
        ]:
            assert isinstance(found, Rejection)
            assert CARD_NUMBER[:6] not in found.detail


@pytest.mark.parametrize(
    "identifier",
    [
        "9" * 16,
        luhn("45320151128"),
        luhn("45320151128303661239"),
        f"tok_{CARD_NUMBER}",
        f"{CARD_NUMBER}x",
        CARD_NUMBER * 2,
        CARD_NUMBER[:-1] + str((int(CARD_NUMBER[-1]) + 1) % 10),
    ],
)
@pytest.mark.parametrize("name", IDENTIFIERS)
def test_digits_that_are_not_a_card_number_are_accepted(name: str, identifier: str) -> None:
    accepted(text(**{name: identifier}), identifier.encode() if name == "card_id" else KEY)


# --- optional fields


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        *(
            (name, wrong)
            for name in ("account_id", "customer_id", "device_id")
            for wrong in ("", "a b", "x" * 65, 5, [])
        ),
        *(("mcc", wrong) for wrong in ("541", "54111", "54a1", "\u0665\u0664\u0661\u0661", "5411\n", 5411)),
        *(("channel", wrong) for wrong in ("web", "POS", "", 1)),
        *(
            (name, wrong)
            for name in ("merchant_country", "card_country")
            for wrong in ("XX", "de", "DEU", "", "DE\n", 1)
        ),
        *(("latitude", wrong) for wrong in (90.1, -91, "52.5", True, 10**400)),
        *(("longitude", wrong) for wrong in (180.1, -181, "13", False, {})),
        *(("merchant_amount_minor", wrong) for wrong in (-1, 10**12 + 1, 1.0, "1", True)),
        *(("merchant_currency", wrong) for wrong in ("usd", "XXX", "", 840)),
    ],
)
def test_an_invalid_optional_field_is_dropped_and_named(name: str, wrong: Any) -> None:
    value = literally(name, str(wrong)) if isinstance(wrong, int) and wrong > 2**63 else text(**{name: wrong})
    found = accepted(value)
    assert found.dropped == (name,)
    assert getattr(found.transaction, name) is None


def test_null_counts_as_absent_and_not_as_dropped() -> None:
    found = accepted(text(**dict.fromkeys(FULL_PAYMENT.keys() - PAYMENT.keys())))
    assert found == accepted(text())


def test_unknown_fields_are_ignored_and_counted() -> None:
    found = accepted(text(pan=CARD_NUMBER, more={"a": [None]}, Schema="transaction/1", **{"": 1}))
    assert found.unknown == 4
    assert found._replace(unknown=0) == accepted(text())


def test_the_last_value_of_a_repeated_field_counts() -> None:
    assert accepted(text()[:-1] + b',"amount_minor":7}').transaction.amount_minor == 7
    assert accepted(b'{"amount_minor":"x",' + text()[1:]).transaction.amount_minor == 1250


# --- what a repeated transaction must repeat


def test_the_content_hash_depends_on_the_fields_that_are_read_and_nothing_else() -> None:
    content = accepted(text()).content
    same = [
        msgspec.json.encode(dict(reversed(PAYMENT.items()))),
        text(schema="transaction/1", kind="authorization", note=1),
        text(mcc=None),
        text(mcc="x"),
        text(occurred_at=1769860800123),
        text(attributes={"risk": 0.5}),
        text(attributes={"risk": []}),
        text(occurred_at="2026-01-31T12:00:00.1239+00:00"),
        text().replace(b'":', b'" : '),
    ]
    assert [accepted(value).content for value in same] == [content] * len(same)
    other = [text(**{name: value}) for name, value in FULL_PAYMENT.items() if name in CONTENT]
    other += [text(amount_minor=1251), text(currency="USD"), text(occurred_at="2026-01-31T13:00:00.123+01:00")]
    assert len({accepted(value).content for value in other} | {content}) == len(other) + 1


# --- the decoding paths agree

VALUES = st.sampled_from(
    [None, True, 0, -1, 1.0, 1.5, "", "x", "X" * 65, "a b", [], {}, 10**13, "EUR", "XXX", "DE", "5411"]
)
RECORDS = st.fixed_dictionaries(
    {}, optional={name: st.just(value) | VALUES for name, value in FULL_PAYMENT.items()}
).flatmap(lambda chosen: st.sampled_from([chosen, FULL_PAYMENT | chosen, PAYMENT | chosen]))


def outcome(found: ParsedTransaction | Rejection) -> object:
    return found.code if isinstance(found, Rejection) else found


@pytest.mark.parametrize(
    ("record", "content"),
    [
        (PAYMENT, 11447301848653076546),
        (PAYMENT | {"schema": "transaction/1", "kind": "authorization"}, 11447301848653076546),
        (FULL_PAYMENT, 10939276837115660888),
        (FULL_PAYMENT | {"mcc": "x"}, 14357087784762633493),
    ],
)
def test_the_hash_of_a_payments_content_is_that_of_the_histories_that_are_stored(
    record: dict[str, Any], content: int
) -> None:
    value = msgspec.json.encode(record)
    for same in (value, value + b" " * ORDINARY_VALUE_BYTES, msgspec.json.encode(record | {"more": 1})):
        assert accepted(same).content == content


@given(RECORDS)
def test_the_four_decoding_paths_agree(record: dict[str, Any]) -> None:
    value = msgspec.json.encode(record)
    fast = outcome(read(value))
    careful = outcome(read(msgspec.json.encode(record | {"more": 1})))
    raw = decode_object(value, KnownFields(FULL_PAYMENT))
    assert isinstance(raw, RawRecord)
    slow = outcome(module._read_field_by_field(raw, KEY, LATEST_MS, NO_SHAPES))
    assert slow == fast
    assert outcome(read(value + b" " * ORDINARY_VALUE_BYTES)) == fast
    assert (careful._replace(unknown=0) if isinstance(careful, ParsedTransaction) else careful) == fast


@example(FULL_PAYMENT | {"occurred_at": 10_000_000_000_000})
@given(RECORDS)
def test_decoder_and_schema_agree_apart_from_what_a_schema_cannot_express_and_what_is_dropped(
    record: dict[str, Any],
) -> None:
    if Draft202012Validator(json_schema("transaction/1")).is_valid(record):
        found = read(msgspec.json.encode(record))
        # Tables, keys, the record's own time, the calendar, and 1.0 for 1.
        beyond = {"unknown_currency", "wrong_key", "in_the_future", "invalid_field"}
        assert isinstance(found, ParsedTransaction) or found.code in beyond
    elif isinstance(read(msgspec.json.encode(record)), ParsedTransaction):
        found = accepted(msgspec.json.encode(record))
        assert found.dropped or record.get("schema", 1) is None or record.get("kind", 1) is None


@given(
    st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.dictionaries(st.text(), inner))
)
def test_arbitrary_json_is_rejected_without_an_exception(value: Any) -> None:
    assert isinstance(read(msgspec.json.encode(value)), Rejection)


@given(st.binary(max_size=60) | st.binary(max_size=40).map(lambda piece: text()[:40] + piece + text()[40:]))
def test_arbitrary_bytes_are_accepted_or_rejected_without_an_exception(value: bytes) -> None:
    assert isinstance(read(value), ParsedTransaction | Rejection)


def test_an_unterminated_string_is_scanned_in_linear_time() -> None:
    value = b"[" * 501 + b'"' + b'\\"' * 400_000
    began = time.process_time()
    assert code(value) == "too_deep"
    assert time.process_time() - began < 1.0, "quadratic work would take minutes"


@pytest.mark.parametrize("amount", ["12", "4\t5", "", [], None])
def test_an_accepted_record_whose_amount_is_no_number_is_none_that_can_be_computed_with(amount: object) -> None:
    """Else the record that was refused for it raises an error when its card's history is asked for it."""
    found = read_accepted_transaction(msgspec.json.encode(PAYMENT | {"amount_minor": amount}))
    assert isinstance(found, Rejection)
    assert found.code in {DeadLetterCode.INVALID_FIELD, DeadLetterCode.MISSING_FIELD}


ANY_FIELDS = st.dictionaries(
    st.sampled_from([*FULL_PAYMENT, "schema", "more"]), st.none() | st.integers() | st.text() | st.just("erasure")
)


@given((RECORDS | ANY_FIELDS).map(msgspec.json.encode) | st.binary(max_size=40))
@example(b"[" * 600 + b"]" * 600)
@example(b"7" * 5_000)
def test_what_can_never_be_read_is_not_accepted_as_if_it_had_been_before_either(value: bytes) -> None:
    for one in (value, value.replace(b'"authorization"', b'"erasure"')):
        found = read(one)
        if isinstance(found, Rejection) and found.code in UNREADABLE_EVER:
            assert isinstance(read_accepted_transaction(one), Rejection)
