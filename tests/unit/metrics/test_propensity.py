"""Inverse-propensity estimates against a simulator that knows every outcome, beside what is naively computed."""

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics.bootstrap import BootstrapPlan
from metrics.errors import MeasureInputError
from metrics.propensity import LotRows, coverage, estimated_total, known_ratio, normalised_ratio

PLAN = BootstrapPlan(draws=200, least_cards=20)
N = 6_000


class Decided(NamedTuple):
    """Payments with the outcome that nobody sees for a declined one that was not let through."""

    fraud: np.ndarray
    alerted: np.ndarray
    declined: np.ndarray
    amounts: np.ndarray
    rows: LotRows


def decided(seed: int) -> Decided:
    """Draw 6,000 payments: 10 % are declined, more of the frauds; large ones are let through less often."""
    random = np.random.default_rng(10**6)  # the payments are the same in each run, only the lots differ
    card = random.integers(0, 2_000, N)
    amounts = random.integers(100, 20_000, N)
    fraud = random.random(N) < np.where(amounts > 10_000, 0.12, 0.02)
    declined = random.random(N) < np.where(fraud, 0.6, 0.05)
    alerted = declined | (random.random(N) < 0.02)
    propensities = np.where(declined, np.where(amounts > 10_000, 0.05, 0.3), 1.0)
    seen = np.random.default_rng(seed).random(N) < propensities
    return Decided(fraud, alerted, declined, amounts, LotRows(card, propensities, seen))


def of_declined(world: Decided) -> tuple[np.ndarray, np.ndarray, LotRows]:
    at = world.declined
    return world.fraud[at], world.amounts[at], LotRows(*(column[at] for column in world.rows))


RUNS = 200


def spread(figures: list[float]) -> float:
    return 4 * float(np.std(figures)) / len(figures) ** 0.5


def test_totals_and_ratios_with_known_denominators_are_unbiased_and_the_naive_precision_is_not() -> None:
    world = decided(0)
    truth_precision = world.fraud[world.declined].mean()
    truth_money = float((world.fraud * world.amounts)[world.declined].sum())
    totals, precisions, naive = [], [], []
    for seed in range(RUNS):
        fraud, amounts, rows = of_declined(decided(seed))
        totals.append(estimated_total(fraud * amounts, rows))
        precisions.append(known_ratio(fraud, np.ones(len(fraud)), rows, BootstrapPlan(draws=1)).value or 0.0)
        naive.append(float(fraud[rows.seen].mean()))
    assert np.mean(totals) == pytest.approx(truth_money, abs=spread(totals))
    assert np.mean(precisions) == pytest.approx(truth_precision, abs=spread(precisions))
    assert abs(np.mean(naive) - truth_precision) > 5 * spread(naive)


def test_recall_by_normalised_weights_meets_the_truth_and_the_naive_ones_do_not() -> None:
    world = decided(0)
    truth = world.alerted[world.fraud].mean()
    found, seen_only, as_genuine = [], [], []
    for seed in range(RUNS):
        one = decided(seed)
        estimate = normalised_ratio(one.fraud & one.alerted, one.fraud, one.rows, BootstrapPlan(draws=1))
        found.append(estimate.value or 0.0)
        seen_only.append(float(one.alerted[one.fraud & one.rows.seen].mean()))
        frauds_counted = one.fraud & (one.rows.seen | ~one.declined)  # an unseen declined payment passes for genuine
        as_genuine.append(float((frauds_counted & one.alerted).sum() / frauds_counted.sum()))
    assert np.mean(found) == pytest.approx(truth, abs=0.01)
    assert abs(np.mean(seen_only) - truth) > 0.1
    assert abs(np.mean(as_genuine) - truth) > 0.1


def test_intervals_by_card_hold_nearly_as_often_as_stated() -> None:
    world = decided(0)
    truth = world.fraud[world.declined].mean()
    held = 0
    for seed in range(60):
        fraud, _, rows = of_declined(decided(seed))
        found = normalised_ratio(fraud, np.ones(len(fraud)), rows, PLAN).interval
        assert found is not None
        held += found.low <= truth <= found.high
    assert held >= 50


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([0.1, 0.5, 1.0]), st.booleans()), max_size=30))
def test_a_payment_that_was_seen_stands_for_as_many_as_its_weight(flags: list[tuple[bool, float, bool]]) -> None:
    fraud, propensities, seen = (
        np.array([row[at] for row in flags], kind) for at, kind in enumerate((bool, float, bool))
    )
    rows = LotRows(np.arange(len(flags)), propensities, seen)
    expected = sum(1 / p for is_fraud, p, was_seen in flags if was_seen and is_fraud)
    weight = sum(1 / p for _, p, was_seen in flags if was_seen)
    assert estimated_total(fraud, rows) == pytest.approx(expected)
    assert normalised_ratio(fraud, np.ones(len(flags)), rows).value == (
        pytest.approx(expected / weight) if weight else None
    )
    assert known_ratio(fraud, np.ones(len(flags)), rows).value == (
        pytest.approx(expected / len(flags)) if flags else None
    )


def test_too_few_lots_have_a_figure_and_no_interval() -> None:
    fraud, _, rows = of_declined(decided(0))
    few = rows._replace(seen=rows.seen & (np.cumsum(rows.seen) <= 19))
    found = normalised_ratio(fraud, np.ones(len(fraud)), few, PLAN)
    assert found.value is not None
    assert found.interval is None


def test_coverage_says_of_how_much_the_estimate_speaks() -> None:
    found = coverage(np.array([0.1, 0.0, 0.5, 0.0]), np.array([100, 300, 50, 50]))
    assert (found.covered, found.events, found.share, found.money_share) == (2, 4, 0.5, 0.3)
    assert coverage(np.empty(0), np.empty(0, np.int64)).share is None
    assert coverage(np.empty(0), np.empty(0, np.int64)).money_share is None


def test_payments_without_a_propensity_are_in_no_estimate() -> None:
    rows = LotRows(np.arange(3), np.array([0.5, 0.0, 0.5]), np.array([True, False, False]))
    assert known_ratio(np.ones(3), np.ones(3), rows).value == 1.0
    assert estimated_total(np.ones(3), rows) == 2.0


def test_a_seen_payment_without_a_propensity_is_refused() -> None:
    rows = LotRows(np.arange(1), np.zeros(1), np.ones(1, np.bool_))
    with pytest.raises(MeasureInputError, match="a payment with a propensity of 0 was seen"):
        estimated_total(np.ones(1), rows)
    with pytest.raises(MeasureInputError, match="propensities: 1 of 1 values"):
        coverage(np.array([1.5]), np.ones(1, np.int64))
