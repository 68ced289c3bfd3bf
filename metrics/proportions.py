"""Confidence sequences of proportions, which may be looked at after every observation: the beta-binomial mixture.

For k hits of n, the capital against a proportion p is the mean over q ~ Beta(1/2, 1/2) of the likelihood ratio of q
against p. If p is true, its mean is 1 at any time, so it ever reaches 1/alpha with a probability of at most alpha
(Ville), and the p below 1/alpha are a confidence sequence (Robbins, 1970; Howard, Ramdas, McAuliffe, Sekhon,
Time-uniform, nonparametric, nonasymptotic confidence sequences, 2021, proposition 7). It depends on n and k only, so
whoever counts again finds the same.

The observations must have the same probability of a hit, whatever came before. Payments of one card have not: count
each card once, or use `betting.BettingPlan.of_share` with one observation for each card.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from metrics.columns import Floats, Ints
from metrics.errors import MeasureInputError
from metrics.intervals import Interval

PRIOR = 0.5
"""Both parameters of the beta distribution: Jeffreys', which gives up least at proportions near 0 and 1."""
_HALVINGS = 45
"""Bisections of [0, 1], down to 3e-14."""


class HitCounts(NamedTuple):
    """Observations so far, and how many of them were hits."""

    trials: int = 0
    hits: int = 0


class ProportionState(NamedTuple):
    """The state of a sequence, as plain numbers: counts, and the intersection of the intervals at all looks."""

    trials: int = 0
    hits: int = 0
    low: float = 0.0
    high: float = 1.0


def log_capital(counts: tuple[float, float], proportion: float, prior: tuple[float, float] = (PRIOR, PRIOR)) -> float:
    """Return the logarithm of the capital against a proportion; infinite where it is impossible.

    Args:
        counts: trials and hits; they need not be whole.
        proportion: the hypothesis.
        prior: the parameters of the beta distribution, for hits and for misses.
    """
    trials, hits = counts
    misses = trials - hits
    if (hits and proportion == 0) or (misses and proportion == 1):
        return math.inf
    log_likelihood = (hits and hits * math.log(proportion)) + (misses and misses * math.log1p(-proportion))
    return log_mixture(trials, hits, prior) - log_likelihood


def log_mixture(trials: float, hits: float, prior: tuple[float, float] = (PRIOR, PRIOR)) -> float:
    """Return the logarithm of the mean likelihood over the beta distribution: a ratio of beta functions."""
    for_hits, for_misses = prior
    return _log_beta(for_hits + hits, for_misses + trials - hits) - _log_beta(for_hits, for_misses)


def _log_beta(one: float, other: float) -> float:
    return math.lgamma(one) + math.lgamma(other) - math.lgamma(one + other)


@dataclass(frozen=True, slots=True)
class ProportionPlan:
    """What a sequence of a proportion promises: it ever misses with a probability of at most `alpha`.

    Each end alone holds with `alpha` too. Of several sequences, give each its part of alpha (Bonferroni).
    """

    alpha: float

    def __post_init__(self) -> None:
        check_alpha(self.alpha)

    def start(self) -> ProportionState:
        """Return the state before the first observation."""
        return ProportionState()

    def observe(self, state: ProportionState, trials: int, hits: int) -> ProportionState:
        """Return the state after further observations and a look.

        Raises:
            MeasureInputError: more hits than trials, or a negative number.
        """
        if not 0 <= hits <= trials:
            raise MeasureInputError(f"{hits} hits of {trials} trials: hits must be from 0 to the trials")
        counts = HitCounts(state.trials + trials, state.hits + hits)
        low, high = proportion_interval(counts, self.alpha)
        return ProportionState(*counts, max(state.low, low), min(state.high, high))

    def interval(self, state: ProportionState) -> Interval | None:
        """Return the proportions that no look has excluded; None if all are, so the proportion has changed."""
        return Interval(state.low, state.high) if state.low <= state.high else None


def check_alpha(alpha: float) -> None:
    """Check that a number can be the probability of ever missing.

    Raises:
        MeasureInputError: it is not between 0 and 1.
    """
    if not 0 < alpha < 1:
        raise MeasureInputError(f"alpha: {alpha:g} is not above 0 and below 1")


def proportion_interval(counts: HitCounts, alpha: float) -> Interval:
    """Return the proportions against which the capital is below 1/alpha at this look."""
    (low,), (high,) = proportion_bounds(np.array([counts.trials]), np.array([counts.hits]), alpha)
    return Interval(float(low), float(high))


def proportion_bounds(trials: Ints, hits: Ints, alpha: float) -> tuple[Floats, Floats]:
    """Return the ends of the interval at many looks: `trials` and `hits` of shape (n,), both counted from the start.

    They are not intersected: `np.maximum.accumulate` the low ends, `np.minimum.accumulate` the high ones.
    """
    mixtures = np.array([log_mixture(*one) for one in zip(trials.tolist(), hits.tolist(), strict=True)])
    most = -math.log(alpha) - mixtures
    return _bisect(trials, hits, most), 1 - _bisect(trials, trials - hits, most)


def _bisect(trials: Ints, hits: Ints, most: Floats) -> Floats:
    """Return the lowest p with -log likelihood at most `most`, which falls from p = 0 to p = hits/trials."""
    low, high = np.zeros(len(trials)), np.where(trials > 0, hits / np.maximum(trials, 1), 0.0)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        with np.errstate(divide="ignore", invalid="ignore"):
            against = -hits * np.log(middle) - (trials - hits) * np.log1p(-middle)
        excluded = (against > most) & (hits > 0)
        low, high = np.where(excluded, middle, low), np.where(excluded, high, middle)
    return np.where(hits > 0, low, 0.0)


def difference_interval(one: HitCounts, other: HitCounts, alpha: float) -> Interval:
    """Return the differences of two proportions, `one` less `other`, that are not excluded at this look.

    A pair of proportions is excluded where the product of both capitals is at least 1/alpha: it is a fair capital too,
    however the observations of both come between each other. So the interval is narrower than one from the ends of two
    intervals, and alpha is not divided. Each end alone holds with `alpha`.
    """
    low = _least_difference(one, other, alpha)
    return Interval(low, -_least_difference(other, one, alpha))


def _least_difference(one: HitCounts, other: HitCounts, alpha: float) -> float:
    """Return the least d so that some (q + d, q) is not excluded; the capital of the best q is convex in d."""
    most = -math.log(alpha)
    excluded, kept = -1.0, _share(one) - _share(other)
    for _ in range(_HALVINGS):
        middle = (excluded + kept) / 2
        if _least_capital(one, other, middle) >= most:
            excluded = middle
        else:
            kept = middle
    return excluded


def _share(counts: HitCounts) -> float:
    return (counts.hits + PRIOR) / (counts.trials + 2 * PRIOR)


def _least_capital(one: HitCounts, other: HitCounts, difference: float) -> float:
    """Return the least log capital against (q + difference, q) over all q, of which it is a convex function."""
    low, high = max(0.0, -difference), min(1.0, 1.0 - difference)

    def slope(at: float) -> float:
        return _slope(one, at + difference) + _slope(other, at)

    best = _root(slope, low, high)
    return log_capital(one, best + difference) + log_capital(other, best)


def _slope(counts: HitCounts, proportion: float) -> float:
    """Return the derivative of the log capital, where the proportion lies strictly between 0 and 1 or hits nothing."""
    misses = counts.trials - counts.hits
    rise = misses and (misses / (1 - proportion) if proportion < 1 else math.inf)
    return rise - (counts.hits and (counts.hits / proportion if proportion > 0 else math.inf))


def _root(rising: Callable[[float], float], low: float, high: float) -> float:
    """Return where a rising function crosses 0, strictly inside (low, high); near an end if it does not."""
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if rising(middle) > 0:
            high = middle
        else:
            low = middle
    return (low + high) / 2
