"""Two arms compared by one sequence: what it counts, and what it finds where they differ and where they do not."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics.arms import ArmsPlan
from metrics.errors import MeasureInputError

CARDS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 300)), min_size=1, max_size=50)


def columns(cards: list[tuple[int, int]]) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    arm, value = np.array(cards, np.int64).T
    return value, (arm == 0, arm == 1)


def drawn(seed: int, cards: int, shares_bp: tuple[int, int], losses: tuple[float, float]) -> Any:
    """Draw cards of two arms, of which one in 20 loses up to its arm's amount: (values, arms)."""
    random = np.random.default_rng(seed)
    lot = random.integers(0, 10_000, cards)
    arms = lot < shares_bp[0], (lot >= shares_bp[0]) & (lot < sum(shares_bp))
    most = np.where(arms[0], losses[0], np.where(arms[1], losses[1], 50_000))
    return (most * random.random(cards) * (random.random(cards) < 0.05)).astype(np.int64), arms


@given(CARDS)
def test_arms_that_change_places_mirror_the_interval(cards: Any) -> None:
    values, (first, second) = columns(cards)
    plan, other = ArmsPlan(0.05, 300, (3_000, 1_000)), ArmsPlan(0.05, 300, (1_000, 3_000))
    found = plan.interval(values, (first, second))
    assert other.interval(values, (second, first)) == pytest.approx(found.mirrored())


@pytest.mark.parametrize("shares_bp", [(5_000, 5_000), (1_000, 2_000)])
def test_arms_that_do_not_differ_are_told_apart_at_most_as_often_as_alpha(shares_bp: tuple[int, int]) -> None:
    """80 runs at alpha 0.2: at most 16 and 3 standard deviations (11) may find a difference."""
    plan = ArmsPlan(0.2, 50_000, shares_bp)
    found = 0
    for seed in range(80):
        interval = plan.interval(*drawn(seed, 1_000, shares_bp, (50_000, 50_000)))
        found += interval.low >= 0 or interval.high <= 0
    assert found <= 16 + 11


def test_arms_that_differ_are_told_apart_and_the_difference_is_inside() -> None:
    shares_bp = (5_000, 5_000)
    plan = ArmsPlan(0.05, 50_000, shares_bp)
    found = plan.interval(*drawn(1, 60_000, shares_bp, (50_000, 30_000)))
    assert 0 < found.low < 0.05 * (25_000 - 15_000) < found.high


def test_what_cannot_be_compared_is_refused() -> None:
    flags = np.array([True])
    with pytest.raises(
        MeasureInputError, match="shares_bp: 6000 and 5000; each must be above 0, together at most 10000"
    ):
        ArmsPlan(0.05, 1, (6_000, 5_000))
    with pytest.raises(MeasureInputError, match="cap: 0; it must be at least 1"):
        ArmsPlan(0.05, 0, (1, 1))
    plan = ArmsPlan(0.05, 1, (1, 1))
    with pytest.raises(MeasureInputError, match="no card can be in both arms"):
        plan.interval(np.array([1]), (flags, flags))
    with pytest.raises(MeasureInputError, match="each must be at least 0"):
        plan.interval(np.array([-1]), (flags, ~flags))
