"""Confidence sequences of bounded means, and of ratios of them, by betting: the hedged capital process.

Waudby-Smith and Ramdas, Estimating means of bounded random variables by betting (JRSS B, 2024), theorem 3. Against each
hypothesis h a gambler bets on y = numerator - h x denominator, whose mean is 0 if h is true: one that the ratio is
higher, one that it is lower. If h is true, the capitals' means stay at 1, so they ever reach 2/alpha with a probability
of at most alpha/2 each (Ville), and the hypotheses below are a confidence sequence. A mean is a ratio with the
denominator 1.

Within a cell of hypotheses the bets are the same, so the logarithm of a capital is concave in h, and lies above the
straight line between its values at the ends of the cell. Only these are followed; the ends of the interval are where
such a line crosses the bound.

A bet is fixed for a block of observations, which grow by 1/16 of all before. So within a block the order does not
matter, and 10^6 observations take about a second.

The observations must have the same ratio of means, whatever came before: one for each card, not one for each payment.
"""

import math
import sys
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, Self

import numpy as np

from metrics.columns import Floats
from metrics.errors import MeasureInputError
from metrics.hypotheses import Bounds
from metrics.intervals import Interval, Side
from metrics.proportions import check_alpha

LARGEST_STAKE = 0.5
"""The part of its capital that a gambler can lose by one observation: the truncation c."""
_LARGEST_BET = 1.0
"""Of the capital, by the range of the numerators. Against hypotheses near 0 the truncation alone would let gamblers
lose most of it while the first events are awaited; this gives intervals that are up to a tenth narrower."""
_GROWTH = 16
"""A block has one observation for so many before it, at least one."""
_TILE = 64
"""Rows whose factors are multiplied before their logarithm is taken; the product stays within a float."""


class BettingState(NamedTuple):
    """The state of a sequence, as plain numbers.

    Attributes:
        observed: observations so far.
        sums: of numerators and of denominators.
        products: sums of numerator^2, numerator x denominator, and denominator^2.
        block_end: the number of the observation with which the block ends.
        bet: the stake of the block for each unit of y, before it is truncated for each cell.
        rising: the log capitals of gamblers who bet that the ratio is above the hypothesis: first at the lower end of
            each cell, then at the upper end of each.
        falling: likewise, that it is below.
        low: the highest lower end of the interval at the ends of blocks.
        high: the lowest upper end.
    """

    observed: int
    sums: tuple[float, float]
    products: tuple[float, float, float]
    block_end: int
    bet: float
    rising: tuple[float, ...]
    falling: tuple[float, ...]
    low: float
    high: float | None


@dataclass(frozen=True, slots=True)
class BettingPlan:
    """What a sequence promises: it ever misses the ratio with a probability of at most `alpha`.

    Attributes:
        alpha: of this sequence; of several, give each its part (Bonferroni).
        bounds: of the observations, from which follows how much may be bet.
        cells: the ends of the cells of hypotheses, ascending, at least two.
        side: which ends are bounded.
    """

    alpha: float
    bounds: Bounds
    cells: tuple[float, ...]
    side: Side = Side.BOTH

    def __post_init__(self) -> None:
        check_alpha(self.alpha)
        least, largest = self.bounds.least, self.bounds.largest
        ascend = all(low < high for low, high in pairwise(self.cells))
        if not ascend or self.cells[0] != least or not least < self.cells[-1] <= min(largest, sys.float_info.max):
            raise MeasureInputError(
                f"cells: their ends must ascend from {least:g} to at most {largest:g}, and be finite"
            )

    @classmethod
    def of_mean(cls, alpha: float, low: float = 0.0, high: float = 1.0, side: Side = Side.BOTH) -> Self:
        """Plan for the mean of values in `[low, high]`."""
        bounds = Bounds.of_mean(low, high)
        return cls(alpha, bounds, bounds.cells(), side)

    @classmethod
    def of_share(cls, alpha: float, most: float, side: Side = Side.BOTH) -> Self:
        """Plan for sum(part) / sum(whole) with 0 <= part <= whole <= most: precision, recall, value detection rate."""
        bounds = Bounds.of_share(most)
        return cls(alpha, bounds, bounds.cells(), side)

    @classmethod
    def of_ratio(cls, alpha: float, most: tuple[float, float], side: Side = Side.BOTH) -> Self:
        """Plan for sum(numerator) / sum(denominator), each from 0 to its part of `most`, such as a loss to another."""
        bounds = Bounds.of_ratio(*most)
        return cls(alpha, bounds, bounds.cells(), side)

    def start(self) -> BettingState:
        """Return the state before the first observation."""
        nothing = (0.0,) * (2 * (len(self.cells) - 1))
        largest = self.bounds.largest if self.bounds.largest < math.inf else None
        return BettingState(0, (0.0, 0.0), (0.0, 0.0, 0.0), 0, 0.0, nothing, nothing, self.bounds.least, largest)

    def observe(self, state: BettingState, numerators: Floats, denominators: Floats | None = None) -> BettingState:
        """Return the state after further observations, in their order, however they are cut into calls.

        Args:
            state: of this plan.
            numerators: of shape (n,); for a mean the values.
            denominators: of shape (n,); for a mean None.

        Raises:
            MeasureInputError: an observation is outside of the bounds, or the columns differ in length.
        """
        below = np.ones(len(numerators)) if denominators is None else denominators
        self.bounds.check(numerators, below)
        process = _Process(self, state)
        process.run(np.column_stack((numerators, below, np.ones(len(numerators)))))
        return process.state()

    def interval(self, state: BettingState) -> Interval | None:
        """Return an interval of the ratios that were excluded neither at the end of a block nor now.

        Its ends are excluded themselves, unless they are the bounds'; `high` is infinite if nothing bounds it.

        Returns:
            the interval; None if all ratios are excluded, so the ratio has changed.
        """
        low, high = self.ends(np.array(state.rising), np.array(state.falling))
        low, high = max(state.low, low), min(math.inf if state.high is None else state.high, high)
        return Interval(low, high) if low <= high else None

    def ends(self, rising: Floats, falling: Floats) -> tuple[float, float]:
        """Return between which ratios log capitals, as in a state, exclude none."""
        low, high = self.bounds.least, self.bounds.largest
        cells, width = np.array(self.cells), len(self.cells) - 1
        if self.side is not Side.UPPER:
            low = _last_excluded(cells, rising[:width], rising[width:], self.log_bound)
        if self.side is not Side.LOWER and falling[-1] >= self.log_bound:
            high = -_last_excluded(-cells[::-1], falling[: width - 1 : -1], falling[width - 1 :: -1], self.log_bound)
        return low, high

    @property
    def log_bound(self) -> float:
        """The log capital at which a hypothesis is excluded."""
        return math.log((2 if self.side is Side.BOTH else 1) / self.alpha)


def _last_excluded(cells: Floats, first: Floats, second: Floats, bound: float) -> float:
    """Return up to where the lines between log capitals at both ends of ascending cells are at least a bound.

    The capitals fall along each cell, from `first` to `second`, both of shape (cells,).
    """
    left = np.flatnonzero(second < bound)
    if not len(left):
        return float(cells[-1])
    at = int(left[0])
    if first[at] < bound:
        return float(cells[at])
    return float(cells[at] + (cells[at + 1] - cells[at]) * (first[at] - bound) / (first[at] - second[at]))


class _Process:
    """A state being carried on, in arrays."""

    def __init__(self, plan: BettingPlan, state: BettingState) -> None:
        self._plan = plan
        cells = np.array(plan.cells)
        self._hypotheses = np.tile(np.concatenate((cells[:-1], cells[1:])), 2)
        # The largest bet of a cell is that at which no observation costs more than the stake at either end of it.
        rising, falling = LARGEST_STAKE / plan.bounds.fall(cells[1:]), LARGEST_STAKE / plan.bounds.rise(cells[:-1])
        largest = _LARGEST_BET / plan.bounds.scale
        self._largest = np.minimum(largest, np.concatenate((rising, rising, falling, falling)))
        self._signs = np.repeat([1.0, -1.0], 2 * len(rising))
        self._observed, self._block_end, self._bet = state.observed, state.block_end, state.bet
        self._low, self._high = state.low, math.inf if state.high is None else state.high
        self._sums, self._products = state.sums, state.products
        self._logs = np.array([*state.rising, *state.falling])
        self._coefficients = np.ones((3, len(self._logs)))
        self._stake(state.bet)

    def run(self, rows: Floats) -> None:
        """Observe rows of (numerator, denominator, 1), block by block."""
        at, half = 0, len(self._logs) // 2
        while at < len(rows):
            if self._observed == self._block_end:
                self._begin_block()
            block = rows[at : at + self._block_end - self._observed]
            self._logs += _log_growth(block, self._coefficients)
            self._add_moments(block.T @ block)
            self._observed += len(block)
            at += len(block)
            if self._observed == self._block_end:
                low, high = self._plan.ends(self._logs[:half], self._logs[half:])
                self._low, self._high = max(self._low, low), min(self._high, high)

    def _add_moments(self, moments: Floats) -> None:
        """Add the products of a block's columns, of shape (3, 3); those with the ones are sums."""
        (squares, products, numerators), (_, others, denominators), _ = moments.tolist()
        self._sums = self._sums[0] + numerators, self._sums[1] + denominators
        before = self._products
        self._products = before[0] + squares, before[1] + products, before[2] + others

    def _begin_block(self) -> None:
        """Bet as the paper's predictable plug-in does, from the observations before the block."""
        number = self._observed + 1
        bounds = self._plan.bounds
        centre = bounds.estimate(*self._sums)
        squares, products, others = self._products
        deviations = max(squares - 2 * centre * products + centre**2 * others, 0.0)
        variance = (bounds.scale**2 / 4 + deviations) / number
        self._bet = math.sqrt(2 * self._plan.log_bound / (variance * number * math.log1p(number)))
        self._block_end = self._observed + max(1, self._observed // _GROWTH)
        self._stake(self._bet)

    def _stake(self, bet: float) -> None:
        """Set what rows are multiplied with for their factors, 1 + bet y and 1 - bet y, of shape (3, 4 cells)."""
        bets = self._signs * np.minimum(bet, self._largest)
        self._coefficients[0] = bets
        self._coefficients[1] = -bets * self._hypotheses

    def state(self) -> BettingState:
        """Return the state reached."""
        half = len(self._logs) // 2
        return BettingState(
            self._observed,
            self._sums,
            self._products,
            self._block_end,
            self._bet,
            tuple(self._logs[:half].tolist()),
            tuple(self._logs[half:].tolist()),
            self._low,
            self._high if self._high < math.inf else None,
        )


def _log_growth(rows: Floats, coefficients: Floats) -> Floats:
    """Return the sum over rows of the logarithms of the factors, for each column of the coefficients."""
    growth = np.zeros(coefficients.shape[1])
    for at in range(0, len(rows), _TILE):
        growth += np.log(np.multiply.reduce(rows[at : at + _TILE] @ coefficients, axis=0))
    return growth
