"""Simulated experiments: their truths are as stated, and what the report promises holds in them."""

import math

import numpy as np
import pytest

from benchmarks.simulations.experiment_lots import simulate_lots
from benchmarks.simulations.experiments import (
    HALVES,
    ExperimentEffort,
    LossWorld,
    cards_needed,
    follow_looks,
    simulate,
)


def quiet(_stage: str, _done: int, _total: int) -> None:
    """Tell nobody."""


def test_a_large_difference_is_found_and_the_truth_is_held() -> None:
    world = LossWorld("", HALVES, (0.5, 1.0))
    losses = world.draw(np.random.default_rng(2), 20_000)
    assert follow_looks(world, losses, [100, 5_000, 20_000]) == ({"new"}, True)
    assert (cards_needed(world, np.random.default_rng(3)) or math.inf) < 20_000
    equal = LossWorld("", HALVES, (1.0, 1.0))
    assert cards_needed(equal, np.random.default_rng(3), most=10_000) is None


@pytest.mark.acceptance
def test_few_runs_keep_the_promises_and_a_seed_gives_the_same_figures() -> None:
    effort = ExperimentEffort(runs=20, cards=3_000, effect_runs=1, lots=60)
    found = simulate(1, effort, quiet)
    assert found.sound == simulate(1, effort._replace(effect_runs=1), quiet).sound
    for line in found.sound:
        assert line.false_winners <= 0.15
        assert line.missed <= 0.15
    assert found.sound[0].naive > found.sound[0].false_winners, "tests for one look name winners that are none"
    by_share = [[line.cards_median for line in found.effects if line.share_bp == share] for share in (5_000, 1_000)]
    for medians in by_share:
        assert medians == sorted(medians, key=lambda one: math.inf if one is None else one)


@pytest.mark.acceptance
def test_lots_are_right_in_the_mean_and_naive_figures_are_not() -> None:
    for line in simulate_lots(np.random.default_rng(5), 200):
        error = line.deviation / math.sqrt(200)
        assert abs(line.mean - line.truth) < 4 * error + 0.005
        assert abs(line.naive - line.truth) > 10 * error
        assert line.covered is not None
        assert line.covered > 0.85
