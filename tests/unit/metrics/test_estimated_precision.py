"""The estimate before labels: the mean score, and an interval that holds whatever alerts of a card have in common."""

import numpy as np
import pytest

from metrics.bootstrap import BootstrapPlan
from metrics.errors import MeasureInputError
from metrics.estimated_precision import estimated_precision

PLAN = BootstrapPlan(draws=300)


@pytest.mark.parametrize("together", [True, False])
def test_the_interval_holds_the_precision_that_comes_where_scores_are_calibrated(together: bool) -> None:  # noqa: FBT001 - a case
    random = np.random.default_rng(4)
    held = 0
    for _ in range(100):
        card = np.repeat(np.arange(150), random.integers(1, 6, 150))
        scores = random.beta(2, 3, len(card))
        chance = random.random(150)[card] if together else random.random(len(card))
        precision = float((chance < scores).mean())
        found = estimated_precision(card, scores, PLAN)
        assert found.value == pytest.approx(scores.mean())
        assert found.interval is not None
        held += found.interval.low <= precision <= found.interval.high
    assert held >= 90 if together else held >= 95


def test_with_few_cards_there_is_no_interval_and_without_alerts_no_estimate() -> None:
    assert estimated_precision(np.arange(20), np.full(20, 0.5)) == (0.5, None)
    assert estimated_precision(np.array([]), np.array([])) == (None, None)


def test_what_is_no_probability_is_refused() -> None:
    with pytest.raises(MeasureInputError, match="scores"):
        estimated_precision(np.array([1]), np.array([1.5]))
