"""Whether scores are probabilities: the reliability table, Brier score, log loss, the expected calibration error.

Fraud is rare, so bins of equal width would put nearly all payments into the first: choose bins of equal count.
"""

from typing import NamedTuple

import numpy as np

from metrics.columns import Flags, Floats, check_lengths, check_numbers
from metrics.errors import MeasureInputError

LEAST_PROBABILITY = 1e-15
"""The least probability that log loss takes an outcome to have had."""


class ReliabilityBin(NamedTuple):
    """The payments with a score in `[low, high)`, the last bin with its end; rates are None without payments."""

    low: float
    high: float
    payments: int
    mean_score: float | None
    fraud_rate: float | None


def equal_widths(bins: int) -> Floats:
    """Return the edges of bins of equal width from 0 to 1, of shape (bins + 1,)."""
    return np.linspace(0, 1, bins + 1)


def equal_counts(scores: Floats, bins: int) -> Floats:
    """Return edges from 0 to 1 between which about equally many scores lie; there are fewer bins if scores are equal.

    The shape is (b + 1,) for b bins, at most `bins`.
    """
    inner = np.quantile(scores, np.linspace(0, 1, bins + 1)[1:-1]) if len(scores) else np.empty(0)
    return np.unique(np.concatenate(([0.0], inner, [1.0])))


def reliability(fraud: Flags, scores: Floats, edges: Floats) -> tuple[ReliabilityBin, ...]:
    """Return the mean score and the share of fraud in each bin; in a calibrated model they agree.

    Args:
        fraud: which rows are fraud, of shape (n,).
        scores: probabilities, of shape (n,).
        edges: the bins' ends, ascending, from 0 to 1, of shape (bins + 1,).

    Raises:
        MeasureInputError: columns differ in length, a score is no probability, or the edges are not ascending from 0
            to 1.
    """
    _check(fraud, scores)
    if len(edges) < 2 or edges[0] != 0 or edges[-1] != 1 or (np.diff(edges) <= 0).any():  # noqa: PLR2004 - two ends
        raise MeasureInputError("edges: they must ascend from 0 to 1, for example by equal_widths(10)")
    place = np.clip(np.searchsorted(edges, scores, side="right") - 1, 0, len(edges) - 2)
    counts, sums, frauds = (
        np.bincount(place, weights=weights, minlength=len(edges) - 1).tolist()
        for weights in (np.ones(len(scores)), scores, fraud)
    )
    return tuple(
        ReliabilityBin(low, high, int(count), sum_ / count if count else None, found / count if count else None)
        for low, high, count, sum_, found in zip(
            edges[:-1].tolist(), edges[1:].tolist(), counts, sums, frauds, strict=True
        )
    )


def calibration_error(bins: tuple[ReliabilityBin, ...]) -> float | None:
    """Return the expected calibration error: the mean over payments of |fraud rate - mean score| of their bin.

    From Naeini, Cooper, Hauskrecht, Obtaining Well Calibrated Probabilities Using Bayesian Binning (2015). None without
    payments.
    """
    total = sum(one.payments for one in bins)
    gaps = [
        one.payments * abs(one.fraud_rate - one.mean_score)
        for one in bins
        if one.fraud_rate is not None and one.mean_score is not None
    ]
    return sum(gaps) / total if total else None


def brier_score(fraud: Flags, scores: Floats) -> float | None:
    """Return the mean squared difference of probability and outcome (Brier, 1950); None without rows.

    Raises:
        MeasureInputError: columns differ in length, or a score is no probability.
    """
    _check(fraud, scores)
    return float(np.mean((scores - fraud) ** 2)) if len(scores) else None


def log_losses(fraud: Flags, scores: Floats) -> Floats:
    """Return -ln of the probability that was given to each outcome, of shape (n,): Good's logarithmic score (1952).

    A probability nearer than `LEAST_PROBABILITY` to 0 or 1 counts as that near, so that no loss is infinite.

    Raises:
        MeasureInputError: columns differ in length, or a score is no probability.
    """
    _check(fraud, scores)
    given = np.clip(np.where(fraud.astype(np.bool_), scores, 1 - scores), LEAST_PROBABILITY, 1)
    losses: Floats = -np.log(given)
    return losses


def constant_log_loss(rates: Floats) -> Floats:
    """Return the mean log loss of a constant score that equals the share of fraud, the best constant there is.

    It is the entropy of the outcome in nats; a model whose log loss is not below it tells nothing by its probabilities.
    """
    inside = (rates > 0) & (rates < 1)
    safe = np.where(inside, rates, 0.5)
    return np.where(inside, -(safe * np.log(safe) + (1 - safe) * np.log(1 - safe)), np.where(np.isnan(rates), rates, 0))


def _check(fraud: Flags, scores: Floats) -> None:
    check_lengths(fraud=fraud, scores=scores)
    check_numbers("scores", scores, 0, 1)
