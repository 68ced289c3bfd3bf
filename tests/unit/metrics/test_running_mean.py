"""The mean over all observations so far: the formula as a loop, its promise where means differ, and what it refuses."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics.errors import MeasureInputError
from metrics.intervals import Interval, Side
from metrics.running_mean import STAKES, Observed, log_evidence, running_mean_interval
from support.acceptance import cases

VALUES = st.lists(st.floats(-1, 1, allow_subnormal=False), min_size=1, max_size=30)
WHOLE = Interval(-1.0, 1.0)


def observed(values: list[float] | np.ndarray, low: float = -1.0, high: float = 1.0) -> Observed:
    return Observed.within(np.array(values, np.float64), low, high)


@given(VALUES, st.floats(-0.9, 0.9))
def test_the_capital_is_the_mean_over_stakes_of_a_product_over_observations(values: list[float], mean: float) -> None:
    total = 0.0
    for stake in STAKES.tolist():
        if stake * (mean + 1) > 0.98:
            continue
        total += math.prod(1 + stake * (value - mean) for value in values)
    expected = total / len(STAKES)
    assert math.exp(log_evidence(observed(values), mean)) == pytest.approx(expected, rel=1e-9)


@given(VALUES, st.randoms(use_true_random=False))
def test_neither_order_nor_mirroring_matters_and_the_mean_is_inside(
    values: list[float], random: "np.random.Random"
) -> None:  # type: ignore[name-defined] - Hypothesis' own
    found = running_mean_interval(observed(values), 0.05, WHOLE)
    shuffled = list(values)
    random.shuffle(shuffled)
    assert running_mean_interval(observed(shuffled), 0.05, WHOLE) == pytest.approx(found)
    mirrored = running_mean_interval(observed([-one for one in values]), 0.05, WHOLE)
    assert mirrored == pytest.approx(found.mirrored())
    assert found.low <= float(np.mean(values)) + 1e-9
    assert found.high >= float(np.mean(values)) - 1e-9


@given(VALUES)
def test_an_open_side_has_the_end_of_the_bounds(values: list[float]) -> None:
    lower = running_mean_interval(observed(values), 0.05, WHOLE, side=Side.LOWER)
    upper = running_mean_interval(observed(values), 0.05, WHOLE, side=Side.UPPER)
    both = running_mean_interval(observed(values), 0.05, WHOLE)
    assert (lower.high, upper.low) == (1.0, -1.0)
    assert lower.low >= both.low - 1e-9
    assert upper.high <= both.high + 1e-9


def drawn(seed: int, means: np.ndarray) -> np.ndarray:
    """Return -1 or 1 with these means, but most of them 0: what two similar models save on a card."""
    random = np.random.default_rng(seed)
    swaps = random.random(len(means)) < 0.2
    return np.where(swaps, np.where(random.random(len(means)) < (1 + means) / 2, 1.0, -1.0), 0.0)


@pytest.mark.parametrize("world", cases(["sorted", "waves", "late turn"], short=["sorted"]))
def test_a_mean_that_is_not_above_zero_is_seldom_refuted_however_the_cards_are_ordered(world: str) -> None:
    """120 runs at alpha 0.2, looked at after each 50 cards while the true mean so far is at most 0."""
    cards = 3_000
    number = np.arange(cards)
    means = {
        "sorted": np.where(number < cards / 2, -0.3, 0.3),
        "waves": 0.5 * np.sin(number / 100),
        "late turn": np.where(number < 500, 0.3, -0.3),
    }[world]
    so_far = np.cumsum(means)
    wrong = 0
    for seed in range(120):
        values = drawn(seed, means)
        looks = [end for end in range(50, cards + 1, 50) if so_far[end - 1] <= 0]
        wrong += any(log_evidence(observed(values[:end])) >= math.log(5) for end in looks)
    assert wrong <= 24 + 13, "20 % and three standard deviations"


def test_nothing_observed_refutes_nothing() -> None:
    assert running_mean_interval(observed([]), 0.05, WHOLE) == WHOLE
    assert log_evidence(observed([])) == 0


def test_what_could_not_have_been_is_refused() -> None:
    with pytest.raises(MeasureInputError, match=r"1 of 2 lie outside of what they could have been, such as 0\.5"):
        log_evidence(observed([0.5, 0.1], -0.2, 0.2))
    with pytest.raises(MeasureInputError, match="alpha: 1 is not"):
        running_mean_interval(observed([0.5]), 1.0, WHOLE)
