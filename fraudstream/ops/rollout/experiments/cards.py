"""One observation for each card: the loss of its payments in its first days, between two bounds, once it is final.

Cards come in the order of `fraudstream.ops.rollout.outcomes.first_days`, in whole cohorts. The loss is that of what
the arm's model said. Where a payment was declined and nobody learned what it was, its loss lies between that of a fraud
and that of a genuine payment; both bounds are carried on.
"""

from typing import NamedTuple

import numpy as np

from fraudstream.ops.rollout.experiments.terms import ExperimentTerms
from fraudstream.ops.rollout.outcomes.columns import PaymentRows
from fraudstream.ops.rollout.outcomes.first_days import MOST_COHORTS, CardOrder, card_order
from fraudstream.ops.rollout.outcomes.maturity import outcomes_of
from metrics.columns import Bools, Ints
from metrics.money import DecisionCode, PricedRows


class CardLosses(NamedTuple):
    """The cards of an experiment that are final, in the order of their first payments, and those that are not.

    Attributes:
        arms: the place of each final card's arm among those of the experiment, of shape (n,).
        low: its loss at least, in minor units, of shape (n,).
        high: its loss at most.
        first_ms: its first payment.
        waiting_ms: the first payments of the cards that are not final yet, ascending.
        cut_off: cards whose days the end of the experiment cut off, so that they are never final; None while it runs.
    """

    arms: Ints
    low: Ints
    high: Ints
    first_ms: Ints
    waiting_ms: Ints
    cut_off: int | None = None

    def begin_ms(self) -> int:
        """Return the first payment of all, with which the first cohort begins; 0 without cards."""
        firsts = (*self.first_ms[:1].tolist(), *self.waiting_ms[:1].tolist())
        return min(firsts, default=0)

    def final_by_ms(self, first_ms: int, terms: ExperimentTerms) -> int:
        """Return when a card that waits is final at the latest: with the last that can appear in its cohort."""
        begin_ms, length_ms = self.begin_ms(), max(terms.card_ms, 1)
        return begin_ms + ((first_ms - begin_ms) // length_ms + 1) * length_ms + terms.wait_ms

    def cohorts(self, terms: ExperimentTerms) -> "list[tuple[int, CardLosses]]":
        """Return the final cards by cohort, with the time from which on they appeared."""
        begin_ms, length_ms = self.begin_ms(), max(terms.card_ms, 1)
        if not len(self.arms):
            return []
        numbers, firsts = np.unique((self.first_ms - begin_ms) // length_ms, return_index=True)
        ends = [*firsts.tolist()[1:], len(self.arms)]
        parts = zip(numbers.tolist(), firsts.tolist(), ends, strict=True)
        return [(begin_ms + number * length_ms, self.part(begin, end)) for number, begin, end in parts][-MOST_COHORTS:]

    def part(self, begin: int, end: int) -> "CardLosses":
        """Return the final cards from one number to another, the end excluded."""
        which = slice(begin, end)
        return self._replace(
            arms=self.arms[which], low=self.low[which], high=self.high[which], first_ms=self.first_ms[which]
        )


def card_losses(rows: PaymentRows, terms: ExperimentTerms, ended_ms: int | None = None) -> CardLosses:
    """Return the observations of an experiment.

    Args:
        rows: its payments, `arm` being a place among its arms; those of other currencies are passed over.
        terms: what it is judged by.
        ended_ms: when it ended, on the clock of `occurred_ms`; None while it runs.
    """
    own = rows[rows["currency"] == terms.currency]
    whole, cut_off = _whole_windows(own, terms, ended_ms), None
    if ended_ms is not None:
        own, cut_off = own[whole], len(np.unique(own["card"][~whole]))
    order = card_order(own, terms.maturity, terms.card_days)
    low, high = loss_bounds(own, terms)
    sums = order.sums(low, high)
    arms, first_ms = _of_cards(own, order)
    final = order.final
    return CardLosses(arms[:final], sums[:, 0], sums[:, 1], first_ms[:final], first_ms[final:], cut_off)


def _whole_windows(rows: PaymentRows, terms: ExperimentTerms, ended_ms: int | None) -> Bools:
    """Tell which rows are of cards whose first days the end of the experiment did not cut off."""
    if ended_ms is None:
        return np.ones(len(rows), np.bool_)
    cards, at = np.unique(rows["card"], return_inverse=True)
    firsts = np.full(len(cards), np.iinfo(np.int64).max)
    np.minimum.at(firsts, at, rows["occurred_ms"])
    whole: Bools = firsts[at] + terms.card_ms <= ended_ms
    return whole


def _of_cards(rows: PaymentRows, order: CardOrder) -> tuple[Ints, Ints]:
    """Return the arm and the first payment of each card, in their order."""
    arms, firsts = np.zeros(order.cards, np.int64), np.full(order.cards, np.iinfo(np.int64).max)
    arms[order.ranks] = rows["arm"]
    np.minimum.at(firsts, order.ranks, rows["occurred_ms"])
    return arms, firsts


def loss_bounds(rows: PaymentRows, terms: ExperimentTerms) -> tuple[Ints, Ints]:
    """Return the least and the largest loss of what the models said, of shape (n,) each, in minor units.

    They are equal but for payments that were declined and have no label. The rows are of one currency. Where a share of
    the frauds is never labelled, an approved one that is stands for the others.
    """
    outcomes = outcomes_of(rows, terms.maturity)
    loss = _losses(rows, outcomes.fraud, terms)
    otherwise = _losses(rows, outcomes.fraud | outcomes.unobserved, terms)
    return np.minimum(loss, otherwise), np.maximum(loss, otherwise)


def _losses(rows: PaymentRows, fraud: Bools, terms: ExperimentTerms) -> Ints:
    said = rows["said"]
    losses = terms.costs.losses(PricedRows(said, fraud, rows["amount_minor"]))
    missed = fraud & (said == DecisionCode.APPROVE)
    weighted: Ints = np.where(missed, np.rint(losses / terms.label_share), losses).astype(np.int64)
    return weighted
