"""The chance bound of the stability index: against scipy's F, against a recount, and by draws of clustered payments."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import f as f_distribution

from metrics.drift_test import (
    GROUPS,
    DriftTest,
    design_effect,
    drift_test,
    group_covariance,
    multinomial_covariance,
    shares_of,
)
from metrics.errors import MeasureInputError

COUNTS = st.lists(st.lists(st.integers(0, 50), min_size=4, max_size=4), min_size=GROUPS, max_size=GROUPS)


@pytest.mark.parametrize("freedom", [0.3, 1, 2, 4.7, 9, 12])
@pytest.mark.parametrize("alpha", [0.05, 1e-3, 3e-6, 1e-9])
def test_chance_exceeds_its_bound_with_probability_alpha(freedom: float, alpha: float) -> None:
    bound = DriftTest(index=0.0, mean=0.25, freedom=freedom).chance_bound(alpha)
    assert f_distribution.sf(bound / 0.25, freedom, freedom * (GROUPS - 1)) == pytest.approx(alpha, rel=1e-9)


@given(COUNTS)
def test_the_covariance_is_that_of_a_recount_group_by_group(counts: Any) -> None:
    by_group = np.array(counts)
    total = int(by_group.sum())
    if not total:
        with pytest.raises(MeasureInputError, match="at least one"):
            shares_of(by_group)
        return
    shares = [sum(row[at] for row in counts) / total for at in range(4)]
    found = group_covariance(by_group)
    for one in range(4):
        for other in range(4):
            products = [(row[one] - sum(row) * shares[one]) * (row[other] - sum(row) * shares[other]) for row in counts]
            expected = GROUPS / (GROUPS - 1) * math.fsum(products) / total**2
            assert found[one, other] == pytest.approx(expected, abs=1e-12)


def test_of_independent_rows_the_index_is_on_average_what_theory_says_and_the_design_effect_is_one() -> None:
    random = np.random.default_rng(3)
    shares, rows, of_reference = np.full(10, 0.1), 3_200, 50_000
    none = multinomial_covariance(shares, of_reference, 1.0)
    effects, tests = [], []
    for _ in range(200):
        drawn = random.multinomial(of_reference, shares) / of_reference
        by_group = random.multinomial(rows // GROUPS, shares, size=GROUPS)
        tests.append(drift_test(drawn, none, by_group))
        effects.append(design_effect(by_group))
    theory = 9 * (1 / rows + 1 / of_reference)
    assert np.mean([one.index for one in tests]) == pytest.approx(theory, rel=0.1)
    assert np.mean([one.mean for one in tests]) == pytest.approx(theory, rel=0.05)
    assert np.mean(effects) == pytest.approx(1.0, abs=0.05)
    assert np.mean([one.index > one.chance_bound(0.05) for one in tests]) == pytest.approx(0.05, abs=0.045)


def clustered(random: np.random.Generator, cards: int) -> Any:
    """Draw payments of cards that each keep to one bin, some with many payments: counts by group, of shape (32, 5)."""
    payments = 1 + random.geometric(0.3, cards)
    by_group = np.zeros((GROUPS, 5), np.int64)
    np.add.at(by_group, (random.integers(GROUPS, size=cards), random.integers(5, size=cards)), payments)
    return by_group


def test_payments_of_a_card_that_are_alike_raise_the_bound_so_that_chance_exceeds_it_no_more_often() -> None:
    random = np.random.default_rng(5)
    shares, none = np.full(5, 0.2), np.zeros((5, 5))
    over = naive = 0
    for _ in range(300):
        by_group = clustered(random, 800)
        test = drift_test(shares, none, by_group)
        over += test.index > test.chance_bound(0.05)
        naive += test.index > f_distribution.isf(0.05, 4, 10_000) * 4 / int(by_group.sum())
    assert naive > 100  # as if payments were independent, one look in three or more is an alarm
    assert over < 30


def test_a_bin_that_is_empty_in_the_reference_does_not_hide_what_fills_it() -> None:
    expected, by_group = np.array([0.5, 0.5, 0.0]), np.tile([35, 35, 30], (GROUPS, 1))
    by_group[::2, 2] += 10
    test = drift_test(expected, multinomial_covariance(expected, 10_000, 2.0), by_group)
    assert test.index > 1
    assert test.chance_bound(1e-6) < 0.2
