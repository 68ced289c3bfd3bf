"""What lots say of the payments that an arm declined: inverse-propensity precision and recall, with their coverage.

Only payments as old as the maturity are used: of younger ones, those that were let through are known sooner if they are
fraud. Whether an outcome is seen depends on the lot alone: a payment that the cap on declines sent to review although
its lot had failed stays unseen here, since its propensity is that of the lot.
"""

from typing import NamedTuple

import numpy as np

from metrics.bootstrap import BootstrapPlan
from metrics.columns import Bools
from metrics.money import DecisionCode
from metrics.propensity import Coverage, LotRows, WeightedRatio, coverage, known_ratio, normalised_ratio
from stream.outcomes.columns import PaymentRows
from stream.outcomes.maturity import MaturityTerms


class DeclineFigures(NamedTuple):
    """Estimates over the payments that are as old as the maturity.

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


def decline_figures(
    rows: PaymentRows, maturity: MaturityTerms, currency: int, plan: BootstrapPlan | None = None
) -> DeclineFigures:
    """Return what lots say of the declines among an arm's payments; money of one currency, by its index."""
    old = rows[rows["occurred_ms"] <= maturity.old_ms]
    lots, declined, fraud = lot_rows(old), old["said"] == DecisionCode.DECLINE, old["fraud"] == 1
    own = LotRows(*(column[declined] for column in lots))
    paid = old[declined]
    in_currency = paid["currency"] == currency
    counted = coverage(own.propensities, np.zeros(len(paid), np.int64))
    money = coverage(own.propensities[in_currency], paid["amount_minor"][in_currency])
    seen, is_alert = fraud[declined][own.seen], old["said"] > DecisionCode.APPROVE
    return DeclineFigures(
        counted._replace(covered_minor=money.covered_minor, amount_minor=money.amount_minor),
        int((own.seen & (own.propensities < 1)).sum()),
        known_ratio(fraud[declined], np.ones(len(paid)), own, plan),
        float(seen.mean()) if len(seen) else None,
        normalised_ratio(fraud & is_alert, fraud, lots, plan),
    )


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
