"""Intervals of figures that are looked at once: the bootstrap by card.

A card's payments depend on each other, so cards are drawn with replacement and all rows of a drawn card come with it
(the cluster bootstrap: Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8). Intervals are
percentiles over the draws. Whoever looks again and again, and stops at what he likes, needs a confidence sequence
instead: `running_mean`.

Where few large amounts make up most of a sum, draws of them vary too little: percentiles that were meant for 95 % held
the share of money in 71 to 93 % of simulated runs with lognormal amounts. So an interval of a share of money is never
narrower than Wilson's of a binomial share of as many cards as its weights are worth (Kish's effective number: sum^2 /
sum of squares), and that of a sum of money is the wider of percentiles and of the bootstrap-t.

No interval is stated, but None, where the bootstrap cannot know one: if fewer cards than `least_cards` bear on the
figure, if a draw leaves it undefined, or if all draws agree, as they do for 40 hits of 40.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metrics.columns import Floats, Ints, Tokens, ratios, sum_by_card
from metrics.errors import MeasureInputError
from metrics.intervals import Interval

LEAST_CARDS = 50
"""With fewer cards, percentile intervals are too narrow: with 30, one meant for 95 % held in 91 % of simulated runs."""


@dataclass(frozen=True, slots=True)
class BootstrapPlan:
    """How to draw.

    Attributes:
        draws: how often all cards are drawn.
        confidence: the probability that the interval is meant to have.
        seed: of the draws; the same rows and seed give the same interval.
        least_cards: with fewer cards that bear on the figure there is no interval.
    """

    draws: int = 2_000
    confidence: float = 0.95
    seed: int = 0
    least_cards: int = LEAST_CARDS

    def __post_init__(self) -> None:
        if self.draws < 1 or not 0 < self.confidence < 1 or self.least_cards < 1:
            raise MeasureInputError(
                f"bootstrap: {self.draws} draws, confidence {self.confidence:g}, at least {self.least_cards} cards; "
                "draws and cards must be at least 1, and the confidence between 0 and 1"
            )


def ratio_interval(
    cards: Tokens,
    numerators: NDArray[Any],
    denominators: NDArray[Any],
    plan: BootstrapPlan | None = None,
    *,
    of_money: bool = False,
) -> Interval | None:
    """Return an interval of sum(numerators) / sum(denominators): precision, recall, value detection rate.

    The cards that count for `least_cards` are those with a denominator above 0.

    Args:
        cards: the card of each row, of shape (n,).
        numerators: for precision 1 for a fraud with an alert, else 0; of shape (n,).
        denominators: for precision 1 for an alert, else 0; of shape (n,).
        plan: how to draw.
        of_money: these are parts and wholes in money, of which few may be most: see the head of this module.
    """
    sums, chosen = sum_by_card(cards, numerators, denominators).sums, plan or BootstrapPlan()
    found = sums_interval(sums, lambda drawn: ratios(drawn[:, 0], drawn[:, 1]), chosen, basis=1)
    parts, wholes = sums.T
    if found is None or not of_money:
        return found
    return found.hull(share_interval(float(parts.sum() / wholes.sum()), wholes, chosen.confidence))


def effective_number(weights: Floats) -> float:
    """Return how many cards of equal weight tell as much as these: sum^2 / sum of squares; 0 without weights."""
    squares = float(weights @ weights)
    return float(weights.sum()) ** 2 / squares if squares else 0.0


def share_interval(share: float, weights: Floats, confidence: float) -> Interval:
    """Return Wilson's interval of a share from 0 to 1 of the weights of cards, taken as their effective number."""
    number, quantile = effective_number(weights), NormalDist().inv_cdf((1 + confidence) / 2)
    if not number:
        return Interval(0.0, 1.0)
    more = quantile**2 / number
    middle = (share + more / 2) / (1 + more)
    half = quantile / (1 + more) * math.sqrt(share * (1 - share) / number + more / (4 * number))
    return Interval(middle - half, middle + half)


def share_difference_interval(difference: float, differs: float, weights: Floats, confidence: float) -> Interval:
    """Return an interval of the difference of two shares of the same weights.

    Args:
        difference: the first share less the second.
        differs: the share of the weights that is in one of both alone; two cards more are taken for each side (Agresti
            and Min, Simple improved confidence intervals for comparing matched proportions, 2005).
        weights: of each card.
        confidence: of the interval.
    """
    number, quantile = effective_number(weights), NormalDist().inv_cdf((1 + confidence) / 2)
    if not number:
        return Interval(-1.0, 1.0)
    more = (differs * number + 2) / (number + 2)
    half = quantile * math.sqrt(max(more - difference**2, 0.0) / (number + 2))
    return Interval(difference - half, difference + half)


def total_interval(values: Floats, plan: BootstrapPlan | None = None) -> Interval | None:
    """Return an interval of a sum over cards, such as of money, given the value of each: percentiles and bootstrap-t.

    In the bootstrap-t, the distance of each draw from the sum counts in standard errors of that draw (Efron and
    Tibshirani, An Introduction to the Bootstrap, 1993, chapter 12). Cards with a value other than 0 count for
    `least_cards`.
    """
    chosen = plan or BootstrapPlan()
    if int((values != 0).sum()) < chosen.least_cards:
        return None
    drawn = draw_sums(np.column_stack((values, values**2)), chosen)
    found, errors = percentiles(drawn[:, 0], chosen.confidence), np.sqrt(drawn[:, 1])
    total, error = float(values.sum()), float(np.sqrt(values @ values))
    by_error = percentiles(ratios(drawn[:, 0] - total, errors), chosen.confidence)
    if found is None or by_error is None:
        return found
    return found.hull(Interval(total - by_error.high * error, total - by_error.low * error))


def sums_interval(
    sums: Floats, statistic: Callable[[Floats], Floats], plan: BootstrapPlan | None = None, *, basis: int = 0
) -> Interval | None:
    """Return an interval of a figure that depends on sums over cards only, such as savings or a difference of ratios.

    Args:
        sums: k sums for each of c cards, of shape (c, k), as `sum_by_card` returns them.
        statistic: from sums over all cards of many draws, of shape (draws, k), to the figures, of shape (draws,); NaN
            where undefined.
        plan: how to draw.
        basis: the column whose cards above 0 count for `least_cards`.
    """
    chosen = plan or BootstrapPlan()
    if int((sums[:, basis] > 0).sum()) < chosen.least_cards:
        return None
    return percentiles(statistic(draw_sums(sums, chosen)), chosen.confidence)


def draw_sums(sums: Floats, plan: BootstrapPlan) -> Floats:
    """Return the sums over all cards of each draw, of shape (draws, k), given those of each card, of shape (c, k).

    Cards without anything are not drawn one by one: how many of the others come is binomial.
    """
    rng = np.random.default_rng(plan.seed)
    relevant = sums[(sums != 0).any(axis=1)]
    hits = rng.binomial(len(sums), len(relevant) / len(sums), plan.draws) if len(sums) else np.zeros(plan.draws, int)
    drawn = np.empty((plan.draws, sums.shape[1]))
    for at, count in enumerate(hits.tolist()):
        times = np.bincount(rng.integers(len(relevant), size=count), minlength=len(relevant)) if count else 0
        drawn[at] = times @ relevant if count else 0.0
    return drawn


def rows_interval(
    cards: Tokens, statistic: Callable[[Ints, Ints], float | None], plan: BootstrapPlan | None = None
) -> Interval | None:
    """Return an interval of any figure over rows, such as ROC AUC or card precision; slower than from sums.

    Args:
        cards: the card of each row, of shape (n,).
        statistic: from the numbers of the drawn rows, which repeat, and a number for each one's card, to the figure;
            None where undefined. A card that is drawn twice has two numbers there: it counts as two cards.
        plan: how to draw. All cards count for `least_cards`.
    """
    chosen = plan or BootstrapPlan()
    if len(np.unique(cards)) < chosen.least_cards:
        return None
    figures = np.empty(chosen.draws)
    for at, (rows, copies) in enumerate(drawn_rows(cards, chosen)):
        figure = statistic(rows, copies)
        figures[at] = np.nan if figure is None else figure
    return percentiles(figures, chosen.confidence)


def drawn_rows(cards: Tokens, plan: BootstrapPlan) -> Iterator[tuple[Ints, Ints]]:
    """Yield, for each draw, the numbers of the drawn rows and a number for each one's card; see `rows_interval`."""
    found, index = np.unique(cards, return_inverse=True)
    rows, lengths = np.argsort(index, kind="stable"), np.bincount(index)
    begins = np.cumsum(lengths) - lengths
    for drawn in _drawn_cards(len(found), plan):
        copies = np.repeat(np.arange(len(found)), lengths[drawn])
        shifts = begins[drawn] - (np.cumsum(lengths[drawn]) - lengths[drawn])
        yield rows[shifts[copies] + np.arange(len(copies))], copies


def drawn_times(cards: int, plan: BootstrapPlan) -> Iterator[Ints]:
    """Yield, for each draw, how often each of so many cards was drawn, of shape (cards,).

    The draws of a plan are those of `drawn_rows`, so figures by one and by the other can be subtracted draw by draw.
    """
    for drawn in _drawn_cards(cards, plan):
        yield np.bincount(drawn, minlength=cards)


def _drawn_cards(cards: int, plan: BootstrapPlan) -> Iterator[Ints]:
    rng = np.random.default_rng(plan.seed)
    for _ in range(plan.draws):
        yield rng.integers(cards, size=cards)


def percentiles(figures: Floats, confidence: float) -> Interval | None:
    """Return the interval between the percentiles of drawn figures; None if one is NaN, or if all are equal."""
    if np.isnan(figures).any() or figures.min() == figures.max():
        return None
    beyond = (1 - confidence) / 2
    low, high = np.quantile(figures, (beyond, 1 - beyond)).tolist()
    return Interval(low, high)
