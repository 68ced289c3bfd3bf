"""The beta-binomial sequence against published figures and brute force, and by its laws under the truth."""

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import betaln

from metrics.errors import MeasureInputError
from metrics.proportions import (
    HitCounts,
    ProportionPlan,
    ProportionState,
    difference_interval,
    log_capital,
    proportion_bounds,
    proportion_interval,
)

COUNTS = st.integers(0, 400).flatmap(lambda trials: st.tuples(st.just(trials), st.integers(0, trials)))


def scipy_capital(trials: Any, hits: Any, proportion: float) -> Any:
    mixture = betaln(0.5 + hits, 0.5 + trials - hits) - betaln(0.5, 0.5)
    return mixture - hits * np.log(proportion) - (trials - hits) * np.log1p(-proportion)


# --- oracles


def published_capital(total: float, intrinsic_time: float = 100.0) -> float:
    """Howard et al.'s beta-binomial mixture for values of -0.2 and 0.8, optimised for a time of 100 and alpha 0.05."""
    g, h, bound = 0.2, 0.8, 2 * math.log(20)
    r = 100 / (bound + math.log(1 + bound)) - g * h
    trials = intrinsic_time / (g * h)
    hits = (intrinsic_time + h * total) / (h * (g + h))
    return log_capital((trials, hits), g / (g + h), (r / (h * (g + h)), r / (g * (g + h))))


def test_the_capital_equals_the_published_figure() -> None:
    assert published_capital(10) == pytest.approx(-0.6941012, abs=1e-5)


def test_the_capital_reaches_log_20_where_the_published_bound_is() -> None:
    low, high = 10.0, 100.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if published_capital(middle) < math.log(20) else (low, middle)
    assert low == pytest.approx(31.4308, abs=1e-4)


@given(COUNTS, st.floats(0.001, 0.999))
def test_the_capital_equals_that_of_scipys_beta_function(counts: tuple[int, int], proportion: float) -> None:
    assert log_capital(counts, proportion) == pytest.approx(scipy_capital(*counts, proportion), abs=1e-8)


@given(COUNTS, st.floats(0.01, 0.99))
def test_one_more_observation_leaves_the_mean_of_the_capital_where_it_was(
    counts: tuple[int, int], proportion: float
) -> None:
    (trials, hits), before = counts, log_capital(counts, proportion)
    grown = [math.exp(log_capital((trials + 1, hits + hit), proportion) - before) for hit in (0, 1)]
    assert (1 - proportion) * grown[0] + proportion * grown[1] == pytest.approx(1)


# --- intervals


@given(COUNTS, st.sampled_from([0.01, 0.05, 0.2]))
def test_an_interval_has_exactly_the_proportions_below_the_bound(counts: tuple[int, int], alpha: float) -> None:
    low, high = proportion_interval(HitCounts(*counts), alpha)
    for proportion in np.linspace(0.0005, 0.9995, 500):
        if abs(proportion - low) > 1e-9 and abs(proportion - high) > 1e-9:
            assert (low < proportion < high) == (scipy_capital(*counts, proportion) < -math.log(alpha))


@given(COUNTS)
def test_the_interval_of_misses_is_that_of_hits_mirrored(counts: tuple[int, int]) -> None:
    trials, hits = counts
    found = proportion_interval(HitCounts(trials, hits), 0.05)
    assert proportion_interval(HitCounts(trials, trials - hits), 0.05).mirrored(1.0) == pytest.approx(found)


def test_an_interval_is_narrower_with_more_data_and_wider_with_a_smaller_alpha() -> None:
    trials = np.array([0, 10, 100, 1_000, 100_000])
    low, high = proportion_bounds(trials, trials // 10, 0.05)
    assert (np.diff(high - low) < 0).all()
    assert (low[0], high[0]) == (0.0, 1.0)
    wider = proportion_bounds(trials[1:], trials[1:] // 10, 0.01)
    assert (wider[0] < low[1:]).all()
    assert (wider[1] > high[1:]).all()


def test_looks_are_intersected_and_the_state_is_plain_numbers() -> None:
    plan = ProportionPlan(0.05)
    state = plan.observe(plan.observe(plan.start(), 100, 20), 100, 0)
    first, second = proportion_interval(HitCounts(100, 20), 0.05), proportion_interval(HitCounts(200, 20), 0.05)
    assert plan.interval(state) == first.intersect(second)
    assert ProportionState(*json.loads(json.dumps(state))) == state


def test_a_proportion_that_changes_leaves_no_interval() -> None:
    plan = ProportionPlan(0.05)
    assert plan.interval(plan.observe(plan.observe(plan.start(), 1_000, 900), 9_000, 100)) is None


@pytest.mark.parametrize("proportion", [0.5, 0.05, 0.003])
def test_the_truth_is_ever_missed_at_most_as_often_as_alpha(proportion: float) -> None:
    """Look after each of 5,000 observations in 600 runs; 30 misses and 3 standard deviations of 5.3 are allowed."""
    trials = np.arange(1, 5_001)
    missed = 0
    for seed in range(600):
        hits = (np.random.default_rng(seed).random(len(trials)) < proportion).cumsum()
        missed += bool(scipy_capital(trials, hits, proportion).max() >= math.log(20))
    assert missed <= 30 + 16


# --- differences


@given(COUNTS, COUNTS)
def test_a_difference_is_between_those_of_the_pairs_below_the_bound(
    one: tuple[int, int], other: tuple[int, int]
) -> None:
    grid = np.linspace(0.001, 0.999, 500)
    capitals = scipy_capital(*one, grid)[:, None] + scipy_capital(*other, grid)
    differences = (grid[:, None] - grid[None])[capitals < math.log(20)]
    low, high = difference_interval(HitCounts(*one), HitCounts(*other), 0.05)
    assert -1 <= low <= differences.min() + 1e-9
    assert differences.max() - 1e-9 <= high <= 1
    assert low > differences.min() - 0.02 or low < -0.97
    assert high < differences.max() + 0.02 or high > 0.97


def test_a_difference_is_narrower_than_one_from_two_intervals_with_half_of_alpha() -> None:
    one, other = HitCounts(10_000, 1_000), HitCounts(10_000, 1_200)
    low, high = difference_interval(one, other, 0.05)
    ours, theirs = (proportion_interval(counts, 0.025) for counts in (one, other))
    assert high - low < 0.9 * ((ours.high - theirs.low) - (ours.low - theirs.high))
    assert difference_interval(other, one, 0.05) == pytest.approx((-high, -low))


def test_equal_proportions_ever_differ_at_most_as_often_as_alpha() -> None:
    missed = 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        hits = [(random.random(600) < 0.1).cumsum()[149::150] for _ in range(2)]
        found = (
            difference_interval(HitCounts(trials, int(a)), HitCounts(trials, int(b)), 0.1)
            for trials, a, b in zip(range(150, 601, 150), *hits, strict=True)
        )
        missed += any(one.low > 0 or one.high < 0 for one in found)
    assert missed <= 200 * 0.1


def test_what_promises_nothing_is_refused() -> None:
    with pytest.raises(MeasureInputError, match="alpha: 1 is not above 0 and below 1"):
        ProportionPlan(1.0)
    with pytest.raises(MeasureInputError, match="3 hits of 2 trials"):
        ProportionPlan(0.05).observe(ProportionState(), 2, 3)
