"""Platt's, beta and isotonic calibration against scikit-learn and against the truth, and the choice among them."""

from typing import Any

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import log_loss as sklearn_log_loss

from fraudstream.lab.training.calibrators import KNOTS, choose_calibration, fit_calibration
from fraudstream.lab.training.request import UnusableModelError
from models.calibration import CalibrationMethod, Calibrator

COUNT = 30_000


def sigmoid(values: Any) -> Any:
    return 1 / (1 + np.exp(-values))


def drawn(link: Any, seed: int, count: int = COUNT) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return margins, frauds and the probabilities by which they were drawn."""
    random = np.random.default_rng(seed)
    margins = random.normal(-3, 2, count)
    true = link(margins)
    return margins, (random.random(count) < true).astype(np.int8), true


def straight(margins: Any) -> Any:
    return sigmoid(0.8 * margins - 0.5)


def skewed(margins: Any) -> Any:
    """A beta map: the two tails have different slopes."""
    low, high = -np.logaddexp(0, -margins), np.logaddexp(0, margins)
    return sigmoid(0.5 * low + 2.0 * high + 0.3)


def stairs(margins: Any) -> Any:
    """A map that neither a sigmoid nor a beta map can follow."""
    return np.where(margins < -3, 0.002, np.where(margins < 0, 0.05, 0.6)) + 0.001 * sigmoid(margins)


def test_a_beta_calibration_recovers_the_map_by_which_frauds_were_drawn() -> None:
    margins, frauds, true = drawn(skewed, 1)
    fitted = fit_calibration(margins, frauds, CalibrationMethod.BETA)
    said = Calibrator.of(fitted).probabilities(margins)
    assert np.abs(said - true).mean() < 0.01
    platt = Calibrator.of(fit_calibration(margins, frauds, CalibrationMethod.PLATT)).probabilities(margins)
    assert np.abs(platt - true).mean() > 2 * np.abs(said - true).mean()
    assert len(fitted.margins) <= KNOTS


def test_an_isotonic_calibration_has_scikit_learns_blocks() -> None:
    margins, frauds, _ = drawn(stairs, 3, 4_000)
    fitted = fit_calibration(margins, frauds, CalibrationMethod.ISOTONIC)
    rates = IsotonicRegression().fit(margins, frauds).predict(margins)
    blocks = [(margins[rates == rate].mean(), rate) for rate in np.unique(rates)]
    assert np.allclose(fitted.margins[1:-1], [centre for centre, _ in blocks])
    inner = [rate for _, rate in blocks if 0 < rate < 1]
    assert set(inner) <= set(fitted.probabilities)
    assert 0 < fitted.probabilities[0] < fitted.probabilities[-1] < 1


@pytest.mark.parametrize(
    ("link", "expected"),
    [(skewed, {CalibrationMethod.BETA, CalibrationMethod.ISOTONIC}), (stairs, {CalibrationMethod.ISOTONIC})],
)
def test_the_method_with_the_lowest_loss_on_later_payments_is_taken(link: Any, expected: Any) -> None:
    margins, frauds, _ = drawn(link, 4)
    chosen = choose_calibration(margins, frauds, None)
    assert chosen.method in expected
    choice = chosen.choice
    assert choice is not None
    assert (choice.fitted_to, choice.compared_on) == (20_000, 10_000)
    assert choice.frauds == int(frauds[20_000:].sum())
    for method, loss in choice.log_losses.items():
        fitted = Calibrator.of(fit_calibration(margins[:20_000], frauds[:20_000], method))
        assert loss == pytest.approx(sklearn_log_loss(frauds[20_000:], fitted.probabilities(margins[20_000:])))
    assert chosen.method == min(choice.log_losses, key=lambda one: choice.log_losses[one])
    again = fit_calibration(margins, frauds, chosen.method or CalibrationMethod.PLATT)
    assert (chosen.margins, chosen.probabilities) == (again.margins, again.probabilities)


def test_with_few_frauds_nothing_is_compared() -> None:
    margins, _, _ = drawn(straight, 5, 1_000)
    frauds = (margins > np.sort(margins)[-40]).astype(np.int8)
    chosen = choose_calibration(margins, frauds, None)
    assert (chosen.method, chosen.choice) == (CalibrationMethod.PLATT, None)


@pytest.mark.parametrize("method", list(CalibrationMethod))
def test_no_two_margins_get_the_same_score_so_the_ranking_stays(method: CalibrationMethod) -> None:
    margins, frauds, _ = drawn(stairs, 7, 4_000)
    said = Calibrator.of(fit_calibration(margins, frauds, method)).probabilities(np.sort(margins))
    assert (np.diff(said) > 0).all()


@pytest.mark.parametrize("method", list(CalibrationMethod))
def test_margins_that_fraud_does_not_rise_with_are_refused(method: CalibrationMethod) -> None:
    margins = np.linspace(-6, 3, 5_000)
    frauds = (np.arange(5_000) < 100).astype(np.int8)
    with pytest.raises(UnusableModelError, match="does not rise"):
        fit_calibration(margins, frauds, method)
