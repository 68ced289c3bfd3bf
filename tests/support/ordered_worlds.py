"""Worlds in which cards differ by when they appear: a payment of each card, what two models say of it, and its label.

Cards pay at lognormal rates, so those that pay often appear first. What the challenger saves on a card depends on how
often it pays or on when it appears, and the true mean over any set of cards is known.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from metrics.money import CostMatrix, DecisionCode
from stream.outcomes.columns import PAYMENT_ROW
from stream.verdict.pairs import Pairs
from stream.verdict.terms import VerdictTerms

DAY_MS = 86_400_000
DAYS = 196
"""Seven cohorts."""
TERMS = VerdictTerms(currency="EUR", costs=CostMatrix(0, 0, 0, 0), maturity_days=20.0, least_labels=0.0)
"""Reviews cost nothing, so what a swap saves is the amount of a fraud."""
_LABEL_DAYS = 5
_FRAUD_MINOR = 12_000


class OrderedWorld(NamedTuple):
    """Cards of shape (n,), in the order of their first payments: what the challenger saves on each, and its mean.

    `saved` is in minor units: above 0 the challenger alone stops a fraud, below 0 live alone. `expected` is its mean in
    units of its own; only its sign over a set of cards counts.
    """

    first_ms: np.ndarray
    saved: np.ndarray
    expected: np.ndarray

    def pairs(self, day: float, *, frauds_only: bool = False) -> Pairs:
        """Return what is known on a day, with labels of all payments, or of frauds alone."""
        count = int(np.searchsorted(self.first_ms, day * DAY_MS, side="right"))
        rows, saved = np.zeros(count, PAYMENT_ROW), self.saved[:count]
        rows["card"] = rows["payment"] = np.arange(count) * 7_919 % 1_000_003 * 1_000_003 + np.arange(count)
        rows["occurred_ms"], rows["propensity"], rows["score"] = self.first_ms[:count], np.nan, 0.1
        rows["amount_minor"] = np.abs(saved)
        labelled = self.first_ms[:count] + _LABEL_DAYS * DAY_MS <= day * DAY_MS
        fraud = saved != 0
        rows["fraud"] = np.where(labelled & (fraud | (not frauds_only)), fraud, -1)
        live, challenger = (
            np.where(stops, DecisionCode.REVIEW, DecisionCode.APPROVE).astype(np.int8)
            for stops in (saved < 0, saved > 0)
        )
        rows["said"] = rows["decided"] = live
        scores = np.full(count, 0.1)
        return Pairs(rows, live, challenger, scores, scores, np.zeros(count, np.int16), np.zeros(count, np.int64))

    def mean_of(self, final: int) -> float:
        """Return the true mean over the first cards, in units of its own."""
        return float(self.expected[:final].sum())


def drawn(
    random: np.random.Generator,
    cards: int,
    effect: float,
    expects: Callable[[np.ndarray, np.ndarray], np.ndarray],
    often: float = 10.0,
) -> OrderedWorld:
    """Draw a world: 6 % of the cards have a fraud, and on a part `effect` of these the models differ.

    Args:
        random: of the draws.
        cards: how many.
        effect: the part of frauds on which the models differ.
        expects: from rates and first days of cards to the mean sign of what is saved, from -1 to 1.
        often: payments of the median card in 28 days.
    """
    rates = often * np.exp(random.normal(0, 1.2, cards)) / 28
    days = random.exponential(1 / rates)
    order = np.argsort(days, kind="stable")
    rates, days = rates[order], days[order]
    expected = expects(rates, days)
    swaps = (random.random(cards) < 0.06) & (random.random(cards) < effect)
    amounts = np.rint(_FRAUD_MINOR * np.exp(random.normal(-0.5, 1, cards))).astype(np.int64) + 1
    signs = np.where(random.random(cards) < (1 + expected) / 2, 1, -1)
    kept = days < DAYS
    saved = np.where(swaps, signs * amounts, 0)
    return OrderedWorld((days[kept] * DAY_MS).astype(np.int64), saved[kept], expected[kept])


def for_frequent(rates: np.ndarray, _days: np.ndarray) -> np.ndarray:
    """Better on the half that pays more, worse on the other: nothing is saved over all cards."""
    return np.where(rates > np.median(rates), 1.0, -1.0)


def for_the_first(_rates: np.ndarray, days: np.ndarray) -> np.ndarray:
    """Better on cards of the first cohort, and so much worse on those of the second that nothing is saved."""
    first, second = days < 28, (days >= 28) & (days < 56)
    share = min(1.0, second.sum() / max(first.sum(), 1))
    return np.where(first, 0.999 * share, np.where(second, -1.0, -0.2))


def in_waves(_rates: np.ndarray, days: np.ndarray) -> np.ndarray:
    """Better and worse by turns of three days, as campaigns come and go."""
    return np.where(days % 6 < 3, -0.8, 0.8 * min(1.0, (days % 6 < 3).sum() / max((days % 6 >= 3).sum(), 1)))


def rare_and_large(random: np.random.Generator, cards: int) -> OrderedWorld:
    """Saves a little on one card in twenty, and loses as much in all on one card in a thousand: the cap and more."""
    days = np.sort(random.exponential(5.0, cards))
    draw = random.random(cards)
    saved = np.where(draw < 0.001, -60_000, np.where(draw < 0.051, 1_000, 0))
    return OrderedWorld((days * DAY_MS).astype(np.int64), saved, np.zeros(cards))
