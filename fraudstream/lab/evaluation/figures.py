"""The figures of one model or of two on the same payments, each over the draws of their cards.

A figure has one name in every part of a report: docs/reference/evaluation.md defines each. Ranking and card precision
leave out cards that were known to be compromised, as in training; first-hit recall counts each card at its first fraud.
Everything else is over all payments.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from fraudstream.lab.evaluation.draws import CardDraws, DrawnFigure
from fraudstream.lab.evaluation.payments import EvaluatedPayments, days_of
from fraudstream.lab.evaluation.request import EvaluationTerms
from metrics.alerts import ScoredRows, alerts_at_budget, card_days
from metrics.bootstrap import BootstrapPlan
from metrics.calibration import constant_log_loss, log_losses
from metrics.card_precision import card_precision
from metrics.columns import Bools, Floats, Ints, ratios
from metrics.money import CostMatrix, DecisionCode, LossColumn, PricedRows, savings_of
from metrics.ranking import ranked_rows
from metrics.weighted_ranking import WeightedRanking

Figures = dict[str, DrawnFigure]
MOST_CARD_DAYS = 200_000
"""Card precision has an interval up to so many cards on days: each draw sorts them all."""
CARD_DRAWS = 200
_LOSS_COLUMNS = len(LossColumn)


class ScoredBy(NamedTuple):
    """What one model said of n payments: its probabilities, and its decisions as `DecisionCode`, of shape (n,)."""

    scores: Floats
    decisions: Ints

    @property
    def alerted(self) -> Bools:
        """Which payments are reviewed or declined."""
        alerted: Bools = self.decisions != DecisionCode.APPROVE
        return alerted

    def where(self, which: Bools | Ints) -> "ScoredBy":
        """Return what it said of some of them."""
        return ScoredBy(self.scores[which], self.decisions[which])


def ranking_figures(payments: EvaluatedPayments, scored: Sequence[ScoredBy], draws: CardDraws) -> list[Figures]:
    """Return `auc` and `average_precision` of each model."""
    kept = ranked_rows(payments.fraud, payments.blocked)
    rankings = [(WeightedRanking(payments.fraud[kept], one.scores[kept]), kept) for one in scored]
    names = ("auc", "average_precision")
    return [dict(zip(names, pair, strict=True)) for pair in draws.rankings(payments.fraud, rankings)]


def card_figures(payments: EvaluatedPayments, scored: Sequence[ScoredBy], terms: EvaluationTerms) -> list[Figures]:
    """Return `card_precision` of each model."""
    free = payments.where(~payments.blocked)
    days = days_of(free.occurred_ms)
    by_day = [card_days(ScoredRows(days, free.card, one.scores[~payments.blocked], free.fraud)) for one in scored]

    def statistic(rows: Ints, copies: Ints) -> list[float]:
        found = []
        for one in by_day:
            drawn = ScoredRows(one.days[rows], copies, one.scores[rows], one.fraud[rows])
            found.append(card_precision(drawn, terms.cards_a_day).mean)
        return [np.nan if value is None else value for value in found]

    cards = by_day[0].cards
    if not 0 < len(cards) <= MOST_CARD_DAYS:
        values = statistic(np.arange(len(cards)), cards)
        return [{"card_precision": DrawnFigure(value, np.empty(0), 0)} for value in values]
    found = CardDraws(cards, terms.plan).copies(statistic, CARD_DRAWS, by_day[0].fraud.astype(np.bool_))
    return [{"card_precision": one} for one in found]


def decision_figures(payments: EvaluatedPayments, scored: Sequence[ScoredBy], draws: CardDraws) -> list[Figures]:
    """Return what follows from sums over payments: alerts by the model's thresholds, and how probable outcomes were.

    `precision`, `recall`, `first_hit_recall`, `alert_share`, `log_loss`, `log_loss_below_constant`, `brier` and
    `expected_to_observed`.
    """
    fraud, first = payments.fraud, payments.first_fraud
    columns: list[Floats | Ints | Bools] = [np.ones(len(fraud)), fraud, first]
    for one in scored:
        columns += [one.alerted, one.alerted & fraud, one.alerted & first, one.scores, log_losses(fraud, one.scores)]
        columns.append((one.scores - fraud) ** 2)
    sums = draws.sums(*columns)
    found = []
    for place in range(len(scored)):
        alerts, caught, hits, expected, losses, squares = range(3 + 6 * place, 9 + 6 * place)
        found.append(
            {
                "precision": sums.figure(partial(_ratio, caught, alerts), alerts),
                "recall": sums.figure(partial(_ratio, caught, 1), 1),
                "first_hit_recall": sums.figure(partial(_ratio, hits, 2), 2),
                "alert_share": sums.figure(partial(_ratio, alerts, 0), alerts),
                "log_loss": sums.figure(partial(_ratio, losses, 0), 1),
                "log_loss_below_constant": sums.figure(partial(_below_constant, losses), 1),
                "brier": sums.figure(partial(_ratio, squares, 0), 1),
                "expected_to_observed": sums.figure(partial(_ratio, expected, 1), 1),
            }
        )
    return found


def fraud_share(payments: EvaluatedPayments, draws: CardDraws) -> DrawnFigure:
    """Return the share of payments that are fraud."""
    return draws.sums(np.ones(len(payments.fraud)), payments.fraud).figure(partial(_ratio, 1, 0), 1)


def _ratio(numerator: int, denominator: int, sums: Floats) -> Floats:
    return ratios(sums[..., numerator], sums[..., denominator])


def _below_constant(losses: int, sums: Floats) -> Floats:
    return constant_log_loss(ratios(sums[..., 1], sums[..., 0])) - ratios(sums[..., losses], sums[..., 0])


class BudgetAlerts(NamedTuple):
    """Which payments one model would alert at each budget, by budget; each of shape (n,)."""

    alerted: Mapping[int, Bools]

    @classmethod
    def of(cls, payments: EvaluatedPayments, scores: Floats, budgets: Sequence[int]) -> "BudgetAlerts":
        """Choose the highest scores of each UTC day."""
        days = days_of(payments.occurred_ms)
        return cls({budget: alerts_at_budget(days, scores, budget) for budget in budgets})


def budget_figures(payments: EvaluatedPayments, alerts: Sequence[BudgetAlerts], draws: CardDraws) -> list[Figures]:
    """Return `precision@k`, `recall@k` and `first_hit_recall@k` of each model, for each budget of k alerts a day.

    Which payments are alerts is as it was: a draw takes cards with the alerts that they had.
    """
    columns: list[Bools] = [payments.fraud, payments.first_fraud]
    names: list[tuple[int, int]] = []
    for place, one in enumerate(alerts):
        for budget, alerted in one.alerted.items():
            names.append((place, budget))
            columns += [alerted, alerted & payments.fraud, alerted & payments.first_fraud]
    sums = draws.sums(*columns)
    found: list[Figures] = [{} for _ in alerts]
    for at, (place, budget) in enumerate(names):
        chosen, caught, hits = range(2 + 3 * at, 5 + 3 * at)
        found[place][f"precision@{budget}"] = sums.figure(partial(_ratio, caught, chosen), chosen)
        found[place][f"recall@{budget}"] = sums.figure(partial(_ratio, caught, 0), 0)
        found[place][f"first_hit_recall@{budget}"] = sums.figure(partial(_ratio, hits, 1), 1)
    return found


class CurrencyRows(NamedTuple):
    """The payments of one currency: which they are among all, their outcomes and amounts, of shape (m,)."""

    currency: str
    rows: Ints
    payments: EvaluatedPayments

    @classmethod
    def each(cls, payments: EvaluatedPayments, currencies: Sequence[str]) -> "list[CurrencyRows]":
        """Return those of each currency, of most payments first."""
        counts = np.bincount(payments.currency, minlength=len(currencies))
        found = []
        for place in np.argsort(-counts, kind="stable").tolist():
            rows = np.flatnonzero(payments.currency == place)
            if len(rows):
                found.append(cls(currencies[place], rows, payments.where(rows)))
        return found

    def priced(self, one: ScoredBy) -> PricedRows:
        """Return them with what a model decided."""
        return PricedRows(one.decisions[self.rows], self.payments.fraud, self.payments.amount_minor)


def money_figures(
    one: CurrencyRows,
    scored: Sequence[ScoredBy],
    alerts: Sequence[BudgetAlerts],
    costs: CostMatrix,
    plan: BootstrapPlan,
) -> list[Figures]:
    """Return `savings`, `value_detection_rate` and `value_detection_rate@k` of each model, with the currency behind."""
    budgets = list(alerts[0].alerted)
    at_stake = np.where(one.payments.fraud, one.payments.amount_minor, 0)
    columns: list[Floats | Ints] = []
    for said, chosen in zip(scored, alerts, strict=True):
        columns += list(costs.table(one.priced(said)).T)
        columns += [np.where(alerted[one.rows], at_stake, 0) for alerted in chosen.alerted.values()]
    sums = CardDraws(one.payments.card, plan).sums(*columns)
    width, found = _LOSS_COLUMNS + len(budgets), list[Figures]()
    for place in range(len(scored)):
        begin = place * width
        fraud, stopped = begin + LossColumn.FRAUD, begin + LossColumn.STOPPED
        figures = {
            f"savings.{one.currency}": sums.figure(partial(_savings, begin), fraud),
            f"value_detection_rate.{one.currency}": sums.figure(partial(_ratio, stopped, fraud), fraud),
        }
        for at, budget in enumerate(budgets):
            measure = partial(_ratio, begin + _LOSS_COLUMNS + at, fraud)
            figures[f"value_detection_rate@{budget}.{one.currency}"] = sums.figure(measure, fraud)
        found.append(figures)
    return found


def _savings(begin: int, sums: Floats) -> Floats:
    return savings_of(sums[..., begin : begin + _LOSS_COLUMNS])


def differences(found: Sequence[Figures]) -> Figures:
    """Return the first model's figures less the second's; none where there is one model."""
    if len(found) == 1:
        return {}
    first, second = found
    return {name: one.less(second[name]) for name, one in first.items() if len(one.draws) == len(second[name].draws)}


def merged(*parts: Sequence[Figures]) -> list[Figures]:
    """Return the figures of several parts together, for each model."""
    return [{name: figure for part in models for name, figure in part.items()} for models in zip(*parts, strict=True)]
