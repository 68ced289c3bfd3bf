"""Decisions by costs, against a recount with fractions and against thresholds for each amount."""

from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fraudstream_client.outputs import Decision
from metrics.money import CostMatrix, DecisionCode, PricedRows
from models.cost_policy import CostPolicy
from models.policy import Payments, Policy

EURO = CostMatrix(300, 0, 200, 500)
COSTS = CostPolicy({"EUR": EURO, "JPY": CostMatrix(500, 10, 0, 1_000)})
OTHERWISE = Policy(0.3, 0.6)
ORDER = list(Decision)


def payments(amounts: Any, currencies: Any) -> Payments:
    count = len(amounts)
    return Payments(["c"] * count, ["m"] * count, [None] * count, np.array(amounts, np.int64), currencies)


def cheapest(score: float, amount: int, costs: CostMatrix) -> set[Decision]:
    """Return all cheapest decisions of the two-state lottery, in exact arithmetic but for shares of the amount."""
    p = Fraction(score)
    cost_of = {}
    for decision in Decision:
        rows = PricedRows(np.array([ORDER.index(decision)] * 2), np.array([True, False]), np.array([amount] * 2))
        fraud, genuine = costs.losses(rows).tolist()
        cost_of[decision] = p * fraud + (1 - p) * genuine
    least = min(cost_of.values())
    slack = least * Fraction(1, 10**12) + Fraction(1, 10**6)
    return {decision for decision, cost in cost_of.items() if cost <= least + slack}


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 10**12), st.sampled_from(["EUR", "JPY"])), min_size=1))
def test_each_decision_is_the_cheapest_of_the_lottery_of_fraud_and_genuine(rows: Any) -> None:
    scores, amounts, currencies = map(list, zip(*rows, strict=True))
    found = COSTS.decide(np.array(scores), payments(amounts, currencies), OTHERWISE)
    for decision, score, amount, currency in zip(found, scores, amounts, currencies, strict=True):
        assert decision in cheapest(score, amount, COSTS.costs[currency])


@given(
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 10**12), st.sampled_from(["EUR", "JPY", "USD", ""])), min_size=1)
)
def test_a_payment_is_decided_alike_alone_and_in_any_batch(rows: Any) -> None:
    scores, amounts, currencies = map(list, zip(*rows, strict=True))
    together = COSTS.decide(np.array(scores), payments(amounts, currencies), OTHERWISE)
    alone = [
        COSTS.decide(np.array([score]), payments([amount], [currency]), OTHERWISE)[0]
        for score, amount, currency in rows
    ]
    assert together == alone


@given(st.floats(0, 1), st.integers(0, 10**12))
def test_what_has_no_costs_is_decided_by_the_thresholds(score: float, amount: int) -> None:
    (expected,) = OTHERWISE.decide(np.array([score]))
    assert COSTS.decide(np.array([score]), payments([amount], ["USD"]), OTHERWISE) == [expected]
    assert COSTS.decide(np.array([score]), payments([0], ["EUR"]), OTHERWISE) == [expected]


def test_of_equally_cheap_decisions_the_mildest_is_taken() -> None:
    free = CostPolicy({"EUR": CostMatrix(0, 0, 0, 0)})
    assert free.decide(np.array([0.0, 1.0]), payments([100, 100], ["EUR", "EUR"]), OTHERWISE) == ["approve", "review"]
    assert DecisionCode.APPROVE < DecisionCode.REVIEW


@given(st.integers(1, 10**12), st.floats(0, 1), st.floats(0, 1))
def test_a_higher_score_is_never_decided_more_mildly(amount: int, one: float, other: float) -> None:
    low, high = COSTS.decide(np.sort([one, other]), payments([amount] * 2, ["EUR"] * 2), OTHERWISE)
    assert ORDER.index(low) <= ORDER.index(high)
