"""Compares a student with its teacher on the held-back payments, by the figures that an evaluation has of two models.

Ranking and money are those of `evaluation.figures`; how much a student does as its teacher does is counted here. All
intervals are over draws of the cards.
"""

from functools import partial
from typing import NamedTuple

import numpy as np

from features.history.store import Ints
from fraudstream.lab.distillation.report import (
    DecisionPair,
    FigureInterval,
    PairMoney,
    SegmentComparison,
    TeacherStudentFigures,
)
from fraudstream.lab.evaluation.draws import CardDraws, DrawnFigure
from fraudstream.lab.evaluation.figures import (
    BudgetAlerts,
    CurrencyRows,
    ScoredBy,
    differences,
    money_figures,
    ranking_figures,
)
from fraudstream.lab.evaluation.payments import EvaluatedPayments
from fraudstream.lab.evaluation.slices import PaymentSlice, segment_slices
from fraudstream_client.outputs import Decision
from metrics.bootstrap import BootstrapPlan
from metrics.columns import Bools, Floats, ratios
from metrics.money import CostMatrix, DecisionCode, MoneySums, amounts_by_currency, decision_pairs

SUMS_PLAN = BootstrapPlan(draws=1_000)
RANKING_PLAN = BootstrapPlan(draws=300)
"""Fewer draws, since each reads all rows."""
_DECISIONS = tuple(Decision)
_NO_BUDGETS = (BudgetAlerts({}), BudgetAlerts({}))
_MEAN_RANK = 0.5


class HeldBack(NamedTuple):
    """n labelled payments, the currencies that they name by place, and what both models said of them."""

    payments: EvaluatedPayments
    currencies: tuple[str, ...]
    teacher: ScoredBy
    student: ScoredBy

    def where(self, rows: Ints | Bools) -> "HeldBack":
        """Return some of them."""
        return HeldBack(self.payments.where(rows), self.currencies, self.teacher.where(rows), self.student.where(rows))


class MoneyTerms(NamedTuple):
    """The currency that is compared, and what decisions cost in it."""

    currency: str
    costs: CostMatrix


def compare(held: HeldBack, terms: MoneyTerms) -> TeacherStudentFigures:
    """Compare both models on at least one row."""
    payments, both = held.payments, (held.teacher, held.student)
    ranking = ranking_figures(payments, both, CardDraws(payments.card, RANKING_PLAN))
    alerts = [int(one.alerted.sum()) for one in both]
    declines = [int((one.decisions == DecisionCode.DECLINE).sum()) for one in both]
    agreement = _agreement(held)
    return TeacherStudentFigures(
        rows=len(payments.fraud),
        cards=len(np.unique(payments.card)),
        frauds=int(payments.fraud.sum()),
        teacher_alerts=alerts[0],
        student_alerts=alerts[1],
        teacher_declines=declines[0],
        student_declines=declines[1],
        **agreement,
        teacher_average_precision=_value(ranking[0]["average_precision"]),
        student_average_precision=_value(ranking[1]["average_precision"]),
        average_precision_lost=_figure(differences(ranking)["average_precision"], RANKING_PLAN),
        money=_money(held, terms),
    )


def _agreement(held: HeldBack) -> dict[str, FigureInterval]:
    """Return what follows from sums over payments: how alike both models decide and score."""
    teacher, student = held.teacher, held.student
    ranks = [relative_ranks(one.scores) - _MEAN_RANK for one in (teacher, student)]
    sums = CardDraws(held.payments.card, SUMS_PLAN).sums(
        np.ones(len(ranks[0])),
        teacher.decisions == student.decisions,
        np.abs(teacher.scores - student.scores),
        teacher.alerted,
        student.alerted,
        *ranks,
        ranks[0] * ranks[1],
        ranks[0] ** 2,
        ranks[1] ** 2,
    )
    rows, alike, difference, teacher_alerts, student_alerts = range(5)
    figures = {
        "volume_ratio": sums.figure(partial(_ratio, student_alerts, teacher_alerts), teacher_alerts),
        "agreement": sums.figure(partial(_ratio, alike, rows), rows),
        "rank_correlation": sums.figure(_rank_correlation, rows),
        "score_difference": sums.figure(partial(_ratio, difference, rows), rows),
    }
    return {name: _figure(figure, SUMS_PLAN) for name, figure in figures.items()}


def _ratio(numerator: int, denominator: int, sums: Floats) -> Floats:
    return ratios(sums[..., numerator], sums[..., denominator])


def _rank_correlation(sums: Floats) -> Floats:
    """Return Spearman's coefficient: Pearson's of the ranks, which stay those of all rows when cards are drawn."""
    rows, first, second, product, first_square, second_square = (sums[..., at] for at in (0, 5, 6, 7, 8, 9))
    spreads = (rows * first_square - first**2) * (rows * second_square - second**2)
    return ratios(rows * product - first * second, np.sqrt(np.maximum(spreads, 0.0)))


def relative_ranks(scores: Floats) -> Floats:
    """Return the rank of each score from above 0 to 1; equal ones have the mean of their ranks."""
    _, index, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: Floats = ((ends - (counts - 1) / 2) / max(len(scores), 1))[index]
    return ranks


def _money(held: HeldBack, terms: MoneyTerms) -> PairMoney:
    """Compare what decisions cost on the payments in one currency, of which there may be none."""
    rows = np.flatnonzero(np.array(held.currencies)[held.payments.currency] == terms.currency)
    one, both = CurrencyRows(terms.currency, rows, held.payments.where(rows)), (held.teacher, held.student)
    teacher, student = (MoneySums.of(one.priced(said), terms.costs) for said in both)
    lost = FigureInterval(None)
    if len(rows):
        figures = differences(money_figures(one, both, _NO_BUDGETS, terms.costs, SUMS_PLAN))
        lost = _figure(figures[f"savings.{terms.currency}"], SUMS_PLAN)
    return PairMoney(
        currency=terms.currency,
        rows=len(rows),
        fraud_minor=teacher.fraud_minor,
        teacher_loss_minor=teacher.loss_minor,
        student_loss_minor=student.loss_minor,
        teacher_savings=teacher.savings,
        student_savings=student.savings,
        savings_lost=lost,
    )


def _value(figure: DrawnFigure) -> float | None:
    return None if np.isnan(figure.value) else figure.value


def _figure(drawn: DrawnFigure, plan: BootstrapPlan) -> FigureInterval:
    found = drawn.figure(plan)
    if found.interval is None:
        return FigureInterval(found.value)
    return FigureInterval(found.value, found.interval.low, found.interval.high)


def compare_segments(held: HeldBack, history_ms: int, terms: MoneyTerms) -> tuple[SegmentComparison, ...]:
    """Compare both models on each segment that the file tells apart, as an evaluation cuts them.

    Args:
        held: n held-back payments.
        history_ms: how long before the first of them the file begins.
        terms: how money is compared.
    """
    slices = segment_slices(held.payments, held.currencies, history_ms)
    return tuple(_segment(held.where(one.rows), one, terms) for one in slices)


def _segment(chosen: HeldBack, segment: PaymentSlice, terms: MoneyTerms) -> SegmentComparison:
    swapped = chosen.where(chosen.teacher.decisions != chosen.student.decisions)
    return SegmentComparison(
        by=segment.kind,
        name=segment.name,
        swaps=len(swapped.payments.fraud),
        swapped_minor=_amounts(swapped).get(terms.currency, 0),
        figures=compare(chosen, terms),
    )


def pairs_of(held: HeldBack) -> tuple[DecisionPair, ...]:
    """Count the payments of each pair of decisions that occurs, the teacher's mildest first."""
    return tuple(
        _pair(_DECISIONS[teacher], _DECISIONS[student], held.where(rows))
        for teacher, student, rows in decision_pairs(held.teacher.decisions, held.student.decisions)
    )


def _pair(teacher: Decision, student: Decision, rows: HeldBack) -> DecisionPair:
    frauds = rows.where(rows.payments.fraud)
    return DecisionPair(
        teacher=teacher.value,
        student=student.value,
        events=len(rows.payments.fraud),
        cards=len(np.unique(rows.payments.card)),
        frauds=len(frauds.payments.fraud),
        amount_minor=_amounts(rows),
        fraud_minor=_amounts(frauds),
    )


def _amounts(held: HeldBack) -> dict[str, int]:
    return amounts_by_currency(held.payments.currency, held.payments.amount_minor, held.currencies)
