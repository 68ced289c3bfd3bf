"""Confidence sequences of a bounded mean in closed form: the predictable plug-in empirical Bernstein bound.

Waudby-Smith and Ramdas, Estimating means of bounded random variables by betting (JRSS B, 2024), theorem 2, with their
choice of lambda. It takes a few operations for each observation and none for each hypothesis, and gives the interval
after every observation. `betting` is narrower where observations are few, or far below their bound.

The observations must have the same mean, whatever came before: one for each card, not one for each payment of it.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from metrics.columns import Floats, check_numbers
from metrics.errors import MeasureInputError
from metrics.intervals import Interval, Side
from metrics.proportions import check_alpha

LARGEST_LAMBDA = 0.5
"""The truncation c of lambda."""
_PRIOR_MEAN, _PRIOR_VARIANCE = 0.5, 0.25
"""Of one imagined observation in [0, 1], from which the plug-in mean and variance start."""


class BernsteinState(NamedTuple):
    """The state of a sequence, as plain numbers, of observations x scaled to [0, 1].

    `total` sums x, `squares` the squared deviations from the plug-in mean, `weights` lambda, `weighted` lambda x, and
    `penalty` v psi(lambda). `low` and `high` are the intersection of the intervals after each observation.
    """

    observed: int = 0
    total: float = 0.0
    squares: float = 0.0
    weights: float = 0.0
    weighted: float = 0.0
    penalty: float = 0.0
    low: float = 0.0
    high: float = 1.0


@dataclass(frozen=True, slots=True)
class BernsteinPlan:
    """What a sequence promises: it ever misses the mean with a probability of at most `alpha`.

    Attributes:
        alpha: of this sequence; of several, give each its part (Bonferroni).
        low: the least value that an observation can have.
        high: the largest.
        side: which ends are bounded; the other end is that of the range.
    """

    alpha: float
    low: float = 0.0
    high: float = 1.0
    side: Side = Side.BOTH

    def __post_init__(self) -> None:
        check_alpha(self.alpha)
        if not self.low < self.high:
            raise MeasureInputError(f"range: {self.low:g} is not below {self.high:g}")

    def start(self) -> BernsteinState:
        """Return the state before the first observation."""
        return BernsteinState()

    def observe(self, state: BernsteinState, values: Floats) -> BernsteinState:
        """Return the state after further observations of shape (n,), in their order, however they are cut into calls.

        Raises:
            MeasureInputError: a value is outside of the range.
        """
        return self.track(state, values)[0]

    def track(self, state: BernsteinState, values: Floats) -> tuple[BernsteinState, Floats, Floats]:
        """Return the state, and the ends of the interval after each observation, both of shape (n,).

        Raises:
            MeasureInputError: a value is outside of the range.
        """
        check_numbers("values", values, self.low, self.high)
        if not len(values):
            return state, np.empty(0), np.empty(0)
        scaled = (values - self.low) / (self.high - self.low)
        sums = _Sums.after(state, scaled, self._log_bound())
        centres, radii = sums.weighted / sums.weights, (self._log_bound() + sums.penalty) / sums.weights
        lows, highs = np.full(len(values), state.low), np.full(len(values), state.high)
        if self.side is not Side.UPPER:
            lows = np.maximum.accumulate(np.maximum(centres - radii, state.low))
        if self.side is not Side.LOWER:
            highs = np.minimum.accumulate(np.minimum(centres + radii, state.high))
        last = (float(column[-1]) for column in (*sums, lows, highs))
        return BernsteinState(state.observed + len(values), *last), self._unscaled(lows), self._unscaled(highs)

    def interval(self, state: BernsteinState) -> Interval | None:
        """Return the means that no observation has excluded; None if all are, so the mean has changed."""
        low, high = self._unscaled(np.array([state.low, state.high])).tolist()
        return Interval(low, high) if low <= high else None

    def _log_bound(self) -> float:
        return math.log((2 if self.side is Side.BOTH else 1) / self.alpha)

    def _unscaled(self, scaled: Floats) -> Floats:
        return self.low + scaled * (self.high - self.low)


class _Sums(NamedTuple):
    """The sums of `BernsteinState` after each observation, of shape (n,)."""

    total: Floats
    squares: Floats
    weights: Floats
    weighted: Floats
    penalty: Floats

    @classmethod
    def after(cls, state: BernsteinState, scaled: Floats, log_bound: float) -> "_Sums":
        number = state.observed + np.arange(1, len(scaled) + 1)
        total = _accumulate(state.total, scaled)
        means = (_PRIOR_MEAN + total) / (number + 1)
        means_before = (_PRIOR_MEAN + _before(state.total, total)) / number
        squares = _accumulate(state.squares, (scaled - means) ** 2)
        variances_before = (_PRIOR_VARIANCE + _before(state.squares, squares)) / number
        bets = np.sqrt(2 * log_bound / (variances_before * number * np.log1p(number)))
        bets = np.minimum(bets, LARGEST_LAMBDA)
        # 4 (x - mean)^2 psi(lambda), where the paper's psi has a factor of 1/4
        penalties = (scaled - means_before) ** 2 * (-np.log1p(-bets) - bets)
        return cls(
            total,
            squares,
            _accumulate(state.weights, bets),
            _accumulate(state.weighted, bets * scaled),
            _accumulate(state.penalty, penalties),
        )


def _accumulate(carried: float, values: Floats) -> Floats:
    """Return running sums, added one by one, so that the bits do not depend on how values are cut into calls."""
    return np.add.accumulate(np.concatenate(([carried], values)))[1:]


def _before(carried: float, sums: Floats) -> Floats:
    return np.concatenate(([carried], sums[:-1]))
