"""Decide each payment at the least expected cost, so that its thresholds depend on its amount.

With the probability p of fraud and the amount a, an approval is expected to cost p * a, a review what a review costs
whatever it finds, a decline (1 - p) times what a wrong decline costs: the cost matrix of `metrics.money`, in which the
cheapest decision is optimal (Elkan, The Foundations of Cost-Sensitive Learning, 2001, section 1; with costs that depend
on the example, Bahnsen et al., 2016). Each step is a numpy operation of its own, so that the bits are the same on every
CPU and for every size of a batch.
"""

from collections.abc import Sequence
from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

from fraudstream_client.outputs import Decision
from metrics.money import CostMatrix
from models.let_through import MOST_CURRENCIES, Currency
from models.policy import Floats, Payments, Policy

_DECISIONS = tuple(Decision)
_REVIEW, _DECLINE = _DECISIONS.index(Decision.REVIEW), _DECISIONS.index(Decision.DECLINE)

CostsByCurrency = Annotated[dict[Currency, CostMatrix], msgspec.Meta(min_length=1, max_length=MOST_CURRENCIES)]


class CostPolicy(msgspec.Struct, frozen=True):
    """The costs of decisions by currency, in its minor units.

    A payment in another currency, or of amount 0, where no money says what is at stake, is decided by the fixed
    thresholds of the manifest's `policy`.
    """

    costs: CostsByCurrency

    def decide(self, scores: Floats, payments: Payments, otherwise: Policy) -> list[Decision]:
        """Decide n payments by their scores, probabilities of shape (n,); of equally cheap decisions, the mildest.

        `otherwise` decides those that have no costs here.
        """
        found = [_DECISIONS[severity] for severity in self._severities(scores, payments).tolist()]
        if without := np.flatnonzero(~self._is_priced(payments)).tolist():
            for at, decision in zip(without, otherwise.decide(scores[without]), strict=True):
                found[at] = decision
        return found

    def _is_priced(self, payments: Payments) -> NDArray[np.bool_]:
        """Tell which payments have costs: their currency has, and they are of some amount."""
        known = payments.amounts_minor > 0
        if not set(payments.currencies) <= self.costs.keys():
            known &= np.fromiter((one in self.costs for one in payments.currencies), np.bool_, len(known))
        return known

    def _severities(self, scores: Floats, payments: Payments) -> NDArray[np.int8]:
        """Return the decisions as indices; meaningless for payments without costs."""
        codes = set(payments.currencies)
        if len(codes) == 1:
            costs = self.costs.get(next(iter(codes)))
            return np.zeros(len(scores), np.int8) if costs is None else _cheapest(costs, scores, payments.amounts_minor)
        found = np.zeros(len(scores), np.int8)
        for code in codes & self.costs.keys():
            which = _rows_of(code, payments.currencies)
            found[which] = _cheapest(self.costs[code], scores[which], payments.amounts_minor[which])
        return found


def _rows_of(code: str, currencies: Sequence[str]) -> NDArray[np.intp]:
    return np.flatnonzero(np.fromiter((one == code for one in currencies), np.bool_, len(currencies)))


def _cheapest(costs: CostMatrix, scores: Floats, amounts_minor: NDArray[np.int64]) -> NDArray[np.int8]:
    """Return the index of the cheapest decision on each payment of one currency."""
    approved = np.multiply(scores, amounts_minor)
    reviewed = costs.review(amounts_minor).astype(np.float64)
    declined = np.multiply(np.subtract(1.0, scores), costs.wrong_decline(amounts_minor))
    found = np.where(reviewed < approved, np.int8(_REVIEW), np.int8(0))
    found[declined < np.minimum(approved, reviewed)] = _DECLINE
    return found
