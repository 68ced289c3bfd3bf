"""Compares a student with its teacher on labelled payments: agreement, ranking, alerts, money, and swapped decisions.

Sums by card carry every figure but average precision, so that one bootstrap over cards gives all of their intervals.
Average precision is that of the manifest and of `evaluate`: of cards not known compromised.
"""

from collections.abc import Callable
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.history.store import Ints
from fraudstream.lab.distillation.payments import FilePayments
from fraudstream.lab.distillation.report import DecisionPair, FigureInterval, PairMoney, TeacherStudentFigures
from metrics.bootstrap import BootstrapPlan, draw_sums, percentiles
from metrics.columns import Bools, exact_sum, ratios, sum_by_card
from metrics.intervals import Interval
from metrics.money import CostMatrix, DecisionCode, LossColumn, MoneySums, PricedRows, savings_of
from metrics.paired_ranking import paired_average_precision
from metrics.ranking import ranked_rows
from models.policy import Decision, Floats

SUMS_PLAN = BootstrapPlan(draws=1_000)
RANKING_PLAN = BootstrapPlan(draws=300)
"""Fewer draws, since each reads all rows."""
_DECISIONS = tuple(Decision)


class _Sum(IntEnum):
    """The columns that are summed up by card."""

    ROWS = 0
    ALIKE = 1
    DIFFERENCE = 2
    TEACHER_ALERTS = 3
    STUDENT_ALERTS = 4
    TEACHER_RANK = 5
    STUDENT_RANK = 6
    RANK_PRODUCT = 7
    TEACHER_RANK_SQUARE = 8
    STUDENT_RANK_SQUARE = 9
    TEACHER_LOSS = 10
    STUDENT_LOSS = 11
    REVIEW_ALL = 12
    DECLINE_ALL = 13
    FRAUD = 14


class HeldBackRows(NamedTuple):
    """n labelled payments: their cards, whether they are fraud, what they are, and both models' scores and decisions.

    `compromised` tells those of cards whose fraud was known by then, as of `training.evaluation.blocked`. Decisions are
    numbers as of `metrics.money.DecisionCode`.
    """

    cards: Ints
    fraud: NDArray[np.int8]
    compromised: Bools
    payments: FilePayments
    teacher_scores: Floats
    student_scores: Floats
    teacher_codes: Ints
    student_codes: Ints

    def of(self, rows: Ints) -> "HeldBackRows":
        """Return some of them."""
        return HeldBackRows(
            self.cards[rows],
            self.fraud[rows],
            self.compromised[rows],
            self.payments.of(rows),
            self.teacher_scores[rows],
            self.student_scores[rows],
            self.teacher_codes[rows],
            self.student_codes[rows],
        )


class MoneyTerms(NamedTuple):
    """The currency that is compared, and what decisions cost in it."""

    currency: str
    costs: CostMatrix


def compare(held: HeldBackRows, terms: MoneyTerms) -> TeacherStudentFigures:
    """Compare both models on at least one row."""
    money = held.of(np.flatnonzero(held.payments.currencies == terms.currency))
    sums = sum_by_card(held.cards, *_columns(held, terms)).sums
    estimate = _Estimator(sums)
    ranked = held.of(ranked_rows(held.fraud, held.compromised))
    precision = paired_average_precision(
        ranked.fraud, (ranked.teacher_scores, ranked.student_scores), ranked.cards, RANKING_PLAN
    )
    lost = None if precision is None else precision.difference
    return TeacherStudentFigures(
        rows=len(held.fraud),
        cards=len(sums),
        frauds=int(held.fraud.sum()),
        teacher_alerts=int((held.teacher_codes > 0).sum()),
        student_alerts=int((held.student_codes > 0).sum()),
        teacher_declines=int((held.teacher_codes == DecisionCode.DECLINE).sum()),
        student_declines=int((held.student_codes == DecisionCode.DECLINE).sum()),
        volume_ratio=estimate(_ratio(_Sum.STUDENT_ALERTS, _Sum.TEACHER_ALERTS), _Sum.TEACHER_ALERTS),
        agreement=estimate(_ratio(_Sum.ALIKE, _Sum.ROWS), _Sum.ROWS),
        rank_correlation=estimate(_rank_correlation, _Sum.ROWS),
        score_difference=estimate(_ratio(_Sum.DIFFERENCE, _Sum.ROWS), _Sum.ROWS),
        teacher_average_precision=None if precision is None else precision.first,
        student_average_precision=None if precision is None else precision.second,
        average_precision_lost=_figure(lost, None if precision is None else precision.difference_interval),
        money=_money(money, terms, estimate(_savings_lost, _Sum.FRAUD)),
    )


def _money(money: HeldBackRows, terms: MoneyTerms, lost: FigureInterval) -> PairMoney:
    teacher, student = (
        MoneySums.of(PricedRows(codes, money.fraud, money.payments.amounts_minor), terms.costs)
        for codes in (money.teacher_codes, money.student_codes)
    )
    return PairMoney(
        currency=terms.currency,
        rows=len(money.fraud),
        fraud_minor=teacher.fraud_minor,
        teacher_loss_minor=teacher.loss_minor,
        student_loss_minor=student.loss_minor,
        teacher_savings=teacher.savings,
        student_savings=student.savings,
        savings_lost=lost,
    )


def _columns(held: HeldBackRows, terms: MoneyTerms) -> list[NDArray[Any]]:
    """Return the columns of `_Sum`, each of shape (n,); those of money are 0 in other currencies."""
    mean_rank = 0.5
    first, second = (relative_ranks(one) - mean_rank for one in (held.teacher_scores, held.student_scores))
    counted = held.payments.currencies == terms.currency
    amounts = np.where(counted, held.payments.amounts_minor, 0)
    teacher, student = (
        terms.costs.table(PricedRows(codes, held.fraud, amounts)) * counted[:, np.newaxis]
        for codes in (held.teacher_codes, held.student_codes)
    )
    return [
        np.ones(len(held.fraud)),
        held.teacher_codes == held.student_codes,
        np.abs(held.teacher_scores - held.student_scores),
        held.teacher_codes > 0,
        held.student_codes > 0,
        first,
        second,
        first * second,
        first**2,
        second**2,
        teacher[:, LossColumn.LOSS],
        student[:, LossColumn.LOSS],
        teacher[:, LossColumn.REVIEW_ALL],
        teacher[:, LossColumn.DECLINE_ALL],
        teacher[:, LossColumn.FRAUD],
    ]


def relative_ranks(scores: Floats) -> Floats:
    """Return the rank of each score from above 0 to 1; equal ones have the mean of their ranks."""
    _, index, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: Floats = ((ends - (counts - 1) / 2) / max(len(scores), 1))[index]
    return ranks


class _Estimator:
    """Computes figures of sums by card, with intervals from one drawing of the cards."""

    def __init__(self, sums: Floats) -> None:
        self._sums = sums
        self._drawn = draw_sums(sums, SUMS_PLAN) if len(sums) >= SUMS_PLAN.least_cards else None

    def __call__(self, statistic: Callable[[Floats], Floats], basis: _Sum) -> FigureInterval:
        """Return a figure; without an interval where fewer than `least_cards` cards have the basis."""
        value = float(statistic(self._sums.sum(axis=0, keepdims=True))[0])
        enough = int((self._sums[:, basis] > 0).sum()) >= SUMS_PLAN.least_cards
        found = None
        if self._drawn is not None and enough:
            found = percentiles(statistic(self._drawn), SUMS_PLAN.confidence)
        return _figure(None if np.isnan(value) else value, found)


def _figure(value: float | None, interval: Interval | None) -> FigureInterval:
    if value is None or interval is None:
        return FigureInterval(value)
    return FigureInterval(value, interval.low, interval.high)


def _ratio(numerator: _Sum, denominator: _Sum) -> Callable[[Floats], Floats]:
    return lambda sums: ratios(sums[:, numerator], sums[:, denominator])


def _rank_correlation(sums: Floats) -> Floats:
    """Return Spearman's coefficient: Pearson's of the ranks, which stay those of all rows when cards are drawn."""
    rows, first, second = (sums[:, one] for one in (_Sum.ROWS, _Sum.TEACHER_RANK, _Sum.STUDENT_RANK))
    shared = rows * sums[:, _Sum.RANK_PRODUCT] - first * second
    spread_first = rows * sums[:, _Sum.TEACHER_RANK_SQUARE] - first**2
    spread_second = rows * sums[:, _Sum.STUDENT_RANK_SQUARE] - second**2
    return ratios(shared, np.sqrt(np.maximum(spread_first * spread_second, 0.0)))


def _savings_lost(sums: Floats) -> Floats:
    others = [_Sum.REVIEW_ALL, _Sum.DECLINE_ALL, _Sum.FRAUD]
    teacher, student = (savings_of(sums[:, [one, *others]]) for one in (_Sum.TEACHER_LOSS, _Sum.STUDENT_LOSS))
    lost: Floats = teacher - student
    return lost


def decision_pairs(held: HeldBackRows) -> tuple[DecisionPair, ...]:
    """Count the payments of each pair of decisions that occurs, the teacher's mildest first."""
    pairs = held.teacher_codes * len(_DECISIONS) + held.student_codes
    return tuple(_pair(int(pair), held.of(np.flatnonzero(pairs == pair))) for pair in np.unique(pairs))


def _pair(pair: int, rows: HeldBackRows) -> DecisionPair:
    teacher, student = divmod(pair, len(_DECISIONS))
    fraud = rows.of(np.flatnonzero(rows.fraud == 1))
    return DecisionPair(
        teacher=_DECISIONS[teacher].value,
        student=_DECISIONS[student].value,
        events=len(rows.fraud),
        cards=len(np.unique(rows.cards)),
        frauds=len(fraud.fraud),
        amount_minor=amounts_by_currency(rows.payments),
        fraud_minor=amounts_by_currency(fraud.payments),
    )


def amounts_by_currency(payments: FilePayments) -> dict[str, int]:
    """Sum up amounts in minor units, by currency."""
    return {
        code: exact_sum(payments.amounts_minor[payments.currencies == code])
        for code in sorted(set(payments.currencies.tolist()))
    }
