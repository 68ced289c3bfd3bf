"""Figures over draws of the cards, with replacement: for intervals, and for the difference of two models, draw by draw.

Every figure of the same payments sees the same draws, so a difference of two models is drawn as a pair: what both of
them get right or wrong alike cancels out. Cards are drawn with all their payments, as `metrics.bootstrap` explains.
"""

from collections.abc import Callable, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np

from fraudstream.ops.rollout.verdict.figures import Figure
from metrics.bootstrap import BootstrapPlan, drawn_rows, drawn_times, percentiles
from metrics.columns import Bools, Floats, Ints, Tokens
from metrics.weighted_ranking import WeightedRanking

Measure = Callable[[Floats], Floats]
"""From k sums over all cards, of shape (..., k), to a figure, of shape (...); NaN where undefined."""


class DrawnFigure(NamedTuple):
    """A figure, its value in each draw, of shape (draws,), and how many cards bear on it; NaN where undefined."""

    value: float
    draws: Floats
    cards: int

    def figure(self, plan: BootstrapPlan) -> Figure:
        """Return the value with its interval; no interval where the bootstrap cannot know one."""
        value = None if np.isnan(self.value) else float(self.value)
        if value is None or not len(self.draws) or self.cards < plan.least_cards:
            return Figure(value)
        return Figure(value, percentiles(self.draws, plan.confidence))

    def less(self, other: "DrawnFigure") -> "DrawnFigure":
        """Return this figure less another of the same payments, draw by draw."""
        return DrawnFigure(self.value - other.value, self.draws - other.draws, min(self.cards, other.cards))


class SumDraws(NamedTuple):
    """Sums of k columns: by card, of shape (c, k), and over all cards in each draw, of shape (draws, k)."""

    by_card: Floats
    drawn: Floats

    def figure(self, measure: Measure, basis: int) -> DrawnFigure:
        """Return a figure of the sums; the cards with something in column `basis` bear on it."""
        cards = int((self.by_card[:, basis] > 0).sum())
        return DrawnFigure(float(measure(self.by_card.sum(axis=0))), measure(self.drawn), cards)


class CardDraws:
    """The draws of the cards of n payments."""

    def __init__(self, cards: Tokens, plan: BootstrapPlan) -> None:
        """Take the card of each payment, of shape (n,)."""
        self.plan = plan
        self._cards = cards
        found, self._index = np.unique(cards, return_inverse=True)
        self.count = len(found)

    def sums(self, *columns: Floats | Ints | Bools) -> SumDraws:
        """Sum columns of shape (n,)."""
        by_card = [np.bincount(self._index, weights=column, minlength=self.count) for column in columns]
        return self._drawn(np.column_stack(by_card))

    def grouped(self, groups: Ints, count: int, *columns: Floats | Ints | Bools) -> SumDraws:
        """Sum columns of shape (n,) in each of `count` groups, those of one column beside each other.

        Args:
            groups: the group of each payment, from 0; below 0 for one that is in none.
            count: the number of groups.
            columns: what is summed.
        """
        inside = groups >= 0
        place = self._index[inside] * count + groups[inside]
        size = self.count * count
        sums = [
            np.bincount(place, weights=column[inside], minlength=size).reshape(self.count, count) for column in columns
        ]
        return self._drawn(np.hstack(sums))

    def rankings(self, fraud: Bools, rankings: Sequence[tuple[WeightedRanking, Ints]]) -> list[tuple[DrawnFigure, ...]]:
        """Return ROC AUC and average precision of each ranking, which has some of the payments, by their numbers.

        The cards with a fraud bear on both. Nothing is drawn where too few of them bear on any ranking.
        """
        cards = [len(np.unique(self._index[rows][fraud[rows]])) for _, rows in rankings]
        draws = self.plan.draws if max(cards, default=0) >= self.plan.least_cards else 0
        drawn = np.empty((draws, len(rankings), 2))
        for at, times in enumerate(islice(drawn_times(self.count, self.plan), draws)):
            weights = times[self._index].astype(np.float64)
            drawn[at] = [ranking.measure(weights[rows]) for ranking, rows in rankings]
        found = []
        for place, (ranking, rows) in enumerate(rankings):
            values = ranking.measure(np.ones(len(rows)))
            found.append(tuple(DrawnFigure(values[one], drawn[:, place, one], cards[place]) for one in range(2)))
        return found

    def copies(self, statistic: Callable[[Ints, Ints], Sequence[float]], draws: int, basis: Bools) -> list[DrawnFigure]:
        """Return figures for which a card that is drawn twice must count as two cards; slower than sums.

        Args:
            statistic: from the numbers of the drawn payments, and a number for each one's card, to the figures.
            draws: how many of the plan's are made, at most.
            basis: payments whose cards bear on the figures.
        """
        plan = BootstrapPlan(min(draws, self.plan.draws), self.plan.confidence, self.plan.seed, self.plan.least_cards)
        values = statistic(np.arange(len(self._cards)), self._index)
        drawn = np.array([statistic(rows, copies) for rows, copies in drawn_rows(self._cards, plan)], np.float64)
        cards = len(np.unique(self._index[basis]))
        return [DrawnFigure(value, drawn[:, place], cards) for place, value in enumerate(values)]

    def _drawn(self, by_card: Floats) -> SumDraws:
        drawn = np.empty((self.plan.draws, by_card.shape[1]))
        for at, times in enumerate(drawn_times(self.count, self.plan)):
            drawn[at] = times @ by_card
        return SumDraws(by_card, drawn)
