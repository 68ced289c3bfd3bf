"""Paired losses: caps, signs and units, and why a card is one observation."""

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics.columns import sum_by_card
from metrics.errors import MeasureInputError
from metrics.intervals import Side
from metrics.paired import PairedPlan, PairedState

LOSSES = st.lists(st.tuples(st.integers(0, 3_000), st.integers(0, 3_000)), min_size=1, max_size=60)


def columns(losses: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    live, challenger = np.array(losses, np.int64).T
    return live, challenger


def swapped(seed: int, cards: int, better: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw swaps of cards: (card, live loss, challenger's loss). All of a card's swaps favour one model."""
    random = np.random.default_rng(seed)
    card = np.repeat(np.arange(cards), random.poisson(4, cards) * (random.random(cards) < 0.1))
    favours = random.random(cards) < 0.5 + better / 2
    amounts = random.integers(1_000, 50_000, len(card))
    return card, np.where(favours[card], amounts, 0), np.where(favours[card], 0, amounts)


@given(LOSSES)
def test_differences_are_capped_and_what_was_cut_off_is_told(losses: Any) -> None:
    plan = PairedPlan(0.05, 1_000)
    state = plan.observe(plan.start(), *columns(losses))
    saved = [live - challenger for live, challenger in losses]
    assert state.saved_minor == sum(saved)
    assert state.capped == sum(abs(one) > 1_000 for one in saved)
    assert state.beyond_minor == sum(one - min(max(one, -1_000), 1_000) for one in saved)
    assert state.betting.sums[0] * 1_000 == pytest.approx(state.saved_minor - state.beyond_minor)


@given(LOSSES, st.integers(0, 60))
def test_a_state_goes_on_from_plain_numbers(losses: Any, cut: int) -> None:
    plan = PairedPlan(0.05, 1_000)
    live, challenger = columns(losses)
    first = plan.observe(plan.start(), live[:cut], challenger[:cut])
    kept = msgspec.json.decode(msgspec.json.encode(first), type=PairedState)
    state = plan.observe(kept, live[cut:], challenger[cut:])
    whole = plan.observe(plan.start(), live, challenger)
    assert plan.interval(state) == pytest.approx(plan.interval(whole))
    assert state[1:] == whole[1:]


@given(LOSSES)
def test_the_other_models_view_is_the_mirror_and_another_unit_scales(losses: Any) -> None:
    plan, cents = PairedPlan(0.05, 1_000), PairedPlan(0.05, 100_000)
    live, challenger = columns(losses)
    found = plan.interval(plan.observe(plan.start(), live, challenger))
    assert found is not None
    assert plan.interval(plan.observe(plan.start(), challenger, live)) == pytest.approx(found.mirrored())
    assert cents.interval(cents.observe(cents.start(), 100 * live, 100 * challenger)) == pytest.approx(
        found.scaled(100)
    )


def test_equal_decisions_say_nothing_and_swaps_in_one_direction_soon_tell_the_models_apart() -> None:
    plan = PairedPlan(0.05, 50_000, Side.LOWER)
    same = plan.observe(plan.start(), np.full(5_000, 700), np.full(5_000, 700))
    assert plan.interval(same) == (pytest.approx(0, abs=600), 50_000)
    assert plan.interval(same).low < 0  # type: ignore[union-attr]
    _, live, challenger = swapped(1, 6_000, 0.5)
    better = plan.observe(plan.start(), live, challenger)
    worse = plan.observe(plan.start(), challenger, live)
    assert plan.interval(better).low >= 0  # type: ignore[union-attr]
    assert plan.interval(worse).low < 0  # type: ignore[union-attr]


def test_cards_keep_the_promise_that_payments_of_the_same_cards_break() -> None:
    """100 runs at alpha 0.2 without a difference: at most 20 and 3 standard deviations (12) may find one."""
    plan = PairedPlan(0.2, 200_000)
    found = {"cards": 0, "payments": 0}
    for seed in range(100):
        card, live, challenger = swapped(seed, 1_000, 0.0)
        summed = sum_by_card(card, live, challenger).by_appearance().astype(np.int64)
        for unit, losses in (("cards", summed.T), ("payments", (live, challenger))):
            interval = plan.interval(plan.observe(plan.start(), *losses))
            found[unit] += interval is None or interval.low >= 0 or interval.high <= 0
    assert found["cards"] <= 20 + 12
    assert found["payments"] >= 40


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(MeasureInputError, match="cap_minor: 0 minor units"):
        PairedPlan(0.05, 0)
    with pytest.raises(MeasureInputError, match="differ in length: live_minor 1, challenger_minor 2"):
        PairedPlan(0.05, 1).observe(PairedPlan(0.05, 1).start(), np.ones(1, int), np.ones(2, int))
