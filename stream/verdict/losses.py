"""What each model's decisions cost, card by card, and whether the challenger's cost less: the gate of a verdict.

Where the outcome of a payment is not known because it was declined, every difference of losses is taken at its worst
for the challenger, and for the other bound at its best. Fraud that is not labelled is missing from the losses: each
labelled one stands for 1/share, and a bound must hold at both ends of the range of shares that may be true.
"""

from typing import NamedTuple

import msgspec
import numpy as np

from metrics.columns import Bools, Ints, exact_sum
from metrics.intervals import Side
from metrics.money import CostMatrix, PricedRows
from metrics.paired import PairedPlan, PairedState
from stream.outcomes.first_days import CardOrder, card_order
from stream.outcomes.maturity import Outcomes
from stream.verdict.pairs import Pairs
from stream.verdict.terms import VerdictTerms


class PairLosses(NamedTuple):
    """What both models' decisions cost, of shape (n,) in minor units; `saved` by the challenger are their differences.

    `if_fraud` and `if_genuine` are the differences for both outcomes, whatever is known.
    """

    live: Ints
    challenger: Ints
    if_fraud: Ints
    if_genuine: Ints

    @property
    def saved(self) -> Ints:
        """How much less the challenger's decision costs; negative where it costs more."""
        return self.live - self.challenger

    @property
    def worst(self) -> Ints:
        """The lesser of what it saves for both outcomes."""
        return np.minimum(self.if_fraud, self.if_genuine)

    @property
    def best(self) -> Ints:
        """The greater of both."""
        return np.maximum(self.if_fraud, self.if_genuine)


def pair_losses(pairs: Pairs, fraud: Bools, costs: CostMatrix, label_share: float = 1.0) -> PairLosses:
    """Return the losses of both models on payments of one currency.

    Args:
        pairs: of n payments.
        fraud: which of them are labelled as fraud, of shape (n,).
        costs: of the currency.
        label_share: a labelled fraud stands for 1/share of them.
    """
    amounts = pairs.rows["amount_minor"]
    sides = []
    for decisions in (pairs.live, pairs.challenger):
        as_fraud, as_genuine = (
            costs.losses(PricedRows(decisions, np.full(len(fraud), outcome), amounts)) for outcome in (True, False)
        )
        more = np.rint((as_fraud - as_genuine) / label_share).astype(np.int64)
        sides.append((np.where(fraud, as_genuine + more, as_genuine), as_fraud, as_genuine))
    (live, live_fraud, live_genuine), (challenger, fraud_too, genuine_too) = sides
    return PairLosses(live, challenger, live_fraud - fraud_too, live_genuine - genuine_too)


class LossFacts(msgspec.Struct, frozen=True):
    """The sequential comparison of losses by card; amounts in minor units, what the challenger saves being positive.

    Attributes:
        cards: cards in the stretch; `final` of them are observed, with `payments` payments.
        live_minor: the loss by what the live model said on payments whose outcome is known.
        challenger_minor: likewise, by what the challenger said.
        unobserved: payments among those observed whose outcome is not known since they were declined.
        low_minor: what it saves on a card, at least, by the worst case: above 0, the challenger is better. The
            probability that it is ever above the truth is at most alpha.
        high_minor: at most, by the best case.
        mean_worst_minor: the mean over cards of what it saves, capped, by the worst case.
        mean_best_minor: likewise, by the best case.
        total_worst_minor: the sum, uncapped, by the worst case.
        capped: cards whose difference was beyond the cap, by the worst case.
        beyond_minor: the sum of what was cut off.
        changed: the mean has changed so much that no value is left: look at parts of the stretch.
    """

    cards: int
    final: int
    payments: int
    live_minor: int
    challenger_minor: int
    unobserved: int
    low_minor: float
    high_minor: float
    mean_worst_minor: float | None
    mean_best_minor: float | None
    total_worst_minor: int
    capped: int
    beyond_minor: int
    changed: bool


def compare_losses(pairs: Pairs, outcomes: Outcomes, as_of_ms: int, terms: VerdictTerms) -> LossFacts:
    """Compare the losses of both models on payments of one currency, card by card."""
    every = card_order(pairs.rows, terms.maturity(as_of_ms), terms.card_days)
    observed, order = every.observed, every.only_observed()
    pairs, fraud, unobserved = pairs.where(observed), outcomes.fraud[observed], outcomes.unobserved[observed]
    plain, known = pair_losses(pairs, fraud, terms.costs), ~unobserved
    lows, highs = list[PairedState](), list[PairedState]()
    for share in terms.label_shares:
        losses = pair_losses(pairs, fraud, terms.costs, share)
        lows.append(_state(order, np.where(unobserved, losses.worst, losses.saved), terms, Side.LOWER))
        highs.append(_state(order, np.where(unobserved, losses.best, losses.saved), terms, Side.UPPER))
    low = [_plan(terms, Side.LOWER).interval(state) for state in lows]
    high = [_plan(terms, Side.UPPER).interval(state) for state in highs]
    return LossFacts(
        cards=order.cards,
        final=order.final,
        payments=len(pairs.rows),
        live_minor=exact_sum(plain.live[known]),
        challenger_minor=exact_sum(plain.challenger[known]),
        unobserved=int(unobserved.sum()),
        low_minor=min((one.low for one in low if one is not None), default=float(-terms.cap_minor)),
        high_minor=max((one.high for one in high if one is not None), default=float(terms.cap_minor)),
        mean_worst_minor=_mean(lows[0], order),
        mean_best_minor=_mean(highs[0], order),
        total_worst_minor=lows[0].saved_minor,
        capped=lows[0].capped,
        beyond_minor=lows[0].beyond_minor,
        changed=None in low or None in high,
    )


def _plan(terms: VerdictTerms, side: Side) -> PairedPlan:
    return PairedPlan(terms.alpha, terms.cap_minor, side)


def _state(order: CardOrder, saved: Ints, terms: VerdictTerms, side: Side) -> PairedState:
    plan, sums = _plan(terms, side), order.sums(saved)[:, 0]
    return plan.observe(plan.start(), sums, np.zeros_like(sums))


def _mean(state: PairedState, order: CardOrder) -> float | None:
    """Return the mean of the capped differences, in minor units."""
    return (state.saved_minor - state.beyond_minor) / order.final if order.final else None
