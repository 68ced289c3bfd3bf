from typing import Any

import msgspec
import pytest

from features.history.store import Label
from stream.contract.codes import Rejection
from stream.contract.label import read_label
from support.stream_records import CARD_NUMBER, KEY, MENTION

EVERYTHING = MENTION | {
    "schema": "label/1",
    "merchant_id": "merchant-1",
    "occurred_at": "2026-01-31T12:00:00.1239Z",
    "fraud_type": "stolen card",
}


def label_json(**changes: Any) -> bytes:
    return msgspec.json.encode(MENTION | changes)


def read(value: bytes | None, key: bytes | None = KEY) -> Label | Rejection:
    found = read_label(value, key, (3, 14))
    return found if isinstance(found, Rejection) else found.label


def test_all_fields_are_read() -> None:
    expected = Label("t-1", "card-1", True, 1769904000000, "customer", "merchant-1", 1769860800123, 3, 14)  # noqa: FBT003 - a named tuple's field
    assert read(msgspec.json.encode(EVERYTHING)) == expected
    assert read(label_json()) == expected._replace(merchant_id=None, occurred_ms=None)


@pytest.mark.parametrize(
    ("expected", "value"),
    [
        ("empty_value", None),
        ("not_json", b"fraud"),
        ("too_deep", label_json()[:-1] + b',"more":' + b"[" * 100_000 + b"}"),
        ("not_an_object", b"[]"),
        ("unsupported_schema", label_json(schema="transaction/1")),
        *(("missing_field", label_json(**{name: None})) for name in MENTION),
        *(("invalid_field", label_json(fraud=wrong)) for wrong in (1, 0, "true", [], 1.0)),
        *(("invalid_field", label_json(labelled_at=wrong)) for wrong in ("2026-02-01T00:00:00", -1, True, 1.0, "")),
        *(("invalid_field", label_json(reported_by=wrong)) for wrong in ("bank", "", 1, "Customer")),
        *(("invalid_field", label_json(card_id=wrong)) for wrong in ("", "a b", "x" * 65, 5)),
        *(("invalid_field", label_json(transaction_id=wrong)) for wrong in ("", "x" * 65, 5)),
        ("card_number", label_json(card_id=CARD_NUMBER)),
        ("card_number", label_json(card_id=".".join((CARD_NUMBER[:4], CARD_NUMBER[4:])), fraud=None)),
    ],
)
def test_an_invalid_label_is_rejected_with_its_code(expected: str, value: bytes | None) -> None:
    found = read(value)
    assert isinstance(found, Rejection)
    assert found.code == expected
    assert CARD_NUMBER not in found.detail


@pytest.mark.parametrize("key", [None, b"", b"card-2"])
def test_a_key_other_than_the_card_id_is_rejected(key: bytes | None) -> None:
    found = read(label_json(), key)
    assert isinstance(found, Rejection)
    assert found.code == "wrong_key"


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("merchant_id", "a b"), ("merchant_id", CARD_NUMBER), ("occurred_at", "2026-01-31"), ("fraud_type", "")],
)
def test_an_invalid_optional_field_is_ignored(name: str, wrong: str) -> None:
    assert read(label_json(**{name: wrong})) == read(label_json())


def test_unknown_fields_are_counted() -> None:
    assert read_label(label_json(schema="label/1", more=[1], other=None), KEY, (3, 14))[1] == 2
    assert read_label(msgspec.json.encode(EVERYTHING), KEY, (3, 14))[1] == 0
