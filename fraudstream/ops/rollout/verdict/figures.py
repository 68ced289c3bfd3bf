"""How good both models were on payments whose outcome is known: alerts and money, each with an interval by card.

The intervals are of one look, by bootstrap; whoever looks again and again goes by the confidence sequence of `losses`.
"""

from collections.abc import Callable
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from fraudstream.ops.rollout.outcomes.columns import PaymentRows
from fraudstream.ops.rollout.outcomes.labels import LabelRows
from fraudstream.ops.rollout.outcomes.maturity import DAY_MS
from fraudstream.ops.rollout.verdict.pairs import Pairs
from fraudstream.ops.rollout.verdict.terms import VerdictTerms
from metrics.alerts import AlertCounts, ScoredRows, card_days
from metrics.bootstrap import (
    BootstrapPlan,
    draw_sums,
    percentiles,
    rows_interval,
    share_difference_interval,
    share_interval,
)
from metrics.card_precision import KnownFrauds, card_precision, known_compromised
from metrics.columns import Bools, Floats, Ints, ratios, sum_by_card
from metrics.intervals import Interval
from metrics.money import DecisionCode, LossColumn, MoneySums, PricedRows, savings_of

MOST_CARD_DAYS = 200_000
"""Card precision has an interval up to so many cards on days: each draw sorts them all."""
_CARD_DRAWS = 200


class Figure(msgspec.Struct, frozen=True):
    """A figure with its interval of 95 %; None where it is undefined, or the interval cannot be known."""

    value: float | None
    interval: Interval | None = None


class ModelFigures(msgspec.Struct, frozen=True):
    """What one model said of payments whose outcome is known; money in minor units.

    `first_hit_recall` is the share of cards with a fraud on whose first one the model alerts: a later alert comes when
    the card may be known to be compromised.
    """

    alerts: int
    reviews: int
    declines: int
    frauds_caught: int
    precision: Figure
    recall: Figure
    card_precision: Figure
    savings: Figure
    value_detection_rate: Figure
    loss_minor: int
    fraud_lost_minor: int
    fraud_stopped_minor: int
    first_hit_recall: Figure = Figure(None)


class MaturedFacts(msgspec.Struct, frozen=True):
    """Both models on the payments of one currency whose outcome is known, and how much better the challenger is."""

    payments: int
    cards: int
    frauds: int
    fraud_minor: int
    live: ModelFigures
    challenger: ModelFigures
    differences: dict[str, Figure]


class _SideSums(NamedTuple):
    """Where the sums of one model stand among the columns of a draw."""

    caught: int
    alerts: int
    money: slice
    caught_first: int


_FRAUDS, _CARDS_HIT = 0, 1
_LIVE, _CHALLENGER = _SideSums(2, 3, slice(4, 9), 9), _SideSums(10, 11, slice(12, 17), 17)
Measure = Callable[[Floats, _SideSums], Floats]


def _precision(sums: Floats, side: _SideSums) -> Floats:
    return ratios(sums[..., side.caught], sums[..., side.alerts])


def _recall(sums: Floats, side: _SideSums) -> Floats:
    return ratios(sums[..., side.caught], sums[..., _FRAUDS])


def _first_hit_recall(sums: Floats, side: _SideSums) -> Floats:
    return ratios(sums[..., side.caught_first], sums[..., _CARDS_HIT])


def _savings(sums: Floats, side: _SideSums) -> Floats:
    return savings_of(sums[..., side.money])


def _detection(sums: Floats, side: _SideSums) -> Floats:
    money = sums[..., side.money]
    return ratios(money[..., LossColumn.STOPPED], money[..., LossColumn.FRAUD])


_MEASURES: dict[str, Measure] = {
    "precision": _precision,
    "recall": _recall,
    "first_hit_recall": _first_hit_recall,
    "savings": _savings,
    "value_detection_rate": _detection,
}


_OF_MONEY = (_savings, _detection)


def matured_facts(pairs: Pairs, fraud: Bools, labels: LabelRows, terms: VerdictTerms) -> MaturedFacts:
    """Compute the figures of both models.

    Args:
        pairs: payments of one currency whose outcome is known.
        fraud: which of them are fraud.
        labels: the labels of all payments, to tell since when cards are known to be compromised.
        terms: costs and budget.
    """
    rows, plan = pairs.rows, BootstrapPlan(draws=terms.draws)
    first = _first_of_cards(rows, fraud)
    columns = [fraud.astype(np.int64), first.astype(np.int64)]
    for decisions in (pairs.live, pairs.challenger):
        alerted = decisions != DecisionCode.APPROVE
        table = terms.costs.table(PricedRows(decisions, fraud, rows["amount_minor"]))
        columns += [
            *(one.astype(np.int64) for one in (fraud & alerted, alerted)),
            *table.T,
            (first & alerted).astype(np.int64),
        ]
    sums = sum_by_card(rows["card"], *columns).sums
    draws = _Draws(sums, draw_sums(sums, plan), plan)
    live_scored, challenger_scored = (
        _scored_days(pairs, scores, fraud, labels) for scores in (pairs.live_scores, pairs.challenger_scores)
    )
    return MaturedFacts(
        payments=len(rows),
        cards=len(sums),
        frauds=int(fraud.sum()),
        fraud_minor=int(sums[:, _LIVE.money][:, LossColumn.FRAUD].sum()),
        live=_model(PricedRows(pairs.live, fraud, rows["amount_minor"]), (draws, _LIVE), live_scored, terms),
        challenger=_model(
            PricedRows(pairs.challenger, fraud, rows["amount_minor"]), (draws, _CHALLENGER), challenger_scored, terms
        ),
        differences={name: draws.difference(measure) for name, measure in _MEASURES.items()},
    )


def _first_of_cards(rows: PaymentRows, fraud: Bools) -> Bools:
    """Tell which payments are the first known fraud of their card."""
    at = np.flatnonzero(fraud)
    ordered = at[np.lexsort((rows["payment"][at], rows["occurred_ms"][at]))]
    _, places = np.unique(rows["card"][ordered], return_index=True)
    first = np.zeros(len(rows), np.bool_)
    first[ordered[places]] = True
    return first


class _Draws(NamedTuple):
    """Sums by card, those of the draws, and how they were drawn."""

    by_card: Floats
    drawn: Floats
    plan: BootstrapPlan

    def figure(self, measure: Measure, side: _SideSums) -> Figure:
        """Return one model's figure."""
        total = self.by_card.sum(axis=0)
        value = _or_none(measure(total, side))
        found = self._interval(measure(self.drawn, side), (side.alerts if measure is _precision else _FRAUDS,))
        if found is not None and value is not None and 0 <= value <= 1 and measure in _OF_MONEY:
            found = found.hull(share_interval(value, self._fraud_money(), self.plan.confidence))
        return Figure(value, found)

    def difference(self, measure: Measure) -> Figure:
        """Return the challenger's figure less live's, by the same draws."""
        total = self.by_card.sum(axis=0)
        basis = (_LIVE.alerts, _CHALLENGER.alerts) if measure is _precision else (_FRAUDS,)
        value = _or_none(measure(total, _CHALLENGER) - measure(total, _LIVE))
        found = self._interval(measure(self.drawn, _CHALLENGER) - measure(self.drawn, _LIVE), basis)
        if found is not None and value is not None and measure in _OF_MONEY:
            weights = self._fraud_money()
            swapped = np.abs(
                self.by_card[:, _CHALLENGER.money][:, LossColumn.STOPPED]
                - self.by_card[:, _LIVE.money][:, LossColumn.STOPPED]
            )
            differs = float(swapped.sum() / weights.sum())
            found = found.hull(share_difference_interval(value, differs, weights, self.plan.confidence))
        return Figure(value, found)

    def _fraud_money(self) -> Floats:
        fraud: Floats = self.by_card[:, _LIVE.money][:, LossColumn.FRAUD]
        return fraud

    def _interval(self, figures: Floats, basis: tuple[int, ...]) -> Interval | None:
        fewest = min(int((self.by_card[:, column] > 0).sum()) for column in basis)
        return None if fewest < self.plan.least_cards else percentiles(figures, self.plan.confidence)


def _or_none(value: Floats) -> float | None:
    return None if np.isnan(value) else float(value)


def _model(rows: PricedRows, draws: tuple[_Draws, _SideSums], scored: ScoredRows, terms: VerdictTerms) -> ModelFigures:
    counts = AlertCounts.of(rows.fraud, rows.decisions != DecisionCode.APPROVE)
    money, (drawn, side) = MoneySums.of(rows, terms.costs), draws
    figures = {name: drawn.figure(measure, side) for name, measure in _MEASURES.items()}
    return ModelFigures(
        alerts=counts.alerts,
        reviews=int((rows.decisions == DecisionCode.REVIEW).sum()),
        declines=int((rows.decisions == DecisionCode.DECLINE).sum()),
        frauds_caught=counts.caught,
        card_precision=_card_precision(scored, terms.cards_a_day),
        loss_minor=money.loss_minor,
        fraud_lost_minor=money.lost_minor,
        fraud_stopped_minor=money.stopped_minor,
        **figures,
    )


def _scored_days(pairs: Pairs, scores: Floats, fraud: Bools, labels: LabelRows) -> ScoredRows:
    """Return the highest score of each card and day, where there are scores and the card is not known to be bad."""
    rows, known = pairs.rows, labels[labels["fraud"] == 1]
    compromised = known_compromised(rows["card"], rows["occurred_ms"], KnownFrauds(known["card"], known["labelled_ms"]))
    kept = ~np.isnan(pairs.live_scores) & ~np.isnan(pairs.challenger_scores) & ~compromised
    days: Ints = rows["occurred_ms"][kept] // DAY_MS
    return card_days(ScoredRows(days, rows["card"][kept], scores[kept], fraud[kept]))


def _card_precision(scored: ScoredRows, budget: int) -> Figure:
    value = card_precision(scored, budget).mean
    if len(scored.cards) > MOST_CARD_DAYS:
        return Figure(value)

    def statistic(drawn: Ints, copies: NDArray[np.int64]) -> float | None:
        rows = ScoredRows(scored.days[drawn], copies, scored.scores[drawn], scored.fraud[drawn])
        return card_precision(rows, budget).mean

    return Figure(value, rows_interval(scored.cards, statistic, BootstrapPlan(draws=_CARD_DRAWS)))
