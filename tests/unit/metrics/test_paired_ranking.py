"""Paired average precisions are scikit-learn's, and their intervals those of cards that are drawn with their rows."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from metrics.bootstrap import BootstrapPlan, rows_interval
from metrics.errors import MeasureInputError
from metrics.paired_ranking import paired_average_precision


def world(cards: int = 80, rows: int = 1_500) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray], np.ndarray]:
    random = np.random.default_rng(3)
    fraud = random.random(rows) < 0.2
    first = np.round(fraud * 0.5 + random.random(rows), 2)
    second = np.round(fraud * 0.3 + random.random(rows), 2)
    return fraud, (first, second), random.integers(0, cards, rows)


def test_the_interval_of_the_difference_is_that_of_rows_drawn_with_their_cards() -> None:
    fraud, scores, cards = world()
    plan = BootstrapPlan(draws=60, seed=9)
    found = paired_average_precision(fraud, scores, cards, plan)
    assert found is not None
    expected = [average_precision_score(fraud, one) for one in scores]
    assert [found.first, found.second] == pytest.approx(expected)
    assert found.difference == pytest.approx(expected[0] - expected[1])

    def difference(rows: np.ndarray, _copies: np.ndarray) -> float:
        first, second = (average_precision_score(fraud[rows], one[rows]) for one in scores)
        return float(first - second)

    assert found.difference_interval == pytest.approx(rows_interval(cards, difference, plan))


def test_equal_scores_differ_by_nothing_and_have_no_interval() -> None:
    fraud, (first, _), cards = world()
    found = paired_average_precision(fraud, (first, first), cards, BootstrapPlan(draws=50))
    assert found is not None
    assert (found.difference, found.difference_interval) == (0.0, None)


def test_few_cards_with_a_fraud_have_no_interval_and_labels_of_one_kind_no_figure() -> None:
    fraud, scores, cards = world(cards=40)
    found = paired_average_precision(fraud, scores, cards)
    assert found is not None
    assert found.difference_interval is None
    assert paired_average_precision(np.zeros(len(fraud), np.bool_), scores, cards) is None
    assert paired_average_precision(np.ones(len(fraud), np.bool_), scores, cards) is None
    with pytest.raises(MeasureInputError, match="scores: 1 of 1500 values are not in"):
        paired_average_precision(fraud, (scores[0], np.where(np.arange(1_500) == 7, np.nan, scores[0])), cards)
