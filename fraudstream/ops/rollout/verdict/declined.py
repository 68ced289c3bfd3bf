"""Payments that were declined: nobody learns what they would have been, but for those that a lot let through."""

import msgspec
import numpy as np
from numpy.typing import NDArray

from fraudstream.ops.rollout.outcomes.declines import decline_figures, lot_rows, recall_by_lots
from fraudstream.ops.rollout.outcomes.maturity import Outcomes
from fraudstream.ops.rollout.verdict.figures import Figure
from fraudstream.ops.rollout.verdict.losses import PairLosses, pair_losses
from fraudstream.ops.rollout.verdict.pairs import Pairs
from fraudstream.ops.rollout.verdict.terms import VerdictTerms
from metrics.bootstrap import BootstrapPlan, total_interval
from metrics.columns import Bools, exact_sum, sum_by_card
from metrics.money import DecisionCode


class OtherwiseFacts(msgspec.Struct, frozen=True):
    """Payments that were declined, and that the other model would not have declined; money in minor units.

    Attributes:
        events, cards, amount_minor: how many they are.
        approved: how many of them the other model would have approved; the others it would have reviewed.
        saved_if_fraud_minor: what the challenger saves on them if all of them are fraud; negative: what it loses.
        saved_if_genuine_minor: if all of them are genuine.
    """

    events: int
    cards: int
    amount_minor: int
    approved: int
    saved_if_fraud_minor: int
    saved_if_genuine_minor: int


class LotFacts(msgspec.Struct, frozen=True):
    """What lots tell of declined payments: inverse-propensity figures, on the payments for which a lot was drawn.

    Attributes:
        drawn: payments that have matured for which a lot was drawn; of them `let_through` were approved.
        coverage: of the payments that were to be declined, the share whose outcome a lot or the cap could show.
        money_coverage: likewise, of their money.
        fraud_share: of what live declined, the share that is fraud.
        saved_minor: what the challenger saves on what live declined: estimated, over those that the coverage counts.
        live_recall: the share of frauds with an alert, declined ones among them.
        challenger_recall: likewise.
    """

    drawn: int
    let_through: int
    coverage: float | None
    money_coverage: float | None
    fraud_share: Figure
    saved_minor: Figure
    live_recall: Figure
    challenger_recall: Figure


class DeclinedFacts(msgspec.Struct, frozen=True):
    """Payments that were declined and have no label, and what is known of them.

    `otherwise` is what live declined and the challenger would not have; `reverse` are declines of a canary's model that
    live would not have declined. `lots` is None where no lot was drawn.
    """

    events: int
    amount_minor: int
    otherwise: OtherwiseFacts
    reverse: OtherwiseFacts
    lots: LotFacts | None


def declined_facts(pairs: Pairs, outcomes: Outcomes, terms: VerdictTerms) -> DeclinedFacts:
    """Count the declined payments of one currency, bound them both ways, and estimate them where lots were drawn."""
    losses, unobserved = pair_losses(pairs, outcomes.fraud, terms.costs), outcomes.unobserved
    by_live, by_challenger = (said == DecisionCode.DECLINE for said in (pairs.live, pairs.challenger))
    return DeclinedFacts(
        events=int(unobserved.sum()),
        amount_minor=exact_sum(pairs.rows["amount_minor"][unobserved]),
        otherwise=_otherwise(pairs, losses, unobserved & by_live & ~by_challenger, pairs.challenger),
        reverse=_otherwise(pairs, losses, unobserved & by_challenger & ~by_live, pairs.live),
        lots=_lots(pairs, outcomes, losses, terms),
    )


def _otherwise(pairs: Pairs, losses: PairLosses, chosen: Bools, other: NDArray[np.int8]) -> OtherwiseFacts:
    rows = pairs.rows[chosen]
    return OtherwiseFacts(
        events=len(rows),
        cards=len(np.unique(rows["card"])),
        amount_minor=exact_sum(rows["amount_minor"]),
        approved=int((other[chosen] == DecisionCode.APPROVE).sum()),
        saved_if_fraud_minor=exact_sum(losses.if_fraud[chosen]),
        saved_if_genuine_minor=exact_sum(losses.if_genuine[chosen]),
    )


def _lots(pairs: Pairs, outcomes: Outcomes, losses: PairLosses, terms: VerdictTerms) -> LotFacts | None:
    """Estimate from the lots of payments that occurred before all had matured; None where there are none."""
    settled, saved = pairs.where(outcomes.settled), losses.saved[outcomes.settled]
    rows, plan = settled.rows, BootstrapPlan(draws=terms.draws)
    declined = rows["said"] == DecisionCode.DECLINE
    drawn = int((declined & ~np.isnan(rows["propensity"])).sum())
    if not drawn or not len(rows):
        return None
    found = decline_figures(rows, int(rows["currency"][0]), plan)
    weights = np.where(declined, lot_rows(rows).weights, 0.0)
    by_card = sum_by_card(rows["card"], saved * weights).sums[:, 0]
    live, challenger = (recall_by_lots(rows, said, plan) for said in (settled.live, settled.challenger))
    return LotFacts(
        drawn=drawn,
        let_through=found.let_through,
        coverage=found.coverage.share,
        money_coverage=found.coverage.money_share,
        fraud_share=Figure(*found.precision),
        saved_minor=Figure(float(by_card.sum()), total_interval(by_card, plan)),
        live_recall=Figure(*live),
        challenger_recall=Figure(*challenger),
    )
