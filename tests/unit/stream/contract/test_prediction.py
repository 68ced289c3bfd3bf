"""`prediction/1`: what is accepted, and what each refused record is refused for."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from features.history.store import Prediction
from stream.contract.codes import DeadLetterCode, Rejection
from stream.contract.prediction import ParsedPrediction, PredictionSource, read_prediction
from stream.contract.schema import json_schema

AT_MS = 1_767_225_600_000
SOURCE = PredictionSource(3, 41, AT_MS + 60_000, 300_000)
PLAIN = {"card_id": "card-1", "name": "teacher", "value": 0.25, "computed_at": "2026-01-01T00:00:00Z"}


def read(key: bytes | None = b"card-1", **changes: Any) -> ParsedPrediction | Rejection:
    return read_prediction(msgspec.json.encode(PLAIN | changes), key, SOURCE)


def test_a_prediction_is_read_with_its_place_and_when_it_came() -> None:
    found = read(model="slow teacher 7", another=1)
    expected = Prediction("card-1", "teacher", 0.25, AT_MS, AT_MS + 60_000, 3, 41)
    assert found == ParsedPrediction(expected, 1)
    Draft202012Validator(json_schema("prediction/1")).validate(PLAIN)


@pytest.mark.parametrize("value", [0, -1.5, 10**9, None, 1e-300])
def test_a_value_is_any_finite_number_or_null(value: float | None) -> None:
    found = read(value=value)
    assert isinstance(found, ParsedPrediction)
    assert found.prediction.value == value


@pytest.mark.parametrize(
    ("changes", "code", "detail"),
    [
        ({"value": "0.5"}, DeadLetterCode.INVALID_FIELD, "value: expected a finite number or null, got '0.5'"),
        ({"value": True}, DeadLetterCode.INVALID_FIELD, "value: expected a finite number"),
        ({"value": []}, DeadLetterCode.INVALID_FIELD, "value: expected a finite number"),
        ({"name": "a b"}, DeadLetterCode.INVALID_FIELD, "name: "),
        ({"name": None}, DeadLetterCode.MISSING_FIELD, "name: absent or null"),
        ({"card_id": "4111111111111111"}, DeadLetterCode.CARD_NUMBER, "card_id: is a card number"),
        ({"computed_at": "2026-01-01T00:00:00"}, DeadLetterCode.INVALID_FIELD, "computed_at: "),
        ({"computed_at": AT_MS + 360_001}, DeadLetterCode.IN_THE_FUTURE, "is 1 ms later than the record's timestamp"),
        ({"schema": "label/1"}, DeadLetterCode.UNSUPPORTED_SCHEMA, "expected 'prediction/1'"),
    ],
)
def test_what_is_no_prediction_is_refused_with_its_field(
    changes: dict[str, Any], code: DeadLetterCode, detail: str
) -> None:
    found = read(b"4111111111111111" if "card_id" in changes else b"card-1", **changes)
    assert isinstance(found, Rejection)
    assert found.code is code
    assert detail in found.detail


def test_an_absent_value_is_refused_since_null_would_hide_the_prediction_before_it() -> None:
    without = {name: value for name, value in PLAIN.items() if name != "value"}
    found = read_prediction(msgspec.json.encode(without), b"card-1", SOURCE)
    assert found == Rejection(DeadLetterCode.MISSING_FIELD, "value: absent; give a number, or null for no prediction")


def test_an_infinite_value_and_another_key_are_refused() -> None:
    found = read_prediction(json.dumps(PLAIN).replace("0.25", "1e999").encode(), b"card-1", SOURCE)
    assert isinstance(found, Rejection)
    assert found.code is DeadLetterCode.INVALID_FIELD
    wrong = read(b"card-2")
    assert isinstance(wrong, Rejection)
    assert wrong.code is DeadLetterCode.WRONG_KEY


numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
anything = st.none() | st.booleans() | numbers | st.text() | st.just([]) | st.just({})


@given(st.dictionaries(st.sampled_from([*PLAIN, "model", "schema"]), anything))
def test_any_object_is_a_prediction_or_refused(fields: dict[str, Any]) -> None:
    assert isinstance(read_prediction(json.dumps(fields).encode(), b"card-1", SOURCE), ParsedPrediction | Rejection)
