"""Figures by arm, counted again from the payments in plain Python, to the cent."""

from typing import Any

import pytest
from sklearn.metrics import precision_score, recall_score

from fraudstream.ops.rollout.experiments.figures import ArmFigures, arm_figures
from fraudstream.ops.rollout.experiments.ratio import sample_ratio
from fraudstream.ops.rollout.outcomes.declines import decline_figures, lot_rows
from metrics.bootstrap import BootstrapPlan
from support.experiment_cases import (
    ARMS,
    DECISIONS,
    ArmPayment,
    drawn_payments,
    loss,
    rows_of,
    settled_before_ms,
    terms,
)
from support.outcome_cases import Payment, at_ms

AS_OF_DAY = 70.0
PLAN = BootstrapPlan(draws=50, least_cards=5)
OLD_MS = at_ms(AS_OF_DAY) - 20 * 86_400_000


@pytest.fixture(scope="module", params=range(2))
def case(request: pytest.FixtureRequest) -> tuple[list[ArmPayment], dict[str, ArmFigures]]:
    """Return payments, and the figures of each arm."""
    payments = drawn_payments(request.param, cards=200)
    found = arm_figures(rows_of(payments), ARMS, terms(AS_OF_DAY), PLAN)
    return payments, {one.name: one for one in found}


def own(payments: list[ArmPayment], arm: str) -> list[Payment]:
    return [one.paid for one in payments if one.arm == arm]


def used(payments: list[ArmPayment], arm: str, currency: int | None = None) -> list[Payment]:
    """Return the payments of an arm of which figures are computed."""
    end = settled_before_ms(payments, AS_OF_DAY)
    return [
        one.paid
        for one in payments
        if one.arm == arm
        and currency in (None, one.currency)
        and at_ms(one.paid.day) < end
        and (one.paid.fraud is not None or (at_ms(one.paid.day) <= OLD_MS and one.paid.decided != "decline"))
    ]


def test_decisions_and_coverage_are_counted_by_arm(case: Any) -> None:
    payments, figures = case
    for name, found in figures.items():
        paid = own(payments, name)
        assert found.cards == len({one.card for one in paid})
        assert found.said == tuple(sum(one.said == each for one in paid) for each in DECISIONS)
        assert found.decided == tuple(sum(one.decided == each for one in paid) for each in DECISIONS)
        assert found.stood_in == sum(one.score is None for one in paid)
        assert found.coverage.labelled == sum(one.fraud is not None for one in paid)
        assert found.coverage.used == len(used(payments, name))
        unseen = [one for one in payments if one.arm == name and one.paid.fraud is None]
        unseen = [one for one in unseen if one.paid.decided == "decline"]
        assert found.coverage.unobserved == len(unseen)
        assert found.coverage.unobserved_minor[0] == sum(one.paid.amount_minor for one in unseen if not one.currency)
        assert found.coverage.used + found.coverage.young + found.coverage.unobserved >= len(paid)


def test_precision_and_recall_are_those_of_scikit_learn(case: Any) -> None:
    payments, figures = case
    for name, found in figures.items():
        paid = used(payments, name)
        fraud, alerts = [bool(one.fraud) for one in paid], [one.said != "approve" for one in paid]
        assert found.precision.value == pytest.approx(precision_score(fraud, alerts))
        assert found.recall.value == pytest.approx(recall_score(fraud, alerts))


def test_bounds_take_unseen_declines_for_genuine_and_for_fraud(case: Any) -> None:
    payments, figures = case
    end = settled_before_ms(payments, AS_OF_DAY)
    for name, found in figures.items():
        unseen = [one for one in own(payments, name) if one.fraud is None and one.decided == "decline"]
        unseen = [one for one in unseen if at_ms(one.day) < end]
        for number, value in enumerate((False, True)):
            paid = [*used(payments, name), *(one._replace(fraud=value) for one in unseen)]
            fraud, alerts = [bool(one.fraud) for one in paid], [one.said != "approve" for one in paid]
            assert found.precision.bounds is not None
            assert found.recall.bounds is not None
            assert found.precision.bounds[number] == pytest.approx(precision_score(fraud, alerts))
            assert found.recall.bounds[number] == pytest.approx(recall_score(fraud, alerts))


def test_money_is_that_of_a_recount_to_the_cent_by_what_was_said_and_by_what_was_decided(case: Any) -> None:
    payments, figures = case
    for name, found in figures.items():
        for currency in (0, 1):
            paid, money = used(payments, name, currency), found.money[currency]
            frauds = [one for one in paid if one.fraud]
            assert money.said.fraud_minor == sum(one.amount_minor for one in frauds)
            for sums, field in ((money.said, "said"), (money.decided, "decided")):
                lost = sum(one.amount_minor for one in frauds if getattr(one, field) == "approve")
                assert (sums.lost_minor, sums.stopped_minor) == (lost, sums.fraud_minor - lost)
        paid, money = used(payments, name, 0), found.money[0]
        expected = sum(loss(one.said, fraud=bool(one.fraud), amount_minor=one.amount_minor) for one in paid)
        assert money.said.loss_minor == expected
        trivial = [
            sum(loss(each, fraud=bool(one.fraud), amount_minor=one.amount_minor) for one in paid) for each in DECISIONS
        ]
        assert money.savings is not None
        assert money.savings.value == pytest.approx(1 - expected / min(trivial))
        assert money.loss_per_card_minor == pytest.approx(expected / len({one.card for one in paid}))
        assert found.money[1].savings is None, "arms are compared in one currency"


def test_lots_speak_for_the_declines_that_they_were_drawn_for(case: Any) -> None:
    payments, figures = case
    for name, found in figures.items():
        old = [one for one in own(payments, name) if at_ms(one.day) <= OLD_MS]
        declined = [one for one in old if one.said == "decline"]
        covered = [one for one in declined if one.propensity is not None or one.decided != "decline"]
        frauds = 0.0
        for one in covered:
            passed = one.decided == "approve" if one.propensity is not None else True
            frauds += bool(one.fraud) * passed / (one.propensity or 1.0)
        assert (found.declines.coverage.covered, found.declines.coverage.events) == (len(covered), len(declined))
        assert found.declines.precision.value == pytest.approx(frauds / len(covered))


def test_a_lot_decides_whether_an_outcome_is_seen_also_where_the_cap_held() -> None:
    cases = [
        Payment("a", 0.0, "decline", "approve", propensity=0.25),
        Payment("b", 0.0, "decline", "decline", propensity=0.25),
        Payment("c", 0.0, "decline", "review", propensity=0.25),
        Payment("d", 0.0, "decline", "review"),
        Payment("e", 0.0, "decline", "decline"),
        Payment("f", 0.0, "review", "review"),
    ]
    lots = lot_rows(rows_of([ArmPayment("new", one) for one in cases])).checked()
    assert lots.propensities.tolist() == [0.25, 0.25, 0.25, 1.0, 0.0, 1.0]
    assert lots.seen.tolist() == [True, False, False, True, False, True]


def test_figures_of_nothing_are_undefined_and_never_0() -> None:
    (found, *_) = arm_figures(rows_of([]), ARMS, terms(AS_OF_DAY), PLAN)
    assert (found.cards, found.precision.value, found.recall.bounds, found.card_precision) == (0, None, None, None)
    assert (found.said.alert_rate, found.said.decline_rate, found.money) == (None, None, {})
    assert decline_figures(rows_of([]), 0).precision.value is None


def test_each_arm_has_its_share_of_the_cards_that_are_investigated_a_day() -> None:
    found = arm_figures(rows_of(drawn_payments(1)), ARMS, terms(AS_OF_DAY, alerts_a_day=10), PLAN)
    assert [one.card_budget for one in found] == [3, 2, 5]


def test_a_division_that_the_shares_do_not_make_is_noticed() -> None:
    fair = [ArmPayment(arm.name, Payment(f"{arm.name}-{at}", 0.0)) for arm in ARMS for at in range(arm.share_bp // 10)]
    found = sample_ratio(rows_of(fair), ARMS, 0.01)
    assert found.cards == {"new": 300, "other": 200, "live": 500} == found.expected
    assert not found.breached
    assert sample_ratio(rows_of(fair[:700]), ARMS, 0.01).breached
    assert not sample_ratio(rows_of([]), ARMS, 0.01).breached
