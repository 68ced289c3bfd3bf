import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudstream.lab.training.evaluation import (
    ALERTS_A_DAY,
    BLOCKED_DAYS,
    calibrate,
    choose_policy,
    measure,
)
from fraudstream.lab.training.request import UnusableModelError
from models.calibration import Calibrator
from models.policy import Policy
from support.tables import table


def recounted_precision(days: list[int], cards: list[int], frauds: list[int], scores: list[float]) -> float:
    """Compute card precision with dictionaries; a card is blocked only by having been found, not by a label."""
    found: dict[int, int] = {}
    precisions = []
    for day in sorted(set(days)):
        best: dict[int, float] = {}
        hit: set[int] = set()
        for its_day, card, fraud, score in zip(days, cards, frauds, scores, strict=True):
            if its_day == day and (card not in found or day - found[card] >= BLOCKED_DAYS):
                best[card] = max(best.get(card, -1.0), score)
                hit |= {card} if fraud else set()
        top = sorted(best, key=lambda card: (-best[card], card))[:ALERTS_A_DAY]
        found |= {card: day for card in top if card in hit}
        precisions.append(len(hit & set(top)) / ALERTS_A_DAY)
    return sum(precisions) / len(precisions)


@given(st.integers(0, 10_000))
def test_card_precision_equals_a_recount(seed: int) -> None:
    random = np.random.default_rng(seed)
    rows = 600
    days = np.sort(random.integers(0, 30, rows)).tolist()
    cards = random.integers(0, 130, rows).tolist()
    frauds = (random.random(rows) < 0.2).astype(int).tolist()
    scores = random.permutation(rows) / rows
    known_later = [1_000] * rows
    metrics = measure(table(days, cards, frauds, known_later), np.arange(rows), scores, Policy(0.5, 0.9))
    expected = recounted_precision(days, cards, frauds, scores.tolist())
    assert metrics["card_precision_at_100"] == pytest.approx(expected)


def test_a_card_with_a_known_fraud_is_blocked_for_two_weeks() -> None:
    data = table([0, 10, 10, 11, 23, 24, 24], [1, 1, 2, 1, 1, 1, 3], [1, 1, 1, 1, 1, 1, 0], [10, *[99] * 6])
    rows = np.arange(1, 7)
    scores = np.full(6, 0.5)
    # The label is known as day 10 begins, so the card is blocked on days 10 to 23.
    metrics = measure(data, rows, scores, Policy(0.1, 0.9))
    assert metrics["card_precision_at_100"] == pytest.approx((1 + 1) / 2 / ALERTS_A_DAY)


def test_calibration_is_within_0_05_of_platts_sigmoid() -> None:
    random = np.random.default_rng(0)
    margins = random.normal(-4, 2, 20_000)
    truth = 1 / (1 + np.exp(-(0.8 * margins + 0.5)))
    calibration = calibrate(margins, (random.random(20_000) < truth).astype(np.int8))
    assert len(calibration.margins) == 128
    found = Calibrator.of(calibration).probabilities(margins)
    assert np.max(np.abs(found - truth)) < 0.05
    assert calibration.margins[0] < margins.min() - 1
    assert calibration.margins[-1] > margins.max() + 1


def test_margins_that_do_not_predict_the_labels_are_rejected() -> None:
    with pytest.raises(UnusableModelError, match="do not predict the labels"):
        calibrate(np.array([2.0, 1.0, 0.0, -1.0]), np.array([0, 0, 1, 1], np.int8))


def test_thresholds_select_the_requested_shares() -> None:
    scores = np.random.default_rng(1).permutation(10_000) / 10_000
    policy = choose_policy(scores, 0.005, 0.001)
    assert np.mean(scores >= policy.review_at) == pytest.approx(0.005, abs=2e-4)
    assert np.mean(scores >= policy.decline_at) == pytest.approx(0.001, abs=2e-4)
