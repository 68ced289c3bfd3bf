import numpy as np
import pytest

from fraudstream.lab.training.evaluation import (
    ALERTS_A_DAY,
    choose_policy,
    measure,
)
from models.policy import Policy
from support.tables import table


def test_a_card_with_a_known_fraud_is_blocked_for_two_weeks() -> None:
    data = table([0, 10, 10, 11, 23, 24, 24], [1, 1, 2, 1, 1, 1, 3], [1, 1, 1, 1, 1, 1, 0], [10, *[99] * 6])
    rows = np.arange(1, 7)
    scores = np.full(6, 0.5)
    # The label is known as day 10 begins, so the card is blocked on days 10 to 23.
    metrics = measure(data, rows, scores, Policy(0.1, 0.9))
    assert metrics["card_precision_at_100"] == pytest.approx((1 + 1) / 2 / ALERTS_A_DAY)


def test_thresholds_select_the_requested_shares() -> None:
    scores = np.random.default_rng(1).permutation(10_000) / 10_000
    policy = choose_policy(scores, 0.005, 0.001)
    assert np.mean(scores >= policy.review_at) == pytest.approx(0.005, abs=2e-4)
    assert np.mean(scores >= policy.decline_at) == pytest.approx(0.001, abs=2e-4)
