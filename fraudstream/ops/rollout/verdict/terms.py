"""What a verdict promises and assumes: costs, bounds and budgets, all stated in the report."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from fraudstream.ops.rollout.outcomes.costs import CAP_MINOR, DECLINE_COST, REVIEW_COST, Cost
from fraudstream.ops.rollout.outcomes.first_days import CARD_DAYS
from fraudstream.ops.rollout.outcomes.maturity import MATURITY_DAYS, MaturityTerms
from metrics.money import CostMatrix
from stream.contract.iso import CURRENCY_DECIMALS

_NO_COSTS: Mapping[str, Cost] = MappingProxyType({})
_NO_CAPS: Mapping[str, int] = MappingProxyType({})


class VerdictTerms(msgspec.Struct, frozen=True, kw_only=True):
    """What a verdict goes by; amounts are of `currency`, in minor units.

    Attributes:
        currency: of the payments by whose outcomes the models are judged.
        costs: what decisions cost.
        cap_minor: a card's difference of loss counts up to this amount.
        alpha: the probability of a wrong PROMOTE, at most, and likewise of a wrong REJECT.
        maturity_days: how old an unlabelled payment is when it counts as genuine.
        card_days: how long a card's payments count for its one observation, from its first on.
        label_share: the share of frauds that are labelled within the maturity; each labelled one stands for 1/share.
        least_labels: labelled frauds, as a share of those that the live model's scores and `label_share` let expect, of
            which there must be so many; 0: whatever they are. The figures are taken for both ends of that range.
        cards_a_day: the budget k of card precision.
        least_coverage: the share of decisions that must have been compared.
        alerts_per_day: the most alerts of the challenger a day; None: as many as live has, and `alert_tolerance` more.
        alert_tolerance: see there.
        row_us: the most processor time for a row of the challenger, in microseconds; None: no budget.
        draws: of the bootstrap.
    """

    currency: str
    costs: CostMatrix
    cap_minor: int = CAP_MINOR
    alpha: float = 0.05
    maturity_days: float = MATURITY_DAYS
    card_days: float = CARD_DAYS
    label_share: float = 1.0
    least_labels: float = 0.8
    cards_a_day: int = 100
    least_coverage: float = 0.99
    alerts_per_day: float | None = None
    alert_tolerance: float = 0.1
    row_us: float | None = None
    draws: int = 1_000

    def maturity(self, as_of_ms: int) -> MaturityTerms:
        """Return what has matured goes by, at a time."""
        return MaturityTerms(as_of_ms, self.maturity_days)

    @property
    def label_shares(self) -> tuple[float, ...]:
        """The shares of frauds that may be labelled, for both ends of which the gate must hold."""
        return (self.label_share, self.label_share * self.least_labels) if self.least_labels else (self.label_share,)


class VerdictOptions(NamedTuple):
    """The terms as somebody states them, before the currency is known: costs and caps by currency.

    `others` are the further fields of `VerdictTerms`, by name.
    """

    currency: str | None = None
    review: Mapping[str, Cost] = _NO_COSTS
    decline: Mapping[str, Cost] = _NO_COSTS
    caps: Mapping[str, int] = _NO_CAPS
    others: Mapping[str, float | int | None] = MappingProxyType({})

    def terms(self, most_frequent: str) -> VerdictTerms:
        """Return the terms; the currency is the one stated, or the most frequent one.

        Raises:
            ValueError: costs or caps are stated, but not for that currency.
        """
        currency = self.currency or most_frequent
        for what, stated in (("review cost", self.review), ("decline cost", self.decline), ("cap", self.caps)):
            if stated and currency not in stated:
                raise ValueError(f"the verdict is in {currency}, but the {what} is stated for {', '.join(stated)}")
        review, decline = self.review.get(currency, REVIEW_COST), self.decline.get(currency, DECLINE_COST)
        costs = CostMatrix(*review, *decline)
        others: dict[str, Any] = dict(self.others)
        return VerdictTerms(currency=currency, costs=costs, cap_minor=self.caps.get(currency, CAP_MINOR), **others)


def known_currency(text: str) -> str:
    """Return a currency's code in capitals.

    Raises:
        ValueError: ISO 4217 has none such with a minor unit.
    """
    if text.upper() not in CURRENCY_DECIMALS:
        raise ValueError(f"{text!r} is not an ISO 4217 code with a minor unit")
    return text.upper()
