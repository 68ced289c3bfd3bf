"""Reliability against a recount and against scikit-learn, and the errors that are summed from it."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss
from sklearn.metrics import log_loss as sklearn_log_loss

from metrics.calibration import (
    LEAST_PROBABILITY,
    brier_score,
    calibration_error,
    constant_log_loss,
    equal_counts,
    equal_widths,
    log_losses,
    reliability,
)
from metrics.errors import MeasureInputError

ROWS = st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=1, max_size=60)
EDGES = st.lists(st.floats(0.01, 0.99), max_size=6, unique=True).map(lambda inner: np.array([0.0, *sorted(inner), 1.0]))


def columns(rows: list[tuple[bool, float]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([row[0] for row in rows]), np.array([row[1] for row in rows])


@given(ROWS, EDGES)
def test_each_bin_has_the_mean_score_and_fraud_rate_of_its_payments(rows: Any, edges: np.ndarray) -> None:
    found = reliability(*columns(rows), edges)
    assert [(one.low, one.high) for one in found] == list(pairwise(edges))
    for one in found:
        inside = [row for row in rows if one.low <= row[1] < one.high or row[1] == one.high == 1]
        assert one.payments == len(inside)
        if not inside:
            assert (one.mean_score, one.fraud_rate) == (None, None)
            continue
        assert one.mean_score == pytest.approx(sum(score for _, score in inside) / len(inside))
        assert one.fraud_rate == pytest.approx(sum(fraud for fraud, _ in inside) / len(inside))


def test_the_table_and_the_brier_score_agree_with_scikit_learn() -> None:
    random = np.random.default_rng(1)
    scores = random.random(2_000)
    fraud = random.random(2_000) < scores**2
    for edges, strategy in ((equal_widths(10), "uniform"), (equal_counts(scores, 10), "quantile")):
        rates, means = calibration_curve(fraud, scores, n_bins=10, strategy=strategy)
        found = reliability(fraud, scores, edges)
        assert [one.fraud_rate for one in found] == pytest.approx(rates.tolist(), abs=0.01)
        assert [one.mean_score for one in found] == pytest.approx(means.tolist(), abs=0.01)
    assert brier_score(fraud, scores) == pytest.approx(brier_score_loss(fraud, scores))


@given(ROWS, EDGES)
def test_the_calibration_error_is_the_mean_gap_over_payments(rows: Any, edges: np.ndarray) -> None:
    found = reliability(*columns(rows), edges)
    gaps = [abs((one.fraud_rate or 0.0) - (one.mean_score or 0.0)) for one in found for _ in range(one.payments)]
    assert calibration_error(found) == pytest.approx(sum(gaps) / len(rows), abs=1e-12)


def test_bins_of_equal_count_hold_equally_many_and_fall_together_where_scores_are_equal() -> None:
    scores = np.arange(1_000) / 1_000
    found = reliability(np.zeros(1_000), scores, equal_counts(scores, 10))
    assert {one.payments for one in found} == {100}
    assert equal_counts(np.full(10, 0.25), 10).tolist() == [0.0, 0.25, 1.0]
    assert equal_counts(np.empty(0), 10).tolist() == [0.0, 1.0]


def test_no_payments_have_no_score() -> None:
    nothing = np.empty(0)
    assert brier_score(nothing, nothing) is None
    assert calibration_error(reliability(nothing, nothing, equal_widths(3))) is None


@pytest.mark.parametrize("edges", [[0.0], [0.0, 0.5], [0.0, 0.6, 0.5, 1.0], [0.1, 1.0], [0.0, 0.5, 0.5, 1.0]])
def test_edges_that_do_not_cover_probabilities_are_refused(edges: list[float]) -> None:
    with pytest.raises(MeasureInputError, match="edges: they must ascend from 0 to 1"):
        reliability(np.zeros(1), np.zeros(1), np.array(edges))


def test_margins_are_refused_as_probabilities() -> None:
    with pytest.raises(MeasureInputError, match=r"scores: 1 of 2 values are not in \[0, 1\], such as 1.5"):
        brier_score(np.zeros(2), np.array([0.5, 1.5]))


@given(ROWS)
def test_the_mean_log_loss_is_that_of_scikit_learn(rows: Any) -> None:
    fraud, scores = columns(rows)
    inside = np.clip(scores, 1e-9, 1 - 1e-9)
    assert log_losses(fraud, inside).mean() == pytest.approx(sklearn_log_loss(fraud, inside, labels=[False, True]))


def test_a_certain_score_that_is_wrong_has_a_finite_loss() -> None:
    losses = log_losses(np.array([True, False, True]), np.array([0.0, 1.0, 1.0]))
    assert losses.tolist() == pytest.approx([-np.log(LEAST_PROBABILITY), -np.log(LEAST_PROBABILITY), 0.0])


@given(ROWS)
def test_no_constant_score_has_a_lower_log_loss_than_the_share_of_fraud(rows: Any) -> None:
    fraud, _ = columns(rows)
    best = float(constant_log_loss(np.array([fraud.mean()]))[0])
    losses = [log_losses(fraud, np.full(len(fraud), share)).mean() for share in np.linspace(0, 1, 21)]
    assert best <= min(losses) + 1e-12
    assert best == pytest.approx(log_losses(fraud, np.full(len(fraud), fraud.mean())).mean())
