"""All figures of one model or two over all payments that count, before they become a report."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fraudstream.lab.evaluation.calibration import BinnedScores, calibration_figures
from fraudstream.lab.evaluation.draws import CardDraws
from fraudstream.lab.evaluation.figures import (
    BudgetAlerts,
    CurrencyRows,
    Figures,
    ScoredBy,
    budget_figures,
    card_figures,
    decision_figures,
    merged,
    money_figures,
    ranking_figures,
)
from fraudstream.lab.evaluation.payments import EvaluatedPayments
from fraudstream.lab.evaluation.report import PrecisionRecallPoint
from fraudstream.lab.evaluation.request import EvaluationTerms, Progress, UnstatedCostsError
from metrics.columns import Floats
from metrics.ranking import ranked_rows
from metrics.weighted_ranking import WeightedRanking

CURVE_POINTS = 100


class WholeMeasures(NamedTuple):
    """What was measured, for each model, and by currency.

    Attributes:
        figures: by name.
        budgets: the alerts at each budget.
        bins: of all payments, and of alerts.
        curves: precision and recall over all thresholds.
        currencies: the payments of each, of most payments first.
    """

    figures: list[Figures]
    budgets: list[BudgetAlerts]
    bins: list[tuple[BinnedScores, BinnedScores]]
    curves: list[tuple[PrecisionRecallPoint, ...]]
    currencies: list[CurrencyRows]


def measure_whole(
    payments: EvaluatedPayments,
    scored: Sequence[ScoredBy],
    currencies: Sequence[str],
    terms: EvaluationTerms,
    progress: Progress,
) -> WholeMeasures:
    """Measure both models on all payments.

    Raises:
        UnstatedCostsError: costs are stated, but not for a currency of the payments.
    """
    rows = CurrencyRows.each(payments, currencies)
    _check_costs(rows, terms)
    budgets = [BudgetAlerts.of(payments, one.scores, terms.budgets) for one in scored]
    money = [money_figures(one, scored, budgets, terms.costs.of(one.currency)[0], terms.plan) for one in rows]
    draws = CardDraws(payments.card, terms.plan)
    progress("figures", 1, 4)
    parts = [ranking_figures(payments, scored, draws)]
    progress("figures", 2, 4)
    parts += [card_figures(payments, scored, terms), decision_figures(payments, scored, draws)]
    progress("figures", 3, 4)
    calibration, bins = calibration_figures(payments, scored, draws)
    figures = merged(*parts, calibration, budget_figures(payments, budgets, draws), *money)
    progress("figures", 4, 4)
    return WholeMeasures(figures, budgets, bins, [_curve(payments, one.scores) for one in scored], rows)


def _check_costs(rows: Sequence[CurrencyRows], terms: EvaluationTerms) -> None:
    try:
        for one in rows:
            terms.costs.of(one.currency)
    except ValueError as error:
        raise UnstatedCostsError(str(error)) from error


def _curve(payments: EvaluatedPayments, scores: Floats) -> tuple[PrecisionRecallPoint, ...]:
    """Return at most 100 thresholds, evenly spread over recall."""
    kept = ranked_rows(payments.fraud, payments.blocked)
    ranking = WeightedRanking(payments.fraud[kept], scores[kept])
    frauds, genuine = ranking.counts(np.ones(len(kept)))
    recall = frauds / frauds[-1]
    chosen = np.unique(np.searchsorted(recall, np.linspace(1 / CURVE_POINTS, 1, CURVE_POINTS)))
    precision = frauds / (frauds + genuine)
    columns = (ranking.thresholds[chosen], recall[chosen], precision[chosen])
    return tuple(PrecisionRecallPoint(*point) for point in zip(*(one.tolist() for one in columns), strict=True))
