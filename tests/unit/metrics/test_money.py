"""Losses against a recount payment by payment in exact fractions, and what is summed from them."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics.columns import exact_sum
from metrics.errors import MeasureInputError
from metrics.money import (
    MOST_MINOR,
    CostMatrix,
    DecisionCode,
    LossColumn,
    MoneySums,
    PricedRows,
    amounts_by_currency,
    decision_pairs,
    savings_of,
)

MINOR = st.integers(0, MOST_MINOR)
SHARES = st.integers(0, 10_000)
MATRICES = st.builds(CostMatrix, MINOR, SHARES, MINOR, SHARES)
ROWS = st.lists(st.tuples(st.sampled_from(DecisionCode), st.booleans(), MINOR), max_size=30)
EUR = CostMatrix(review_fixed_minor=300, review_share_bp=0, decline_fixed_minor=200, decline_share_bp=500)


def priced(rows: list[tuple[DecisionCode, bool, int]]) -> PricedRows:
    decisions, fraud, amounts = (
        np.array([row[at] for row in rows], kind) for at, kind in ((0, int), (1, bool), (2, int))
    )
    return PricedRows(decisions, fraud, amounts)


def to_minor(amount: Fraction) -> int:
    """Round to the nearest integer, halves up."""
    return int((amount + Fraction(1, 2)) // 1)


def loss(row: tuple[DecisionCode, bool, int], costs: CostMatrix) -> int:
    decision, fraud, amount = row
    if decision is DecisionCode.REVIEW:
        return costs.review_fixed_minor + to_minor(Fraction(amount * costs.review_share_bp, 10_000))
    if decision is DecisionCode.DECLINE:
        wrong = costs.decline_fixed_minor + to_minor(Fraction(amount * costs.decline_share_bp, 10_000))
        return 0 if fraud else wrong
    return amount if fraud else 0


@given(ROWS, MATRICES)
def test_losses_and_their_sums_equal_a_recount_to_the_minor_unit(rows: Any, costs: CostMatrix) -> None:
    losses = [loss(row, costs) for row in rows]
    assert costs.losses(priced(rows)).tolist() == losses
    found = MoneySums.of(priced(rows), costs)
    policies = {one: sum(loss((one, fraud, amount), costs) for _, fraud, amount in rows) for one in DecisionCode}
    alerted = [amount for decision, fraud, amount in rows if fraud and decision is not DecisionCode.APPROVE]
    assert found.loss_minor == sum(losses)
    assert found.fraud_minor == policies[DecisionCode.APPROVE]
    assert found.review_all_minor == policies[DecisionCode.REVIEW]
    assert found.decline_all_minor == policies[DecisionCode.DECLINE]
    assert found.stopped_minor == sum(alerted)
    assert found.lost_minor == found.fraud_minor - sum(alerted)
    cheapest = min(policies.values())
    assert found.savings == (pytest.approx(1 - sum(losses) / cheapest) if cheapest else None)
    whole = found.fraud_minor
    assert found.value_detection_rate == (pytest.approx(sum(alerted) / whole) if whole else None)


@given(ROWS, ROWS, MATRICES)
def test_sums_of_parts_merge_to_those_of_the_whole(one: Any, other: Any, costs: CostMatrix) -> None:
    both = MoneySums.of(priced(one), costs).merge(MoneySums.of(priced(other), costs))
    assert both == MoneySums.of(priced(one + other), costs)
    assert both.merge(MoneySums.zero()) == both


@given(ROWS, MATRICES)
def test_savings_of_sums_for_a_bootstrap_are_those_of_the_exact_sums(rows: Any, costs: CostMatrix) -> None:
    sums = costs.table(priced(rows)).astype(float).sum(axis=0)
    (found,) = savings_of(sums[np.newaxis])
    expected = MoneySums.of(priced(rows), costs).savings
    assert np.isnan(found) if expected is None else found == pytest.approx(expected)
    assert sums[LossColumn.STOPPED] <= sums[LossColumn.FRAUD]


def test_savings_are_one_for_a_perfect_model_and_zero_for_the_cheapest_trivial_policy() -> None:
    rows = [(DecisionCode.DECLINE, True, 50_000), (DecisionCode.APPROVE, False, 4_000)]
    perfect = MoneySums.of(priced(rows), EUR)
    assert perfect.savings == 1.0
    assert perfect.trivial_loss_minor == 200 + 200  # decline both: one is genuine, 2.00 and 5 % of 40.00
    declined = MoneySums.of(priced([(DecisionCode.DECLINE, fraud, amount) for _, fraud, amount in rows]), EUR)
    assert declined.savings == 0.0
    approved = MoneySums.of(priced([(DecisionCode.APPROVE, fraud, amount) for _, fraud, amount in rows]), EUR)
    assert approved.savings == 1 - 50_000 / 400


@pytest.mark.parametrize(("amount", "minor"), [(10, 1), (9, 0), (49, 2), (50, 3), (30, 2)])
def test_a_share_is_rounded_to_the_nearest_minor_unit_halves_up(amount: int, minor: int) -> None:
    assert CostMatrix(0, 500, 0, 0).review(np.array([amount])).tolist() == [minor]


def test_sums_are_exact_where_64_bits_overflow() -> None:
    most = np.full(4, 2**62)
    assert exact_sum(most) == 2**64
    assert exact_sum(-most) == -(2**64)


@given(st.lists(st.tuples(st.sampled_from(DecisionCode), st.sampled_from(DecisionCode)), max_size=30))
def test_pairs_of_decisions_are_those_that_occur_each_with_its_payments(
    said: list[tuple[DecisionCode, DecisionCode]],
) -> None:
    first, second = (np.array([pair[at] for pair in said], np.int8) for at in range(2))
    found = {(one, other): chosen.tolist() for one, other, chosen in decision_pairs(first, second)}
    assert found == {pair: [other == pair for other in said] for pair in said}
    assert list(found) == sorted(found)


def test_amounts_are_summed_exactly_by_the_name_of_the_currency() -> None:
    currency, amounts = np.array([2, 0, 2, 2], np.int16), np.array([2**62, 5, 2**62, 2**62])
    assert list(amounts_by_currency(currency, amounts, ["USD", "JPY", "EUR"]).items()) == [
        ("EUR", 3 * 2**62),
        ("USD", 5),
    ]


def test_an_invalid_cost_matrix_is_refused_with_all_problems() -> None:
    with pytest.raises(
        MeasureInputError, match=r"review_fixed_minor -1 .*; decline_share_bp 10001 is not from 0 to 10000"
    ):
        CostMatrix(-1, 0, 0, 10_001)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (PricedRows(np.array([3]), np.array([True]), np.array([1])), r"decisions: each must be 0 \(approve\)"),
        (PricedRows(np.array([0]), np.array([True]), np.array([-1])), "amounts_minor: each must be from 0"),
        (PricedRows(np.array([0]), np.array([True]), np.array([MOST_MINOR + 1])), "amounts_minor: each must be from 0"),
        (PricedRows(np.array([0]), np.array([True]), np.array([1, 2])), "differ in length: decisions 1"),
    ],
)
def test_rows_that_cannot_be_priced_are_refused(rows: PricedRows, message: str) -> None:
    with pytest.raises(MeasureInputError, match=message):
        EUR.losses(rows)
