"""An interval of the mean over all observations so far, at all looks together, whatever their order.

The cards of a stream do not have the same mean: those that appear first pay often. So the promise is about the mean of
the expected values of the observations made so far, which may change from look to look; earlier looks say nothing of it
and are not intersected.

Against "that mean is at most h" a gambler bets a constant stake on every observation x: his capital is the product of
1 + stake (x - h). With m the expected value of an observation, given all before it and all that was known of it before
its outcome, the product of (1 + stake (x - h)) / (1 + stake (m - h)) is a martingale, and the product of its
denominators is at most 1 wherever the mean of the m so far is at most h, by the inequality of arithmetic and geometric
means. So is that of a mixture over stakes, and by Ville's inequality the capital is ever at least 1/alpha while the
hypothesis is true with a probability of at most alpha. (The process is that of universal portfolios: Orabona and Jun,
Tight concentrations and confidence sequences from the regret of universal portfolio, 2021.) The capital depends on the
observations as a set, so neither their order nor that of the looks matters.

A stake may be as large as the worst possible observation allows: what an observation could be at least, given what was
known before its outcome. Stakes that a later observation could have ruined count as lost.
"""

import math
from typing import NamedTuple

import numpy as np

from metrics.columns import Floats, check_lengths, check_numbers
from metrics.errors import MeasureInputError
from metrics.intervals import Interval, Side, check_alpha

STAKES: Floats = np.array([0.03 * 1.3**at for at in range(25)])
"""Stakes in a mixture, each with the same weight: by the unit of the values, so 1 loses all where a unit is lost."""
UNIT_STAKES: Floats = STAKES[STAKES < 1]
"""Those that count where each observation could have been a unit below the hypothesis."""
_LARGEST_LOSS = 0.98
"""A stake counts as long as no possible observation costs more than this part of the capital."""
_HALVINGS = 34
_VALUES_AT_ONCE = 10_000


class Observed(NamedTuple):
    """Observations of shape (n,) in units: how they came out, and what each could have been at least and at most.

    The bounds must follow from what is known before the outcomes.
    """

    values: Floats
    least: Floats
    most: Floats

    @classmethod
    def within(cls, values: Floats, low: float, high: float) -> "Observed":
        """Return observations that all could have been from `low` to `high`."""
        return cls(values, np.full(len(values), low), np.full(len(values), high))

    def mirrored(self) -> "Observed":
        """Return the negative observations."""
        return Observed(-self.values, -self.most, -self.least)


def log_evidence(observed: Observed, mean: float = 0.0, stakes: Floats = STAKES) -> float:
    """Return the log capital against "the mean so far is at most `mean`"; at least log(1/alpha) refutes that.

    Raises:
        MeasureInputError: columns differ in length, or a value lies outside of its bounds.
    """
    _check(observed)
    return _Capital.of(observed, stakes).log_against(mean)


def running_mean_interval(
    observed: Observed, alpha: float, bounds: Interval, *, side: Side = Side.BOTH, stakes: Floats = STAKES
) -> Interval:
    """Return the means of the observations so far that are not refuted; an open side has the end of `bounds`.

    The stakes must be chosen before the first look, and stay as they are.

    Raises:
        MeasureInputError: columns differ in length, a value lies outside of its bounds, or alpha is no probability.
    """
    check_alpha(alpha)
    _check(observed)
    bound = math.log((2 if side is Side.BOTH else 1) / alpha)
    low, high = bounds
    if side is not Side.UPPER:
        low = _Capital.of(observed, stakes).lower_end(bound, bounds.low)
    if side is not Side.LOWER:
        high = -_Capital.of(observed.mirrored(), stakes).lower_end(bound, -bounds.high)
    return Interval(low, high)


def _check(observed: Observed) -> None:
    check_lengths(**observed._asdict())
    check_numbers("values", observed.values)
    outside = (observed.values < observed.least) | (observed.values > observed.most)
    if outside.any():
        raise MeasureInputError(
            f"values: {int(outside.sum())} of {len(outside)} lie outside of what they could have been, such as "
            f"{observed.values[outside][0]:g}"
        )


class _Capital(NamedTuple):
    """The different values, how often each occurs, the least that any could have been, and the stakes."""

    values: Floats
    counts: Floats
    least: float
    stakes: Floats

    @classmethod
    def of(cls, observed: Observed, stakes: Floats) -> "_Capital":
        values, counts = np.unique(observed.values, return_counts=True)
        return cls(values, counts.astype(np.float64), float(observed.least.min(initial=0.0)), stakes)

    def log_against(self, mean: float) -> float:
        """Return the log capital against a mean, of which it is a falling function."""
        if not len(self.values):
            return 0.0
        kept = self.stakes[self.stakes * (mean - self.least) <= _LARGEST_LOSS]
        if not len(kept):
            return -math.inf
        logs = np.zeros(len(kept))
        for at in range(0, len(self.values), _VALUES_AT_ONCE):
            own = slice(at, at + _VALUES_AT_ONCE)
            logs += np.log1p(np.outer(kept, self.values[own] - mean)) @ self.counts[own]
        largest = float(logs.max())
        return largest + math.log(float(np.exp(logs - largest).sum()) / len(self.stakes))

    def lower_end(self, bound: float, lowest: float) -> float:
        """Return the largest mean that is refuted from below, or `lowest`."""
        if self.log_against(lowest) < bound:
            return lowest
        refuted, kept = lowest, float(self.values @ self.counts / self.counts.sum())
        for _ in range(_HALVINGS):
            middle = (refuted + kept) / 2
            if self.log_against(middle) >= bound:
                refuted = middle
            else:
                kept = middle
        return refuted
