"""The port: a view is read as strictly as a score, valid by the same rule, and its features in any order."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudstream_client.outputs import (
    Outcome,
    PredictionOutcome,
    PredictionPositions,
    PredictionStatus,
    Score,
    Source,
)
from fraudstream_client.validity import ValidScores
from stream.readers import (
    UNREADABLE,
    LabelView,
    ScoreView,
    ValidViews,
    feature_rows,
    read_label_view,
    read_scores,
    read_view,
)
from support.handmade_scores import handmade_scores, score
from support.outcome_cases import outcome_value, score_value
from support.stream_records import Told


@pytest.mark.parametrize("seed", range(4))
def test_the_valid_views_are_the_scores_that_everybody_tells_valid(seed: int) -> None:
    records = [Told(value, partition=at, offset=n) for n, (at, value) in enumerate(handmade_scores(seed))]
    rule, views = ValidScores[Any](), ValidViews()
    expected = [(record.partition, one.transaction_id) for record, one in rule.of(records)]
    found = [(record.partition, one.transaction_id) for record, one in views.of(read_scores(records))]  # type: ignore[arg-type]
    assert found == expected
    assert (views.standings, views.all_void, views.unreadable) == (rule.standings, rule.void, rule.unreadable)
    assert {number: views.last_place(number) for number in views.standings} == {
        number: one.last_place for number, one in rule.standings.items()
    }


def test_a_view_has_what_the_score_has() -> None:
    value = score_value(overruled={"by": "decline_cap", "from": "decline"}, decision="review", propensity=0.5)
    whole, view = msgspec.json.decode(value, type=Score), read_view(value)
    for name in ScoreView.__struct_fields__:
        if name not in {"features", "positions"}:
            assert getattr(view, name) == getattr(whole, name), name
    assert (view.ruled, view.digest) == (whole.ruled, whole.model and whole.model.digest)
    assert view.positions.history_epoch == whole.positions.history_epoch


@pytest.mark.parametrize(
    "changes",
    [
        {"epoch": -1},
        {"epoch": "1"},
        {"source": {"topic": "t", "partition": 0, "offset": -1}},
        {"source": None},
        {"schema": "score/2"},
        {"decision": "maybe"},
        {"transaction_id": ""},
        {"amount_minor": 1.5},
        {"score": 2.0},
    ],
    ids=str,
)
def test_what_is_no_score_is_no_view(changes: dict[str, Any]) -> None:
    value = msgspec.json.encode(msgspec.json.decode(score(0, 1, 0, 1)) | changes)
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(value, type=Score)
    (record,) = read_scores([Told(value)])  # type: ignore[list-item]
    assert record.view is None


names = st.lists(st.text("abxyz_19", min_size=1, max_size=9), min_size=1, max_size=6, unique=True)
values = st.none() | st.floats(allow_nan=False, allow_infinity=False)


@given(names, st.data())
def test_features_come_in_the_order_that_is_asked_for(asked: list[str], data: st.DataObject) -> None:
    stated = data.draw(st.dictionaries(st.sampled_from(asked) | st.text(max_size=8), values))
    view = read_view(score_value(features=stated))
    (row,) = feature_rows([view], asked)
    assert row == tuple(stated.get(name) for name in asked)


@pytest.mark.parametrize("stated", [None, [], {"f": "text"}])
def test_a_score_without_features_has_no_row(stated: object) -> None:
    view = read_view(msgspec.json.encode(msgspec.json.decode(score(0, 1, 0, 1)) | {"features": stated}))
    assert feature_rows([view], ["f"]) == [None]


LABEL_CHANGES: list[dict[str, Any]] = [
    {},
    {"fraud": False, "status": "stale", "occurred_at": None},
    {"fraud_type": "x"},
]


@pytest.mark.parametrize("changes", LABEL_CHANGES, ids=str)
def test_a_view_has_what_the_outcome_of_a_label_has(changes: dict[str, Any]) -> None:
    value = outcome_value(**changes)
    whole, view = msgspec.json.decode(value, type=Outcome), read_label_view(value)
    assert view is not None
    for name in LabelView.__struct_fields__:
        expected = getattr(whole, name)
        assert getattr(view, name) == (None if expected is msgspec.UNSET else expected), name
    assert (view.place, view.is_of("default"), view.is_of("green")) == (whole.source.offset, True, False)


@pytest.mark.parametrize(
    "changes",
    [{"fraud": 1}, {"status": "lost"}, {"schema": "outcome/2"}, {"kind": "guess"}, {"source": None}, {"card_id": ""}],
    ids=str,
)
def test_what_is_no_outcome_of_a_label_is_no_view(changes: dict[str, Any]) -> None:
    value = outcome_value(**changes)
    with pytest.raises(UNREADABLE):
        msgspec.json.decode(value, type=Outcome)
    with pytest.raises(UNREADABLE):
        read_label_view(value)


def test_the_outcome_of_a_prediction_states_no_label_and_is_no_fault() -> None:
    source = Source(topic="predictions", partition=0, offset=3)
    outcome = PredictionOutcome(
        card_id="c-1",
        name="risk",
        computed_at="2026-02-10T12:00:00.000Z",
        positions=PredictionPositions(history_epoch=1, prediction=1),
        status=PredictionStatus.APPLIED,
        source=source,
    )
    assert read_label_view(msgspec.json.encode(outcome)) is None
    for value in (None, b"", b"{", b"\xff"):
        with pytest.raises(UNREADABLE):
            read_label_view(value)
