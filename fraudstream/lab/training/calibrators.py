"""Fit a calibration by one of three methods, and choose among them on payments that none of them was fitted to.

Whatever the method, the result is a table of knots, `models.calibration.Calibration`, so that a worker computes the
same bits. Platt's method is in `evaluation`.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import msgspec
import numpy as np
from numpy.typing import NDArray

from fraudstream.lab.dataset.errors import MissingExtraError
from fraudstream.lab.training.evaluation import WIDEST_LOGIT, calibrate
from fraudstream.lab.training.request import UnusableModelError
from models.calibration import Calibration, CalibrationChoice, CalibrationMethod, Calibrator
from models.policy import Floats

Frauds = NDArray[np.int8]

FITTED_SHARE = 2 / 3
"""Of the calibrate part, in order of time, what all methods are fitted to before they are compared on the rest."""
FEWEST_COMPARED = 30
"""With fewer frauds on either side, a difference of log loss is chance: Platt's method, the stiffest, is taken."""
KNOTS = 256
"""Points of the table of a beta calibration."""
_LEAST_PROBABILITY = 1e-12
_ALMOST_NONE = 1e6
"""The inverse strength of the regularisation of a logistic regression."""


def choose_calibration(margins: Floats, frauds: Frauds, method: CalibrationMethod | None) -> Calibration:
    """Calibrate margins of shape (n,), in order of time, by a method; None: by the one with the lowest log loss.

    The methods are fitted to the first two thirds and compared on the rest; the best one is fitted to all. With fewer
    than `FEWEST_COMPARED` frauds, or no genuine payments, on either side, Platt's is taken without comparison.

    Raises:
        UnusableModelError: the probability of fraud does not rise with the margin.
        MissingExtraError: scikit-learn is not installed.
    """
    if method is not None:
        return fit_calibration(margins, frauds, method)
    cut = round(len(margins) * FITTED_SHARE)
    sides = frauds[:cut], frauds[cut:]
    if any(not FEWEST_COMPARED <= int(side.sum()) < len(side) for side in sides):
        return fit_calibration(margins, frauds, CalibrationMethod.PLATT)
    losses = _log_losses((margins[:cut], sides[0]), (margins[cut:], sides[1]))
    choice = CalibrationChoice(cut, len(margins) - cut, int(sides[1].sum()), losses)
    best = fit_calibration(margins, frauds, min(losses, key=losses.__getitem__))
    return msgspec.structs.replace(best, choice=choice)


def _log_losses(fitted: tuple[Floats, Frauds], compared: tuple[Floats, Frauds]) -> dict[CalibrationMethod, float]:
    """Return the log loss of each method that can be fitted."""
    losses, problem = dict[CalibrationMethod, float](), UnusableModelError()
    for method in CalibrationMethod:
        try:
            calibrator = Calibrator.of(fit_calibration(*fitted, method))
        except UnusableModelError as error:
            problem = error
            continue
        losses[method] = log_loss(compared[1], calibrator.probabilities(compared[0]))
    if not losses:
        raise problem
    return losses


def fit_calibration(margins: Floats, frauds: Frauds, method: CalibrationMethod) -> Calibration:
    """Calibrate margins of shape (n,) by one method.

    Raises:
        UnusableModelError: the probability of fraud does not rise with the margin.
        MissingExtraError: scikit-learn is not installed.
    """
    return _FITS[method](margins, frauds)


def log_loss(frauds: Frauds, probabilities: Floats) -> float:
    """Return the mean of -ln of the probability of what came true, in nats; 0 and 1 count as 1e-12 from them."""
    sure = np.clip(probabilities, _LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)
    return float(-np.mean(np.where(frauds == 1, np.log(sure), np.log1p(-sure))))


def _platt(margins: Floats, frauds: Frauds) -> Calibration:
    return msgspec.structs.replace(calibrate(margins, frauds), method=CalibrationMethod.PLATT)


def _beta(margins: Floats, frauds: Frauds) -> Calibration:
    """Fit logit(p) = a ln(s) - b ln(1 - s) + c to the margins' sigmoids s, with a and b at least 0.

    From Kull, Silva Filho, Flach, Beta calibration (2017), section 3.2: it is a logistic regression on ln(s) and
    -ln(1 - s); where one coefficient is negative, that column is left out.
    """
    columns, kept = _beta_columns(margins), [0, 1]
    coefficients, intercept = _logistic(columns, frauds)
    if (coefficients < 0).any():
        kept = [int(np.argmax(coefficients))]
        coefficients, intercept = _logistic(columns[:, kept], frauds)
    if coefficients.max() <= 0:
        raise _not_rising()
    beyond = max((margins.max() - margins.min()) / 2, 1.0)
    grid = np.linspace(margins.min() - beyond, margins.max() + beyond, KNOTS)
    logits = np.clip(_beta_columns(grid)[:, kept] @ coefficients + intercept, -WIDEST_LOGIT, WIDEST_LOGIT)
    return _table(grid, 1.0 / (1.0 + np.exp(-logits)), CalibrationMethod.BETA)


def _beta_columns(margins: Floats) -> Floats:
    """Return ln(s) and -ln(1 - s) of the margins' sigmoids s, of shape (n, 2)."""
    return np.column_stack((-np.logaddexp(0.0, -margins), np.logaddexp(0.0, margins)))


def _logistic(columns: Floats, frauds: Frauds) -> tuple[Floats, float]:
    try:
        from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - of the extra `train`
    except ImportError as error:
        raise MissingExtraError("training", "scikit-learn", "train") from error
    fitted = LogisticRegression(C=_ALMOST_NONE, max_iter=1_000).fit(columns, frauds)
    return np.asarray(fitted.coef_[0], np.float64), float(fitted.intercept_[0])


def _isotonic(margins: Floats, frauds: Frauds) -> Calibration:
    """Fit blocks whose fraud rates rise, and join their centres by lines.

    A block is at its payments' mean margin, as in centred isotonic regression (Oron and Flournoy, 2017). The first and
    the last block do not say 0 or 1: such a rate counts half a payment more on either side. Beyond their centres the
    lines go on towards 0 and 1, so that no two margins get the same score: the highest ones are those that are ranked.
    """
    try:
        from sklearn.isotonic import IsotonicRegression  # noqa: PLC0415 - of the extra `train`
    except ImportError as error:
        raise MissingExtraError("training", "scikit-learn", "train") from error
    rates = IsotonicRegression().fit(margins, frauds).predict(margins)
    heights, block = np.unique(rates, return_inverse=True)
    if len(heights) < 2:  # noqa: PLR2004 - a line needs two points
        raise _not_rising()
    counts = np.bincount(block)
    centres = np.bincount(block, weights=margins) / counts
    if heights[0] == 0.0:
        heights[0] = min(0.5 / (counts[0] + 1), heights[1] / 2)
    if heights[-1] == 1.0:
        heights[-1] = max(1 - 0.5 / (counts[-1] + 1), (1 + heights[-2]) / 2)
    beyond = max((margins.max() - margins.min()) / 2, 1.0)
    ends = margins.min() - beyond, margins.max() + beyond
    outer = heights[0] / 2, (1 + heights[-1]) / 2
    return _table(
        np.concatenate((ends[:1], centres, ends[1:])),
        np.concatenate((outer[:1], heights, outer[1:])),
        CalibrationMethod.ISOTONIC,
    )


def _table(margins: Floats, probabilities: Floats, method: CalibrationMethod) -> Calibration:
    """Return knots that rise strictly; of equal neighbours the first is kept."""
    kept = np.concatenate(([True], (np.diff(probabilities) > 0) & (np.diff(margins) > 0)))
    if int(kept.sum()) < 2:  # noqa: PLR2004 - likewise
        raise _not_rising()
    return Calibration(tuple(margins[kept].tolist()), tuple(probabilities[kept].tolist()), method)


def _not_rising() -> UnusableModelError:
    return UnusableModelError(
        "fraud does not rise with the model's margin: the features do not predict the labels; train on more payments, "
        "or on other features"
    )


_FITS: Mapping[CalibrationMethod, Callable[[Floats, Frauds], Calibration]] = MappingProxyType(
    {
        CalibrationMethod.PLATT: _platt,
        CalibrationMethod.BETA: _beta,
        CalibrationMethod.ISOTONIC: _isotonic,
    }
)
