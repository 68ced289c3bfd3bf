"""What each model's decisions cost, card by card, and whether the challenger's cost less: the gate of a verdict.

Where the outcome of a payment is not known because it was declined, every difference of losses is taken at its worst
for the challenger, and for the other bound at its best. Fraud that is not labelled is missing from the losses: each
labelled one stands for 1/share, and a bound must hold at both ends of the range of shares that may be true.
"""

from collections.abc import Iterator
from typing import NamedTuple

import msgspec
import numpy as np

from fraudstream.ops.rollout.outcomes.first_days import CardOrder, card_order
from fraudstream.ops.rollout.outcomes.maturity import DAY_MS, Outcomes
from fraudstream.ops.rollout.verdict.pairs import Pairs
from fraudstream.ops.rollout.verdict.terms import VerdictTerms
from metrics.columns import Bools, Ints, exact_sum
from metrics.intervals import Side
from metrics.money import CostMatrix, PricedRows
from metrics.paired import PairedCards, PairedPlan
from models.times import format_time


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


class CohortFacts(msgspec.Struct, frozen=True):
    """Cards that appeared within the same days; amounts in minor units, of the cards of a final cohort.

    Attributes:
        begin: from when on they appeared.
        cards: how many.
        final: all of them are final, and so are all cohorts before.
        mean_worst_minor: what the challenger saves on a card, capped, by the worst case; None unless final.
        mean_best_minor: likewise, by the best case.
        proved_better: a mean of 0 or less was refuted over this cohort and those before, so PROMOTE could be said then.
    """

    begin: str
    cards: int
    final: bool
    mean_worst_minor: float | None
    mean_best_minor: float | None
    proved_better: bool


class LossFacts(msgspec.Struct, frozen=True):
    """The sequential comparison of losses by card; amounts in minor units, what the challenger saves being positive.

    All means are over the cards that are final now; the truth that the bounds speak of is what is expected on these.

    Attributes:
        cards: cards in the stretch; `final` of them are observed, with `payments` payments.
        live_minor: the loss by what the live model said on payments whose outcome is known.
        challenger_minor: likewise, by what the challenger said.
        unobserved: payments among those observed whose outcome is not known since they were declined.
        low_minor: what it saves on a card, at least, by the worst case: above 0, the challenger is better. The
            probability that it is at any look above the mean that is expected on the cards final then is at most alpha.
        high_minor: at most, by the best case.
        mean_worst_minor: the mean over cards of what it saves, capped, by the worst case.
        mean_best_minor: likewise, by the best case.
        total_worst_minor: the sum, uncapped, by the worst case.
        capped: cards whose difference was beyond the cap, by the worst case.
        beyond_minor: the sum of what was cut off.
        changed: after an earlier cohort the challenger was proved better, or worse, and it is not any more.
        mean_now_minor: the mean by the worst case, for whichever end of the range of label shares is less.
        cohorts: of the stretch, in their order.
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
    mean_now_minor: float | None = None
    cohorts: tuple[CohortFacts, ...] = ()


class _Bounded(NamedTuple):
    """The final cards, what is saved on each taken at its worst, and at its best; for one share of labels."""

    worst: PairedCards
    best: PairedCards

    @classmethod
    def of(
        cls, pairs: Pairs, known: tuple[Bools, Bools], order: CardOrder, terms: tuple[CostMatrix, float]
    ) -> "_Bounded":
        """Sum up the observed payments, of which `known` are fraud and unobserved, by card."""
        fraud, unobserved = known
        losses = pair_losses(pairs, fraud, *terms)
        if_fraud = pair_losses(pairs, np.ones(len(fraud), np.bool_), *terms).saved
        worst = np.where(unobserved, losses.worst, losses.saved)
        best = np.where(unobserved, losses.best, losses.saved)
        sums = order.sums(worst, best, np.minimum(losses.worst, if_fraud), np.maximum(losses.best, if_fraud))
        at_worst, at_best, least, most = sums.T
        return cls(PairedCards(at_worst, least, most), PairedCards(at_best, least, most))


def compare_losses(pairs: Pairs, outcomes: Outcomes, as_of_ms: int, terms: VerdictTerms) -> LossFacts:
    """Compare the losses of both models on payments of one currency, card by card."""
    every = card_order(pairs.rows, terms.maturity(as_of_ms), terms.card_days)
    observed, order = every.observed, every.only_observed()
    pairs, fraud, unobserved = pairs.where(observed), outcomes.fraud[observed], outcomes.unobserved[observed]
    plain, known = pair_losses(pairs, fraud, terms.costs), ~unobserved
    lower, upper = (PairedPlan(terms.alpha, terms.cap_minor, side) for side in (Side.LOWER, Side.UPPER))
    shares = [_Bounded.of(pairs, (fraud, unobserved), order, (terms.costs, one)) for one in terms.label_shares]
    better, worse = (
        [all(lower.is_better(one.first(end)) for one in sides) for end in order.final_ends]
        for sides in ([one.worst for one in shares], [one.best.mirrored() for one in shares])
    )
    means = [_mean(one.worst, terms) for one in shares]
    capped, beyond = lower.beyond(shares[0].worst.saved)
    return LossFacts(
        cards=order.cards,
        final=order.final,
        payments=len(pairs.rows),
        live_minor=exact_sum(plain.live[known]),
        challenger_minor=exact_sum(plain.challenger[known]),
        unobserved=int(unobserved.sum()),
        low_minor=min(lower.interval(one.worst).low for one in shares),
        high_minor=max(upper.interval(one.best).high for one in shares),
        mean_worst_minor=means[0],
        mean_best_minor=_mean(shares[0].best, terms),
        total_worst_minor=exact_sum(shares[0].worst.saved),
        capped=capped,
        beyond_minor=beyond,
        changed=any(any(proofs) and not proofs[-1] for proofs in (better, worse)),
        mean_now_minor=min((one for one in means if one is not None), default=None),
        cohorts=tuple(_cohorts(order, shares[0], better, terms)),
    )


def _mean(cards: PairedCards, terms: VerdictTerms) -> float | None:
    """Return the mean of the capped differences, in minor units."""
    kept = np.clip(cards.saved, -terms.cap_minor, terms.cap_minor)
    return exact_sum(kept) / len(kept) if len(kept) else None


def _cohorts(order: CardOrder, cards: _Bounded, better: list[bool], terms: VerdictTerms) -> Iterator[CohortFacts]:
    proofs = dict(zip(order.final_ends, better, strict=True))
    begin = 0
    for end in order.ends:
        is_final = end <= order.final
        worst, best = (
            _mean(PairedCards(*(column[begin:end] for column in side)), terms) if is_final else None for side in cards
        )
        begin_ms = order.begin_ms + int(order.cohorts[begin]) * round(terms.card_days * DAY_MS)
        yield CohortFacts(format_time(begin_ms), end - begin, is_final, worst, best, proofs.get(end, False))
        begin = end
