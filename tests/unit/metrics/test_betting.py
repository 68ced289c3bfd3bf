"""Betting sequences against the theorem, written out as a loop for one hypothesis, and by their laws."""

import json
import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics.bernstein import BernsteinPlan
from metrics.betting import BettingPlan, BettingState
from metrics.errors import MeasureInputError
from metrics.hypotheses import Bounds
from metrics.intervals import Side

VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=80).map(np.array)
HYPOTHESES = st.floats(0.01, 0.99)


def log_capitals(rows: list[tuple[float, float]], hypothesis: float, plan: BettingPlan) -> tuple[float, float]:
    """Bet against one hypothesis, row by row, with one bet for each block and no tiles, products or matrices."""
    low, high = plan.bounds.fall(np.array([hypothesis])), plan.bounds.rise(np.array([hypothesis]))
    rising = falling = 0.0
    block_end, bet = 0, 0.0
    for at, (numerator, denominator) in enumerate(rows):
        if at == block_end:
            before = rows[:at]
            middle, most = sum(plan.bounds.numerators) / 2, plan.bounds.denominators[1]
            centre = (sum(n for n, _ in before) + middle) / (sum(d for _, d in before) + most)
            squares = sum((n - centre * d) ** 2 for n, d in before)
            variance = (plan.bounds.scale**2 / 4 + squares) / (at + 1)
            bet = math.sqrt(2 * plan.log_bound / (variance * (at + 1) * math.log(at + 2)))
            block_end = at + max(1, at // 16)
        y = numerator - hypothesis * denominator
        rising += math.log(1 + min(bet, 0.5 / low[0], 1 / plan.bounds.scale) * y)
        falling += math.log(1 - min(bet, 0.5 / high[0], 1 / plan.bounds.scale) * y)
    return rising, falling


def around(plan: BettingPlan, hypothesis: float) -> BettingPlan:
    """Return a plan with two cells, which meet at a hypothesis: there the bets are the theorem's."""
    return BettingPlan(plan.alpha, plan.bounds, (plan.cells[0], hypothesis, plan.cells[-1]), plan.side)


def ends(plan: BettingPlan, values: Any, denominators: Any = None) -> tuple[float, float]:
    found = plan.interval(plan.observe(plan.start(), values, denominators))
    assert found is not None
    return found


@given(VALUES, HYPOTHESES)
def test_the_capitals_against_a_mean_are_those_of_the_theorem(values: Any, hypothesis: float) -> None:
    plan = around(BettingPlan.of_mean(0.05), hypothesis)
    state = plan.observe(plan.start(), values)
    expected = log_capitals([(value, 1.0) for value in values.tolist()], hypothesis, plan)
    assert (state.rising[2], state.falling[1]) == pytest.approx(expected, abs=1e-9)


@given(VALUES, VALUES, HYPOTHESES)
def test_the_capitals_against_a_share_are_those_of_the_theorem(one: Any, other: Any, hypothesis: float) -> None:
    length = min(len(one), len(other))
    wholes = 3 * one[:length]
    parts = wholes * other[:length]
    plan = around(BettingPlan.of_share(0.05, 3.0), hypothesis)
    state = plan.observe(plan.start(), parts, wholes)
    expected = log_capitals(list(zip(parts.tolist(), wholes.tolist(), strict=True)), hypothesis, plan)
    assert (state.rising[2], state.falling[1]) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("hypothesis", [0.02, 0.2, 0.7])
def test_bets_that_are_not_truncated_are_those_of_the_theorem(hypothesis: float) -> None:
    """With the largest variance the bets are soon smaller than any truncation, and follow it."""
    values = (np.random.default_rng(7).random(300) < 0.5).astype(float)
    plan = around(BettingPlan.of_mean(0.05), hypothesis)
    state = plan.observe(plan.start(), values)
    expected = log_capitals([(value, 1.0) for value in values.tolist()], hypothesis, plan)
    assert state.bet < 0.2
    assert (state.rising[2], state.falling[1]) == pytest.approx(expected, abs=1e-9)


def test_the_ends_of_the_interval_are_where_the_theorems_capitals_reach_the_bound_but_for_narrow_cells() -> None:
    random = np.random.default_rng(1)
    for values in ((random.random(3_000) < 0.1).astype(float), random.beta(1, 20, 3_000)):
        plan = BettingPlan.of_mean(0.05)
        low, high = ends(plan, values)
        rows = [(value, 1.0) for value in values.tolist()]
        assert max(log_capitals(rows[:end], low * 0.95, plan)[0] for end in range(2_000, 3_001, 50)) > plan.log_bound
        assert max(log_capitals(rows[:end], high * 1.05, plan)[1] for end in range(2_000, 3_001, 50)) > plan.log_bound
        assert low < values.mean() < high


@given(VALUES, st.integers(0, 80))
def test_the_state_does_not_depend_on_how_observations_are_cut_into_calls(values: Any, cut: int) -> None:
    plan = BettingPlan.of_mean(0.05)
    parts = plan.observe(plan.observe(plan.start(), values[:cut]), values[cut:])
    whole = plan.observe(plan.start(), values)
    assert (parts.observed, parts.block_end) == (whole.observed, whole.block_end)
    assert parts.rising + parts.falling == pytest.approx(whole.rising + whole.falling, abs=1e-9)
    assert (parts.low, parts.high) == pytest.approx((whole.low, whole.high))


def test_order_within_a_block_does_not_matter() -> None:
    random = np.random.default_rng(2)
    values = random.random(400)
    plan = BettingPlan.of_mean(0.05)
    first = plan.observe(plan.start(), values[:360])
    rest = values[360 : first.block_end]
    assert len(rest) > 10
    one, other = plan.observe(first, rest), plan.observe(first, random.permutation(rest))
    assert one.rising == pytest.approx(other.rising)


def test_a_state_is_plain_numbers_and_small() -> None:
    for plan in (BettingPlan.of_mean(0.05, -1.0, 1.0), BettingPlan.of_ratio(0.05, (1.0, 1.0))):
        state = plan.observe(plan.start(), np.full(10, 0.5), None if plan.bounds.denominators[0] else np.ones(10))
        text = msgspec.json.encode(state)
        assert json.loads(text)[0] == 10
        assert msgspec.json.decode(text, type=BettingState) == state
        assert len(text) < 20_000


@given(VALUES)
def test_a_mirror_mirrors_the_interval(values: Any) -> None:
    plan = BettingPlan.of_mean(0.05, -1.0, 1.0)
    low, high = ends(plan, values)
    assert ends(plan, -values) == pytest.approx((-high, -low))


@given(VALUES)
def test_another_unit_scales_the_interval(values: Any) -> None:
    plan, minor = BettingPlan.of_mean(0.05), BettingPlan.of_mean(0.05, 0.0, 25_000.0)
    low, high = ends(plan, values)
    assert ends(minor, values * 25_000) == pytest.approx((low * 25_000, high * 25_000))


@given(VALUES)
def test_a_mean_is_a_share_of_wholes_of_one(values: Any) -> None:
    plan, share = BettingPlan.of_mean(0.05), BettingPlan.of_share(0.05, 1.0)
    assert ends(share, values, np.ones(len(values))) == pytest.approx(ends(plan, values))


def test_one_side_has_all_of_alpha_and_leaves_the_other_at_the_bounds() -> None:
    values = np.random.default_rng(3).random(1_000)
    (low, high), (lower_low, lower_high), (upper_low, upper_high) = (
        ends(BettingPlan.of_mean(0.05, side=side), values) for side in Side
    )
    assert low < lower_low < 0.5 < upper_high < high
    assert (lower_high, upper_low) == (1.0, 0.0)
    bounds = [BettingPlan.of_mean(0.05, side=side).log_bound for side in Side]
    assert bounds == pytest.approx([math.log(40), math.log(20), math.log(20)])


def test_intervals_shrink_with_more_data_and_are_not_wider_than_empirical_bernsteins() -> None:
    values = (np.random.default_rng(4).random(20_000) < 0.02).astype(float)
    plan, other = BettingPlan.of_mean(0.05), BernsteinPlan(0.05)
    state, last = plan.start(), math.inf
    for block in np.split(values, 20):
        state = plan.observe(state, block)
        found = plan.interval(state)
        assert found is not None
        assert found.high - found.low <= last
        last = found.high - found.low
    bernstein = other.interval(other.observe(other.start(), values))
    assert bernstein is not None
    assert last < bernstein.high - bernstein.low


@pytest.mark.parametrize(
    ("bounds", "truth", "draw"),
    [
        (Bounds.of_mean(0, 1), 0.1, lambda r, n: [(r.random(n) < 0.1).astype(float)]),
        (Bounds.of_mean(-1, 1), 0.0, lambda r, n: [np.where(r.random(n) < 0.2, r.uniform(-1, 1, n), 0.0)]),
        (Bounds.of_share(4), 0.3, lambda r, n: [r.binomial(d := r.integers(0, 5, n), 0.3).astype(float), d * 1.0]),
        (Bounds.of_ratio(1, 1), 0.4, lambda r, n: [(d := r.random(n)) * (r.random(n) < 0.4), d]),
    ],
    ids=["events", "differences", "shares", "ratios"],
)
def test_the_truth_is_ever_missed_at_most_as_often_as_alpha(bounds: Bounds, truth: float, draw: Any) -> None:
    """Of 200 runs 40 may miss at alpha 0.2; 3 standard deviations are 17."""
    plan = BettingPlan(0.2, bounds, (bounds.least, truth, min(bounds.largest, 10.0)))
    missed = 0
    for seed in range(200):
        found = plan.interval(plan.observe(plan.start(), *draw(np.random.default_rng(seed), 200)))
        missed += found is None or found.low >= truth or found.high <= truth
    assert missed <= 40 + 17


def test_the_mean_of_a_capital_is_one_under_the_truth() -> None:
    plan = around(BettingPlan.of_mean(0.05), 0.3)
    draws = (np.random.default_rng(6).random((600, 15)) < 0.3).astype(float)
    states = [plan.observe(plan.start(), values) for values in draws]
    for capitals in (np.exp([one.rising[2] for one in states]), np.exp([one.falling[1] for one in states])):
        assert capitals.mean() == pytest.approx(1, abs=4 * capitals.std() / math.sqrt(len(states)))


def test_a_ratio_has_no_upper_end_until_there_is_evidence_and_a_changed_one_no_interval() -> None:
    plan = BettingPlan.of_ratio(0.05, (1.0, 1.0))
    assert plan.interval(plan.start()) == (0.0, math.inf)
    random = np.random.default_rng(5)
    denominators = random.random(2_000)
    low, high = ends(plan, denominators * (random.random(2_000) < 0.5), denominators)
    assert 0.4 < low < 0.5 < high < 0.6
    mean = BettingPlan.of_mean(0.05)
    assert mean.interval(mean.observe(mean.start(), np.repeat([0.0, 1.0], 3_000))) is None


def test_observations_outside_of_the_bounds_are_refused() -> None:
    plan = BettingPlan.of_share(0.05, 2.0)
    with pytest.raises(MeasureInputError, match=r"denominators: 1 of 1 values are not in \[0, 2\], such as 3"):
        plan.observe(plan.start(), np.array([1.0]), np.array([3.0]))
    with pytest.raises(MeasureInputError, match="denominators less their numerators: 1 of 1"):
        plan.observe(plan.start(), np.array([1.5]), np.array([1.0]))
    with pytest.raises(MeasureInputError, match="differ in length: numerators 1, denominators 2"):
        plan.observe(plan.start(), np.ones(1), np.ones(2))


def test_plans_that_promise_nothing_are_refused() -> None:
    bounds = Bounds.of_ratio(1, 1)
    for cells in ((0.0,), (0.0, 2.0, 1.0), (0.5, 1.0), (0.0, math.inf)):
        with pytest.raises(MeasureInputError, match="cells: their ends must ascend from 0 to at most inf"):
            BettingPlan(0.05, bounds, cells)
    with pytest.raises(MeasureInputError, match="bounds: numerators"):
        Bounds.of_mean(1, 1)
    with pytest.raises(MeasureInputError, match="bounds: numerators"):
        Bounds.of_share(math.inf)


@pytest.mark.parametrize(
    "bounds", [Bounds.of_mean(-2, 5), Bounds.of_mean(1, 2), Bounds.of_share(7), Bounds.of_ratio(2, 4)]
)
def test_cells_reach_from_end_to_end_and_have_zero_or_what_is_nearest_to_it(bounds: Bounds) -> None:
    cells = bounds.cells()
    assert cells[0] == bounds.least
    assert cells[-1] == min(bounds.largest, 10 * bounds.scale / bounds.denominators[1])
    assert max(0.0, bounds.least) in cells
    assert 30 < len(cells) < 260
