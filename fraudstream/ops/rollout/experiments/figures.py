"""The figures of one arm: what it decided, how much of it is known, and what that was worth."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fraudstream.ops.rollout.experiments.terms import ExperimentTerms
from fraudstream.ops.rollout.outcomes.columns import PaymentRows
from fraudstream.ops.rollout.outcomes.declines import DeclineFigures, decline_figures
from fraudstream.ops.rollout.outcomes.maturity import DAY_MS, Outcomes, outcomes_of
from fraudstream_client.arms import WHOLE_BP
from guards.shares import ArmShare
from metrics.alerts import AlertCounts, ScoredRows
from metrics.bootstrap import BootstrapPlan, ratio_interval, share_interval, sums_interval
from metrics.card_precision import card_precision
from metrics.columns import Bools, Floats, exact_sum, sum_by_card
from metrics.intervals import Interval
from metrics.money import CostMatrix, DecisionCode, LossColumn, MoneySums, PricedRows, savings_of

_FREE = CostMatrix(0, 0, 0, 0)
"""Of currencies in which arms are not compared: what was lost and stopped needs no costs."""


class DecisionMix(NamedTuple):
    """How many payments were approved, reviewed and declined."""

    approved: int
    reviewed: int
    declined: int

    @classmethod
    def of(cls, decisions: NDArray[Any]) -> "DecisionMix":
        """Count decisions, each a `DecisionCode`."""
        return cls(*np.bincount(decisions, minlength=len(DecisionCode)).tolist())

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self)

    @property
    def alert_rate(self) -> float | None:
        """The share that was reviewed or declined; None without payments."""
        return (self.reviewed + self.declined) / self.total if self.total else None

    @property
    def decline_rate(self) -> float | None:
        """The share that was declined; None without payments."""
        return self.declined / self.total if self.total else None


class LabelCoverage(NamedTuple):
    """How much of an arm's payments is known.

    Attributes:
        labelled: payments with a label.
        used: payments of which figures are computed: labelled, or old enough, and none for its label alone.
        young: payments that are neither used nor declined without a label.
        unobserved: declined payments without a label: nobody knows what they were.
        unobserved_minor: their amounts, by the index of the currency.
    """

    labelled: int
    used: int
    young: int
    unobserved: int
    unobserved_minor: dict[int, int]


class BoundedFigure(NamedTuple):
    """A figure of known payments, its interval by card for one look, and its bounds.

    `bounds` are its values if all declined payments whose outcome nobody knows were genuine, and if all were fraud.
    """

    value: float | None
    interval: Interval | None
    bounds: Interval | None = None


class ArmMoney(NamedTuple):
    """What an arm's known payments of one currency lost and stopped.

    Attributes:
        said: by what its model said.
        decided: by what was decided, after the cap on declines and the lots: what was really lost and stopped.
        savings: of what the model said, with its interval; None of a currency without costs.
        loss_per_card_minor: the loss by what the model said, of each card of the arm with a known payment.
        value_detection_rate: the share of fraud money with an alert of the model, with its interval.
    """

    said: MoneySums
    decided: MoneySums
    savings: BoundedFigure | None
    loss_per_card_minor: float | None
    value_detection_rate: BoundedFigure


class ArmFigures(NamedTuple):
    """What an arm's payments say; alerts and frauds are counted over all currencies, before limits.

    Attributes:
        name, share_bp: the arm.
        cards: that paid.
        said, decided: decisions, before and after the cap on declines and the lots.
        stood_in: payments that another model or the rules decided.
        coverage: how much of it is known.
        alerts: of the known payments.
        precision, recall: of the alerts.
        card_precision: the mean over days of the cards found among those with the highest scores, of the arm's share
            of the alerts a day; None without a day.
        card_budget: that share.
        declines: what lots say of declined payments.
        money: by the index of the currency.
    """

    name: str
    share_bp: int
    cards: int
    said: DecisionMix
    decided: DecisionMix
    stood_in: int
    coverage: LabelCoverage
    alerts: AlertCounts
    precision: BoundedFigure
    recall: BoundedFigure
    card_precision: float | None
    card_budget: int
    declines: DeclineFigures
    money: dict[int, ArmMoney]


def arm_figures(
    rows: PaymentRows, arms: Sequence[ArmShare], terms: ExperimentTerms, plan: BootstrapPlan | None = None
) -> tuple[ArmFigures, ...]:
    """Return the figures of each arm, in the order of `arms`; `arm` of the rows is the place among them."""
    outcomes, found = outcomes_of(rows, terms.maturity), list[ArmFigures]()
    for place, arm in enumerate(arms):
        own = rows["arm"] == place
        found.append(_figures((rows[own], Outcomes(*(column[own] for column in outcomes))), arm, terms, plan))
    return tuple(found)


def _figures(
    known: tuple[PaymentRows, Outcomes], arm: ArmShare, terms: ExperimentTerms, plan: BootstrapPlan | None
) -> ArmFigures:
    """Return the figures of one arm's payments; they are settled up to the same time as those of other arms."""
    rows, outcomes = known
    used, unseen = rows[outcomes.used], rows[outcomes.unobserved & outcomes.settled]
    fraud, alerted = outcomes.fraud[outcomes.used], used["said"] > DecisionCode.APPROVE
    alerts, budget = AlertCounts.of(fraud, alerted), max(round(terms.alerts_a_day * arm.share_bp / WHOLE_BP), 1)
    unseen_alerts = int((unseen["said"] > DecisionCode.APPROVE).sum())
    caught = fraud & alerted
    return ArmFigures(
        arm.name,
        arm.share_bp,
        len(np.unique(rows["card"])),
        DecisionMix.of(rows["said"]),
        DecisionMix.of(rows["decided"]),
        int(rows["stood_in"].sum()),
        _coverage(rows, outcomes),
        alerts,
        BoundedFigure(
            alerts.precision,
            ratio_interval(used["card"], caught, alerted, plan),
            precision_bounds(alerts, unseen_alerts),
        ),
        BoundedFigure(
            alerts.recall, ratio_interval(used["card"], caught, fraud, plan), recall_bounds(alerts, unseen_alerts)
        ),
        _card_precision(used, fraud, budget),
        budget,
        decline_figures(rows[rows["occurred_ms"] <= terms.maturity.old_ms], terms.currency, plan),
        {code: _money(used, fraud, code, terms, plan) for code in np.unique(rows["currency"]).tolist()},
    )


def _coverage(rows: PaymentRows, outcomes: Outcomes) -> LabelCoverage:
    unseen = rows[outcomes.unobserved]
    by_currency = {
        code: exact_sum(unseen["amount_minor"][unseen["currency"] == code])
        for code in np.unique(unseen["currency"]).tolist()
    }
    used = int(outcomes.used.sum())
    young = len(rows) - used - len(unseen)
    return LabelCoverage(int((rows["fraud"] >= 0).sum()), used, young, len(unseen), by_currency)


def precision_bounds(alerts: AlertCounts, unseen: int) -> Interval | None:
    """Return the precision if unseen alerts are all genuine, and if all are fraud; None without alerts."""
    total = alerts.alerts + unseen
    return Interval(alerts.caught / total, (alerts.caught + unseen) / total) if total else None


def recall_bounds(alerts: AlertCounts, unseen: int) -> Interval | None:
    """Return the recall if unseen alerts are all genuine, and if all are fraud; None where one is undefined."""
    if not alerts.frauds:
        return None
    return Interval(alerts.caught / alerts.frauds, (alerts.caught + unseen) / (alerts.frauds + unseen))


def _card_precision(used: PaymentRows, fraud: Bools, budget: int) -> float | None:
    scored = ~np.isnan(used["score"])
    rows = used[scored]
    days = rows["occurred_ms"] // DAY_MS
    return card_precision(ScoredRows(days, rows["card"], rows["score"], fraud[scored]), budget).mean


def _money(
    used: PaymentRows, fraud: Bools, currency: int, terms: ExperimentTerms, plan: BootstrapPlan | None
) -> ArmMoney:
    chosen = used["currency"] == currency
    rows, is_fraud, is_compared = used[chosen], fraud[chosen], currency == terms.currency
    costs = terms.costs if is_compared else _FREE
    said = PricedRows(rows["said"], is_fraud, rows["amount_minor"])
    table = costs.table(said)
    sums, by_card = MoneySums.of(said, costs), sum_by_card(rows["card"], *table.T).sums
    savings = BoundedFigure(sums.savings, _savings_interval(sums.savings, by_card, plan))
    stopped, at_stake = table[:, LossColumn.STOPPED], table[:, LossColumn.FRAUD]
    return ArmMoney(
        sums,
        MoneySums.of(PricedRows(rows["decided"], is_fraud, rows["amount_minor"]), costs),
        savings if is_compared else None,
        sums.loss_minor / len(by_card) if is_compared and len(by_card) else None,
        BoundedFigure(sums.value_detection_rate, ratio_interval(rows["card"], stopped, at_stake, plan, of_money=True)),
    )


def _savings_interval(savings: float | None, by_card: Floats, plan: BootstrapPlan | None) -> Interval | None:
    """Return the interval of savings, no narrower than that of a share of as much fraud money."""
    found, chosen = sums_interval(by_card, savings_of, plan, basis=LossColumn.LOSS), plan or BootstrapPlan()
    if found is None or savings is None or not 0 <= savings <= 1:
        return found
    return found.hull(share_interval(savings, by_card[:, LossColumn.FRAUD], chosen.confidence))
