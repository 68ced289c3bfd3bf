"""Simulated experiments: their truths are as stated, and what the report promises holds in them."""

import math

import numpy as np
import pytest

from benchmarks.simulations.experiment_lots import LotWorld, simulate_lots
from benchmarks.simulations.experiments import (
    CAP_MINOR,
    CHANCE,
    HALVES,
    SOUND,
    ExperimentEffort,
    LossWorld,
    capped_mean,
    cards_needed,
    follow_looks,
    simulate,
)
from guards.shares import ArmShare


def quiet(_stage: str, _done: int, _total: int) -> None:
    """Tell nobody."""


def test_the_true_means_are_those_of_many_drawn_cards() -> None:
    world = LossWorld("", (ArmShare("a", 2_500), ArmShare("live", 7_500)), (0.5, 1.0))
    losses = world.draw(np.random.default_rng(1), 2_000_000)
    kept = np.minimum(losses.low, CAP_MINOR)
    for place, mean in enumerate(world.means()):
        own = kept[losses.arms == place]
        assert own.mean() == pytest.approx(mean, abs=5 * own.std() / math.sqrt(len(own)))
    assert world.means()[1] == pytest.approx(CHANCE * capped_mean())
    assert world.best == {"a"}
    assert SOUND[0].best == {"a", "b", "live"}


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


def test_a_lot_shows_each_decline_with_its_propensity() -> None:
    world = LotWorld.draw(np.random.default_rng(4))
    seen = np.mean([world.seen_by_lot(np.random.default_rng(seed))["decided"] == 0 for seed in range(200)], axis=0)
    chances = world.seen_by_lot(np.random.default_rng(0))["propensity"]
    declined = world.declined
    assert seen[~declined].min() == 1
    assert seen[declined].mean() == pytest.approx(chances[declined].mean(), abs=0.01)
