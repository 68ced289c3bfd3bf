"""The empirical Bernstein sequence against the theorem, written out as a loop, and by its laws."""

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics.bernstein import BernsteinPlan, BernsteinState
from metrics.errors import MeasureInputError
from metrics.intervals import Side

VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=60).map(np.array)


def by_the_theorem(values: list[float], alpha: float) -> list[tuple[float, float]]:
    """Follow Waudby-Smith and Ramdas, theorem 2 and equation 15, with c = 1/2, step by step."""
    seen: list[float] = []
    means, variance = [0.5], 0.25
    deviations = weights = weighted = penalty = 0.0
    intervals = []
    for t, x in enumerate(values, 1):
        bet = min(math.sqrt(2 * math.log(2 / alpha) / (variance * t * math.log(t + 1))), 0.5)
        v, psi = 4 * (x - means[-1]) ** 2, (-math.log(1 - bet) - bet) / 4
        weights, weighted, penalty = weights + bet, weighted + bet * x, penalty + v * psi
        centre, radius = weighted / weights, (math.log(2 / alpha) + penalty) / weights
        intervals.append((centre - radius, centre + radius))
        seen.append(x)
        means.append((0.5 + sum(seen)) / (t + 1))
        deviations += (x - means[-1]) ** 2
        variance = (0.25 + deviations) / (t + 1)
    return intervals


@given(VALUES, st.sampled_from([0.01, 0.1]))
def test_each_interval_is_the_intersection_of_those_of_the_theorem(values: Any, alpha: float) -> None:
    _, lows, highs = BernsteinPlan(alpha).track(BernsteinState(), values)
    low, high = 0.0, 1.0
    for at, (below, above) in enumerate(by_the_theorem(values.tolist(), alpha)):
        low, high = max(low, below), min(high, above)
        assert (lows[at], highs[at]) == pytest.approx((low, high))


@given(VALUES, st.integers(0, 60))
def test_the_bits_do_not_depend_on_how_observations_are_cut_into_calls(values: Any, cut: int) -> None:
    plan = BernsteinPlan(0.05)
    parts = plan.observe(plan.observe(plan.start(), values[:cut]), values[cut:])
    assert parts == plan.observe(plan.start(), values)
    assert BernsteinState(*json.loads(json.dumps(parts))) == parts


@given(VALUES)
def test_another_unit_scales_the_interval_and_a_mirror_mirrors_it(values: Any) -> None:
    plan, scaled = BernsteinPlan(0.05), BernsteinPlan(0.05, -300.0, 500.0)
    found = plan.interval(plan.observe(plan.start(), values))
    other = scaled.interval(scaled.observe(scaled.start(), values * 800 - 300))
    mirrored = plan.interval(plan.observe(plan.start(), 1 - values))
    if found is None:
        assert other is None
    else:
        assert other == pytest.approx((found.low * 800 - 300, found.high * 800 - 300), abs=1e-6)
        assert mirrored == pytest.approx(found.mirrored(1.0))


def test_one_side_has_all_of_alpha_and_leaves_the_other_at_the_range() -> None:
    values = np.random.default_rng(1).random(2_000)
    both, lower, upper = (BernsteinPlan(0.05, side=side) for side in Side)
    found = [plan.interval(plan.observe(plan.start(), values)) for plan in (both, lower, upper)]
    assert all(found)
    (low, high), (lower_low, lower_high), (upper_low, upper_high) = found  # type: ignore[misc]
    assert low < lower_low < 0.5 < upper_high < high
    assert (lower_high, upper_low) == (1.0, 0.0)


def test_intervals_shrink_with_more_data_and_with_a_smaller_variance() -> None:
    random = np.random.default_rng(2)
    plan = BernsteinPlan(0.05)
    widths = []
    for spread in (1.0, 0.2):
        _, lows, highs = plan.track(plan.start(), 0.5 + spread * (random.random(20_000) - 0.5))
        assert (np.diff(highs - lows) <= 0).all()
        widths.append(highs[-1] - lows[-1])
    assert widths[1] < 0.5 * widths[0] < 0.02


@pytest.mark.parametrize("draw", [lambda r, n: r.random(n) < 0.1, lambda r, n: r.beta(0.5, 5, n)])
def test_the_mean_is_ever_missed_at_most_as_often_as_alpha(draw: Any) -> None:
    """Of 600 runs 60 may miss at alpha 0.1; 3 standard deviations are 22."""
    plan = BernsteinPlan(0.1)
    truth = draw(np.random.default_rng(10**6), 10**6).mean()
    missed = 0
    for seed in range(600):
        _, lows, highs = plan.track(plan.start(), draw(np.random.default_rng(seed), 2_000).astype(float))
        missed += not lows[-1] <= truth <= highs[-1]
    assert missed <= 60 + 22


def test_a_mean_that_changes_leaves_no_interval() -> None:
    plan = BernsteinPlan(0.05)
    assert plan.interval(plan.observe(plan.start(), np.repeat([0.0, 1.0], 5_000))) is None


def test_no_observation_changes_nothing_and_a_wrong_one_is_refused() -> None:
    plan = BernsteinPlan(0.05)
    assert plan.observe(plan.start(), np.empty(0)) == plan.start()
    with pytest.raises(MeasureInputError, match=r"values: 1 of 1 values are not in \[0, 1\], such as 1.5"):
        plan.observe(plan.start(), np.array([1.5]))
    with pytest.raises(MeasureInputError, match="range: 1 is not below 1"):
        BernsteinPlan(0.05, 1.0, 1.0)
