"""Weighted ROC AUC and average precision are scikit-learn's with sample weights."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from metrics.errors import MeasureInputError
from metrics.weighted_ranking import WeightedRanking


@given(st.integers(0, 2**32 - 1), st.integers(2, 200), st.integers(1, 12))
def test_the_measures_are_those_of_scikit_learn_with_weights_and_ties(seed: int, rows: int, levels: int) -> None:
    random = np.random.default_rng(seed)
    fraud, scores = random.random(rows) < 0.3, random.integers(0, levels, rows) / levels
    weights = random.integers(0, 4, rows).astype(np.float64)
    area, precision = WeightedRanking(fraud, scores).measure(weights)
    if not (weights[fraud].sum() and weights[~fraud].sum()):
        assert np.isnan(area)
        assert np.isnan(precision)
        return
    kept = weights > 0
    given_ = {"sample_weight": weights[kept]}
    assert area == pytest.approx(roc_auc_score(fraud[kept], scores[kept], **given_))
    assert precision == pytest.approx(average_precision_score(fraud[kept], scores[kept], **given_))


def test_the_thresholds_are_the_different_scores_with_what_is_at_and_above_them() -> None:
    ranking = WeightedRanking(np.array([True, False, True, False]), np.array([0.5, 0.9, 0.5, 0.1]))
    frauds, genuine = ranking.counts(np.ones(4))
    assert ranking.thresholds.tolist() == [0.9, 0.5, 0.1]
    assert (frauds.tolist(), genuine.tolist()) == ([0, 2, 2], [1, 1, 2])


def test_a_score_that_is_none_is_refused() -> None:
    with pytest.raises(MeasureInputError, match="scores: 1 of 2 values"):
        WeightedRanking(np.array([True, False]), np.array([0.5, np.nan]))
