"""Paired losses: caps, signs and units, and why a card is one observation."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics.columns import sum_by_card
from metrics.errors import MeasureInputError
from metrics.intervals import Side
from metrics.paired import PairedCards, PairedPlan

SAVED = st.lists(st.integers(-3_000, 3_000), min_size=1, max_size=60)


def cards(saved: Any, most: int = 3_000) -> PairedCards:
    column = np.array(saved, np.int64)
    return PairedCards(column, np.full(len(column), -most), np.full(len(column), most))


def swapped(seed: int, count: int, better: float, swaps: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Draw swaps of cards: (card, saved). All of a card's swaps favour one model."""
    random = np.random.default_rng(seed)
    card = np.repeat(np.arange(count), random.poisson(swaps, count) * (random.random(count) < 0.1))
    favours = random.random(count) < 0.5 + better / 2
    amounts = random.integers(1_000, 50_000, len(card))
    return card, np.where(favours[card], amounts, -amounts)


@given(SAVED)
def test_differences_are_capped_and_what_was_cut_off_is_told(saved: Any) -> None:
    plan = PairedPlan(0.05, 1_000)
    capped, beyond = plan.beyond(np.array(saved, np.int64))
    assert capped == sum(abs(one) > 1_000 for one in saved)
    assert beyond == sum(one - min(max(one, -1_000), 1_000) for one in saved)
    clipped = [min(max(one, -1_000), 1_000) for one in saved]
    assert plan.interval(cards(saved)) == plan.interval(cards(clipped, 1_000))


@given(SAVED)
def test_the_other_models_view_is_the_mirror_and_another_unit_scales(saved: Any) -> None:
    plan, cents = PairedPlan(0.05, 1_000), PairedPlan(0.05, 100_000)
    found, own = plan.interval(cards(saved)), cards(saved)
    assert plan.interval(own.mirrored()) == pytest.approx(found.mirrored())
    assert cents.interval(cards(100 * own.saved, 300_000)) == pytest.approx(found.scaled(100))


@given(SAVED, st.integers(0, 60))
def test_better_is_what_a_lower_end_above_zero_says(saved: Any, count: int) -> None:
    plan, own = PairedPlan(0.05, 1_000, Side.LOWER), cards(saved).first(count)
    low = plan.interval(own).low
    assert low >= -1e-6 if plan.is_better(own) else low < 0


def test_equal_decisions_say_nothing_and_swaps_in_one_direction_soon_tell_the_models_apart() -> None:
    plan = PairedPlan(0.05, 50_000, Side.LOWER)
    same = plan.interval(cards(np.zeros(5_000, np.int64), 0))
    assert same == (pytest.approx(0, abs=10), 50_000)
    assert same.low < 0
    card, saved = swapped(1, 6_000, 0.5)
    summed = sum_by_card(card, saved).sums[:, 0].astype(np.int64)
    better, worse = (plan.interval(cards(one, 400_000)) for one in (summed, -summed))
    assert better.low > 0 > worse.low


def test_swaps_of_small_amounts_are_told_apart_far_sooner_than_by_the_cap() -> None:
    plan = PairedPlan(0.05, 50_000, Side.LOWER)
    saved = np.where(np.random.default_rng(5).random(200) < 0.7, 900, -900)
    assert plan.is_better(cards(saved, 900))
    assert not plan.is_better(cards(saved, 50_000))


def test_cards_keep_the_promise_that_payments_of_the_same_cards_break() -> None:
    """100 runs without a difference, alpha 0.1 for each side: at most 20 and 3 standard deviations (12) find one."""
    plan = PairedPlan(0.1, 200_000)
    found = {"cards": 0, "payments": 0}
    for seed in range(100):
        card, saved = swapped(seed, 1_000, 0.0, swaps=20)
        summed = sum_by_card(card, saved).by_appearance()[:, 0].astype(np.int64)
        for unit, column, most in (("cards", summed, 10**7), ("payments", saved, 50_000)):
            sides = cards(column, most), cards(-column, most)
            ends = np.linspace(len(column) / 10, len(column), 10).astype(int)
            found[unit] += any(plan.is_better(side.first(end)) for side in sides for end in ends)
    assert found["cards"] <= 20 + 12
    assert found["payments"] >= 40


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(MeasureInputError, match="cap_minor: 0 minor units"):
        PairedPlan(0.05, 0)
    with pytest.raises(MeasureInputError, match="columns differ in length"):
        PairedPlan(0.05, 1).interval(PairedCards(np.ones(1, int), np.ones(2, int), np.ones(2, int)))
