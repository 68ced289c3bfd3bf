"""What decisions cost, as people state it: a fixed sum and a share of the amount, by currency."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from metrics.money import CostMatrix
from stream.contract.money import number_text, parse_daily_amount

_COST = re.compile(r"\s*([A-Z]{3} ?[0-9.]+)?[\s,+]*(?:([0-9]{1,3}(?:\.[0-9]{1,2})?) ?%)?\s*")
_HUNDRED = 100
CAP_MINOR = 50_000
"""A card's loss, or difference of loss, counts up to this amount: 500.00 in euro."""


class Cost(NamedTuple):
    """A fixed sum in minor units, and a share of the amount in 0.01 %."""

    fixed_minor: int
    share_bp: int

    def text(self, currency: str) -> str:
        """Return it as people write it: "EUR 2.00 + 5%"."""
        share = f" + {self.share_bp / _HUNDRED:g}%" if self.share_bp else ""
        return f"{currency} {number_text(self.fixed_minor, currency)}{share}"


REVIEW_COST, DECLINE_COST = Cost(300, 0), Cost(200, 500)
"""In minor units, whatever the currency: 3.00 a review; 2.00 and 5 % of the amount a wrong decline. State your own."""
_NO_COSTS: Mapping[str, Cost] = MappingProxyType({})
_NO_CAPS: Mapping[str, int] = MappingProxyType({})


def parse_cost(text: str) -> tuple[str, Cost]:
    """Return the currency and the cost of a text such as "EUR 3.00" or "EUR 2.00 + 5%".

    Raises:
        ValueError: it is none.
    """
    found = _COST.fullmatch(text)
    if found is None or found[1] is None:
        raise ValueError(f"{text!r} is no cost such as 'EUR 3.00' or 'EUR 2.00 + 5%'")
    currency, fixed_minor = parse_daily_amount(found[1])
    share = float(found[2] or 0)
    if share > _HUNDRED:
        raise ValueError(f"{text!r}: {share:g}% is more than the amount")
    return currency, Cost(fixed_minor, round(share * _HUNDRED))


class StatedCosts(NamedTuple):
    """Costs and caps by currency, as somebody states them before the currency of a report is known."""

    review: Mapping[str, Cost] = _NO_COSTS
    decline: Mapping[str, Cost] = _NO_COSTS
    caps: Mapping[str, int] = _NO_CAPS

    def of(self, currency: str) -> tuple[CostMatrix, int]:
        """Return the costs and the cap of a currency, the default ones where nothing is stated.

        Raises:
            ValueError: some are stated, but not for that currency.
        """
        for what, stated in (("review cost", self.review), ("decline cost", self.decline), ("cap", self.caps)):
            if stated and currency not in stated:
                raise ValueError(f"the report compares in {currency}, but the {what} is stated for {', '.join(stated)}")
        review, decline = self.review.get(currency, REVIEW_COST), self.decline.get(currency, DECLINE_COST)
        return CostMatrix(*review, *decline), self.caps.get(currency, CAP_MINOR)


def costs_text(costs: CostMatrix, currency: str) -> str:
    """Return what decisions cost, for people."""
    review = Cost(costs.review_fixed_minor, costs.review_share_bp).text(currency)
    decline = Cost(costs.decline_fixed_minor, costs.decline_share_bp).text(currency)
    return f"a review {review}, a wrong decline {decline}, an approved fraud its amount"
