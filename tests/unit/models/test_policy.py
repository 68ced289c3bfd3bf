import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudstream_client.outputs import Decision
from models.calibration import Calibration, Calibrator
from models.policy import Policy, bands

SCORES = st.floats(0, 1)


def band_of_the_contract(score: Any) -> Any:
    if score in {0.0, 1.0}:
        return 999 * int(score)
    return min(999, max(0, round(500 + 50 * math.log2(score / (1 - score) * 99))))


def is_a_rounding_tie(score: Any) -> Any:
    if score in {0.0, 1.0}:
        return False
    exact = 500 + 50 * math.log2(score / (1 - score) * 99)
    return abs(exact % 1 - 0.5) < 1e-9


@given(st.lists(SCORES | st.floats(1e-7, 1e-3), min_size=1))
def test_bands_follow_the_formula_of_the_contract(scores: Any) -> None:
    for score, band in zip(scores, bands(np.array(scores)).tolist(), strict=True):
        assert band == band_of_the_contract(score) or is_a_rounding_tie(score)


@given(st.lists(SCORES, min_size=2))
def test_a_higher_score_never_gets_a_lower_band_or_a_milder_decision(scores: Any) -> None:
    ordered = np.sort(np.array(scores))
    assert (np.diff(bands(ordered)) >= 0).all()
    severity = [list(Decision).index(decision) for decision in Policy(0.3, 0.7).decide(ordered)]
    assert severity == sorted(severity)


def test_a_score_equal_to_a_threshold_meets_it() -> None:
    decisions = Policy(review_at=0.5, decline_at=0.75).decide(np.array([0.0, np.nextafter(0.5, 0), 0.5, 0.75, 1.0]))
    assert decisions == ["approve", "approve", "review", "decline", "decline"]
    assert Policy(2.0, 2.0).decide(np.array([1.0])) == [Decision.APPROVE]


@pytest.mark.parametrize("thresholds", [(0.8, 0.5), (-0.1, 0.5), (math.nan, 0.5), (0.5, math.nan)])
def test_an_invalid_policy_cannot_be_built(thresholds: Any) -> None:
    with pytest.raises(ValueError, match="must be 0 <= review_at <= decline_at"):
        Policy(*thresholds)


KNOTS = (
    st.integers(2, 40)
    .flatmap(
        lambda count: st.tuples(
            st.lists(st.floats(-50, 50), min_size=count, max_size=count, unique=True).map(sorted).map(tuple),
            st.lists(SCORES, min_size=count, max_size=count, unique=True).map(sorted).map(tuple),
        )
    )
    .filter(lambda knots: min(np.diff(knots[0])) > 1e-9)
)


@given(KNOTS, st.lists(st.floats(-60, 60), min_size=1))
def test_calibration_is_monotone_meets_its_knots_and_stays_within_them(knots: Any, margins: Any) -> None:
    calibrator = Calibrator.of(Calibration(*knots))
    at_knots = calibrator.probabilities(np.array(knots[0]))
    assert at_knots[:-1].tolist() == list(knots[1][:-1])  # the last one is the end of a line, equal only up to rounding
    scores = calibrator.probabilities(np.sort(np.array([*margins, *knots[0]])))
    assert (np.diff(scores) >= 0).all()
    assert scores.min() >= knots[1][0]
    assert scores.max() <= knots[1][-1]
    assert np.allclose(scores, np.interp(np.sort(np.array([*margins, *knots[0]])), *knots))


def test_calibration_is_the_same_alone_and_in_a_batch() -> None:
    calibrator = Calibrator.of(Calibration(tuple(np.linspace(-9, 9, 128)), tuple(np.linspace(0.001, 0.99, 128))))
    margins = np.random.default_rng(3).normal(scale=5, size=1_000)
    alone = [calibrator.probabilities(np.array([margin]))[0] for margin in margins]
    assert calibrator.probabilities(margins).tolist() == alone


@pytest.mark.parametrize(
    ("margins", "probabilities"),
    [((0.0,), (0.5,)), ((0.0, 0.0), (0.1, 0.2)), ((0.0, 1.0), (0.2, 0.2)), ((0.0, 1.0), (0.2, 1.2)),
     ((0.0, 1.0), (-0.1, 0.2)), ((0.0, math.inf), (0.1, 0.2)), ((0.0, math.nan, 1.0), (0.1, 0.2, 0.3)),
     ((0.0, 1.0, 2.0), (0.1, 0.2))],
)  # fmt: skip
def test_an_invalid_calibration_cannot_be_built(margins: Any, probabilities: Any) -> None:
    with pytest.raises(ValueError, match="calibration"):
        Calibration(margins, probabilities)
