"""What lots say of the payments that a model declined: inverse-propensity precision and recall, with their coverage.

Only payments that have matured may be passed: of younger ones, those that were let through are known sooner if they are
fraud. Whether an outcome is seen depends on the lot alone: a payment that the cap on declines sent to review although
its lot had failed stays unseen here, since its propensity is that of the lot.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fraudstream.ops.rollout.outcomes.columns import PaymentRows
from metrics.bootstrap import BootstrapPlan
from metrics.columns import Bools
from metrics.money import DecisionCode
from metrics.propensity import Coverage, LotRows, WeightedRatio, coverage, known_ratio, normalised_ratio


class DeclineFigures(NamedTuple):
    """Estimates over payments that have matured.

    Attributes:
        coverage: of the payments that the model declined, those whose outcome a lot or the cap could show; money in the
            currency in which arms are compared.
        let_through: how many of them lots let through.
        precision: of declines: how many of them are fraud.
        naive_precision: of the declines that were seen alone, each counted once: biased where lots depend on amounts.
        recall: of all alerts of the model: the frauds with an alert, of all frauds.
    """

    coverage: Coverage
    let_through: int
    precision: WeightedRatio
    naive_precision: float | None
    recall: WeightedRatio


def decline_figures(rows: PaymentRows, currency: int, plan: BootstrapPlan | None = None) -> DeclineFigures:
    """Return what lots say of the declines among payments that have matured; money of one currency, by its index."""
    lots, declined, fraud = lot_rows(rows), rows["said"] == DecisionCode.DECLINE, rows["fraud"] == 1
    own = LotRows(*(column[declined] for column in lots))
    paid = rows[declined]
    in_currency = paid["currency"] == currency
    counted = coverage(own.propensities, np.zeros(len(paid), np.int64))
    money = coverage(own.propensities[in_currency], paid["amount_minor"][in_currency])
    seen = fraud[declined][own.seen]
    return DeclineFigures(
        counted._replace(covered_minor=money.covered_minor, amount_minor=money.amount_minor),
        int((own.seen & (own.propensities < 1)).sum()),
        known_ratio(fraud[declined], np.ones(len(paid)), own, plan),
        float(seen.mean()) if len(seen) else None,
        recall_by_lots(rows, rows["said"], plan),
    )


def recall_by_lots(rows: PaymentRows, said: NDArray[np.int8], plan: BootstrapPlan | None = None) -> WeightedRatio:
    """Return the share of frauds among payments that have matured on which a model that `said` so alerts."""
    fraud = rows["fraud"] == 1
    return normalised_ratio(fraud & (said > DecisionCode.APPROVE), fraud, lot_rows(rows), plan)


def lot_rows(rows: PaymentRows) -> LotRows:
    """Return with which probability the outcome of each payment is seen, and whether it was.

    1 where the payment was not to be declined, or where the cap alone kept it from that; the propensity where a lot was
    drawn; 0 where a decline stood without a lot.
    """
    declined = rows["said"] == DecisionCode.DECLINE
    stood = rows["decided"] == DecisionCode.DECLINE
    drawn = declined & ~np.isnan(rows["propensity"])
    propensities = np.where(drawn, rows["propensity"], np.where(stood, 0.0, 1.0))
    passed: Bools = np.where(drawn, rows["decided"] == DecisionCode.APPROVE, ~stood)
    return LotRows(rows["card"], propensities, passed)
