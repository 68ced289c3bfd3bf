"""The port: a view is read as strictly as a score, valid by the same rule, and its features in any order."""

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.consumer import ValidScores
from stream.contract.outputs import Score
from stream.readers import ScoreView, ValidViews, feature_rows, read_scores, read_view
from support.handmade_scores import handmade_scores, score
from support.outcome_cases import score_value
from support.stream_records import Told

FIELDS = ("transaction_id", "card_id", "decision", "decided_by", "revision", "epoch", "deployment", "latency_ms")


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


names = st.lists(st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True), min_size=1, max_size=6, unique=True)
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


def test_an_undefined_feature_is_not_a_number_in_a_matrix() -> None:
    rows = feature_rows([read_view(score_value(features={"b": 2.0}))], ["a", "b"])
    assert np.array_equal(np.array(rows, np.float64), [[np.nan, 2.0]], equal_nan=True)
