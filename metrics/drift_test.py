"""Whether a distribution has moved by more than chance explains: the stability index against its bound by card.

Without a drift, the stability index of n independent rows against m is about (1/n + 1/m) times a chi-square of
(bins - 1) degrees (Yurdakul and Naranjo, Statistical properties of the population stability index, Journal of Risk
Model Validation 14(4), 2020). Payments of one card are alike, so rows are not independent: the covariance of the shares
is taken between random groups of cards (Wolter, Introduction to Variance Estimation, 2nd edition 2007, chapter 2), and
is at least that of independent rows. The index is referred to an F distribution with the first two moments of the
quadratic form (Rao and Scott, On chi-squared tests for multiway contingency tables with cell proportions estimated from
survey data, Annals of Statistics 12(1), 1984; Thomas and Rao, Journal of the American Statistical Association 82, 1987,
for the F).
"""

from dataclasses import dataclass

import numpy as np

from metrics.columns import Floats, Ints
from metrics.drift import LEAST_SHARE, stability_index
from metrics.errors import MeasureInputError

GROUPS = 32
"""Random groups of cards. More give a better covariance and larger counts; 32 leave 31 degrees of freedom."""


@dataclass(frozen=True, slots=True)
class DriftTest:
    """A stability index, and what it would be by chance.

    Attributes:
        index: the population stability index.
        mean: what it is on average without a drift, from the number of cards and how alike a card's payments are.
        freedom: the degrees of freedom of its distribution without a drift; 0 if it cannot differ from 0.
        groups: the groups of cards that the covariance was taken between.
    """

    index: float
    mean: float
    freedom: float
    groups: int = GROUPS

    def chance_bound(self, alpha: float) -> float:
        """Return the index that is exceeded with a probability of about alpha without a drift."""
        if not self.freedom:
            return 0.0
        from scipy.special import fdtri  # noqa: PLC0415 - workers import this module, and none of them tests for drift

        # What F exceeds with probability alpha is 1 / the alpha quantile of F with the degrees exchanged, which keeps
        # all digits of a small alpha; 1 - alpha would not.
        return self.mean / float(fdtri(self.freedom * (self.groups - 1), self.freedom, alpha))


def drift_test(expected: Floats, expected_covariance: Floats, by_group: Ints) -> DriftTest:
    """Test counts of a window against expected shares.

    Args:
        expected: the shares of the reference, of shape (bins,); they add up to 1.
        expected_covariance: of these shares, of shape (bins, bins); see `multinomial_covariance`.
        by_group: counts of the window by random group of cards, of shape (groups, bins).

    Raises:
        MeasureInputError: the window has no row.
    """
    shares, rows = shares_of(by_group), int(by_group.sum())
    index = stability_index(*(np.maximum(one, LEAST_SHARE).tolist() for one in (expected, shares)))
    # Without a drift both have the same shares, so the middle of both estimates them better than either, and a bin that
    # is empty in one of them does not blow up the bound, nor make it 0.
    middle = (expected + shares) / 2
    scale = np.sqrt(np.maximum(middle, LEAST_SHARE))
    forms = [
        (expected_covariance + of_window) / scale / scale[:, np.newaxis]
        for of_window in (group_covariance(by_group), multinomial_covariance(middle, rows, 1.0))
    ]
    form = max(forms, key=np.trace)
    mean, squares = float(np.trace(form)), float((form * form).sum())
    return DriftTest(index, mean, mean * mean / squares if squares else 0.0, len(by_group))


def shares_of(by_group: Ints) -> Floats:
    """Return the shares of the bins over all groups, of shape (bins,).

    Raises:
        MeasureInputError: there is no row.
    """
    rows = int(by_group.sum())
    if not rows:
        raise MeasureInputError("no rows: a distribution needs at least one")
    shares: Floats = by_group.sum(axis=0) / rows
    return shares


def group_covariance(by_group: Ints) -> Floats:
    """Return the covariance of the shares of bins, of shape (bins, bins), from their spread between groups of cards."""
    groups, rows = len(by_group), int(by_group.sum())
    spread = by_group - by_group.sum(axis=1, keepdims=True) * shares_of(by_group)
    covariance: Floats = groups / (groups - 1) * (spread.T @ spread) / rows**2
    return covariance


def multinomial_covariance(shares: Floats, rows: int, design_effect: float) -> Floats:
    """Return the covariance of shares of so many rows, of shape (bins, bins): the multinomial's, times a design effect.

    Args:
        shares: of shape (bins,).
        rows: above 0.
        design_effect: how many times as large the variance is as that of independent rows (Kish, Survey Sampling 1965).
    """
    covariance: Floats = design_effect * (np.diag(shares) - np.outer(shares, shares)) / rows
    return covariance


def design_effect(by_group: Ints) -> float:
    """Return how many times as large the variance of shares is as that of independent rows: the mean over bins.

    1 where all rows are in one bin.
    """
    shares, rows = shares_of(by_group), int(by_group.sum())
    used = shares > 0
    if used.sum() <= 1:
        return 1.0
    variances = np.diag(group_covariance(by_group))[used]
    return float(rows * (variances / shares[used]).sum() / (used.sum() - 1))
