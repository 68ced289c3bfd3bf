"""How arms stand: who wins, at which alpha, and what is missing before one does."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudstream.ops.rollout.experiments.cards import CardLosses
from fraudstream.ops.rollout.experiments.comparison import (
    ArmDifference,
    arm_losses,
    compare,
    missing_cards,
    winner_of,
)
from fraudstream.ops.rollout.experiments.standings import days_until, standings_of
from fraudstream.ops.rollout.outcomes.maturity import DAY_MS
from guards.shares import ArmShare
from metrics.intervals import Interval
from support.experiment_cases import ARMS, EXPERIMENT, terms
from support.outcome_cases import at_ms

MODELS = EXPERIMENT.models
TERMS = terms(400.0, cap_minor=1_000)


class World(NamedTuple):
    """Cards whose loss is 1,000 with a probability that depends on their arm, else 0."""

    chances: Sequence[float]
    cards: int = 20_000
    unseen: float = 0.0

    def losses(self, seed: int = 1) -> CardLosses:
        rng = np.random.default_rng(seed)
        arms = rng.choice(len(ARMS), self.cards, p=[arm.share_bp / 10_000 for arm in ARMS])
        low = np.where(rng.random(self.cards) < np.array(self.chances)[arms], 1_000, 0)
        high = np.where(rng.random(self.cards) < self.unseen, 1_000, low)
        first_ms = np.linspace(at_ms(0), at_ms(300), self.cards).astype(np.int64)
        return CardLosses(arms, low, high, first_ms, np.zeros(0, np.int64))


def test_the_arm_that_loses_least_wins_over_all_others() -> None:
    found = standings_of(World((0.05, 0.10, 0.10)).losses(), ARMS, MODELS, TERMS)
    assert (found.winner, found.missing) == ("new", ())
    assert found.alpha_each == 0.025
    differences = {one.first: one for one in found.to("live")}
    assert set(differences) == {"new", "other"}
    interval = differences["new"].interval
    assert interval is not None
    assert interval.low < -50 < interval.high < 0
    assert [one.lower for one in found.differences] == ["new", "new", None]


def test_live_wins_where_it_loses_least() -> None:
    assert standings_of(World((0.10, 0.12, 0.05)).losses(), ARMS, MODELS, TERMS).winner == "live"


def test_an_arm_that_beats_live_alone_is_no_winner() -> None:
    found = standings_of(World((0.05, 0.05, 0.10)).losses(), ARMS, MODELS, TERMS)
    assert found.winner is None
    assert {one.lower for one in found.differences} == {"new", "other", None}
    assert {(one.leader, one.other) for one in found.missing} in ({("new", "other")}, {("other", "new")})


def test_a_control_with_the_live_model_need_not_be_beaten_by_live() -> None:
    models = {"new": "n", "other": "l", "live": "l"}
    losses = World((0.15, 0.05, 0.05)).losses()
    assert winner_of([arm.name for arm in ARMS], compare(losses, ARMS, TERMS), models) == "live"
    assert winner_of([arm.name for arm in ARMS], compare(losses, ARMS, TERMS), dict.fromkeys(models, "l")) is None


def test_outcomes_that_nobody_knows_widen_the_interval_and_prevent_a_winner() -> None:
    known, unknown = World((0.05, 0.10, 0.10)), World((0.05, 0.10, 0.10), unseen=0.08)
    sure = compare(known.losses(), ARMS, TERMS)
    unsure = compare(unknown.losses(), ARMS, TERMS)
    for one, other in zip(sure, unsure, strict=True):
        assert one.interval is not None
        assert other.interval is not None
        assert other.interval.low <= one.interval.low < one.interval.high <= other.interval.high
    found = standings_of(unknown.losses(), ARMS, MODELS, TERMS)
    assert found.winner is None
    assert {one.why for one in found.missing} == {
        "outcomes of declined payments, which more cards do not show: let some of them through"
    }


def test_what_is_missing_is_about_right() -> None:
    chances = (0.09, 0.14, 0.10)
    early = World(chances, 12_000).losses()
    found = standings_of(early, ARMS, MODELS, TERMS)
    assert found.winner is None
    (missing,) = (one for one in found.missing if one.other == "live")
    assert missing.leader == "new"
    assert missing.cards is not None
    later = World(chances, 4 * (12_000 + missing.cards)).losses()
    assert standings_of(later, ARMS, MODELS, TERMS).winner == "new"


def test_days_are_those_of_the_cohorts_of_cards_that_wait_and_then_those_of_the_present_rate() -> None:
    now = at_ms(400.0)
    waiting = np.array([now - at * DAY_MS for at in (29, 20, 6, 5, 4, 3, 2, 1)])
    nothing = np.zeros(0, np.int64)
    losses = CardLosses(nothing, nothing, nothing, nothing, waiting)
    assert [days_until(cards, losses, TERMS) for cards in (1, 2, 8)] == [11.0, 11.0, 31.0]
    assert days_until(14, losses, TERMS) == pytest.approx(6 / (6 / 7) + 40)
    assert days_until(14, losses._replace(cut_off=0), TERMS) is None
    assert days_until(1, losses._replace(waiting_ms=nothing), TERMS) is None


def test_an_arm_without_final_cards_leaves_it_open() -> None:
    nothing = np.zeros(0, np.int64)
    found = standings_of(CardLosses(nothing, nothing, nothing, nothing, nothing), ARMS, MODELS, TERMS)
    assert (found.winner, found.missing) == (None, ())
    assert [one.cards for one in found.arms.values()] == [0, 0, 0]


def test_means_are_capped_and_what_was_cut_off_is_told() -> None:
    losses = CardLosses(
        np.array([0, 0, 2]), np.array([100, 0, 5_000]), np.array([300, 0, 5_000]), *(np.zeros(3, np.int64),) * 2
    )
    found = arm_losses(losses, ARMS, 1_000)
    assert found["new"] == (2, 50.0, 150.0, 0, 0)
    assert found["live"] == (1, 1_000.0, 1_000.0, 1, 4_000)
    assert found["other"] == (0, None, None, 0, 0)


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6))
def test_a_difference_seen_from_the_other_arm_says_the_same(low: float, width: float) -> None:
    one = ArmDifference("a", "b", Interval(low, low + width))
    assert one.of("b").lower == one.lower
    assert one.of("b").of("a") == one


def test_no_number_of_cards_shows_a_difference_that_is_not_seen() -> None:
    losses = World((0.10, 0.10, 0.10), 1_000).losses()
    arms = arm_losses(losses, ARMS, 1_000)
    assert missing_cards(ArmDifference("new", "live", None), arms, 1_000) is None
    worse = arms | {"new": arms["new"]._replace(high=1_000.0)}
    assert missing_cards(ArmDifference("new", "live", Interval(-1, 1)), worse, 1_000) is None


def test_an_arm_that_is_better_on_the_cards_that_appear_first_seldom_wins_when_it_saves_nothing() -> None:
    """A third of the cards lose less with `new`, the next third as much more; at alpha 0.05, looked at behind both."""
    arms, wrong = (ArmShare("new", 5_000), ArmShare("live", 5_000)), 0
    chances = np.repeat([[0.05, 0.15], [0.15, 0.05], [0.11, 0.10]], 2_000, axis=0)
    for seed in range(10):
        rng = np.random.default_rng(seed)
        which = rng.integers(2, size=6_000)
        low = np.where(rng.random(6_000) < chances[np.arange(6_000), which], 1_000, 0)
        losses = CardLosses(which, low, low, np.arange(6_000), np.zeros(0, np.int64))
        assert seed or standings_of(losses.part(0, 2_000), arms, {"new": "x", "live": "y"}, TERMS).winner == "new"
        looks = (losses.part(0, end) for end in (4_000, 5_000, 6_000))
        wrong += any(standings_of(one, arms, {"new": "x", "live": "y"}, TERMS).winner == "new" for one in looks)
    assert wrong <= 1 + 3 * (10 * 0.05 * 0.95) ** 0.5
