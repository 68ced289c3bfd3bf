"""The stability index by its laws and by hand, and the figures of both former implementations."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics.drift import (
    decile_shares,
    stability_index,
    stability_of_counts,
    stability_of_groups,
    stability_of_scores,
    value_edges,
    value_groups,
)
from metrics.errors import MeasureInputError

HISTOGRAMS = st.dictionaries(st.integers(0, 19), st.integers(1, 10**6), min_size=1)


@given(HISTOGRAMS, HISTOGRAMS)
def test_it_is_non_negative_symmetric_and_zero_for_equal_histograms(one: Any, other: Any) -> None:
    assert stability_of_counts(one, one) == 0.0
    assert stability_of_counts(one, other) == pytest.approx(stability_of_counts(other, one))
    assert stability_of_counts(one, other) >= 0.0


@given(HISTOGRAMS, HISTOGRAMS)
def test_of_counts_it_equals_a_sum_of_logarithms_with_half_an_observation_in_empty_groups(one: Any, other: Any) -> None:
    total = 0.0
    for group in {*one, *other}:
        e, a = (max(counts.get(group, 0), 0.5) / sum(counts.values()) for counts in (one, other))
        total += a * math.log(a / e) + e * math.log(e / a)
    assert stability_of_counts(one, other) == pytest.approx(total)


def test_of_scores_it_is_that_of_the_shares_between_deciles() -> None:
    """Half of the scores move from the lower half to the upper one: shares of 0.5 and 0.5 become 0.25 and 0.75."""
    before, after = np.repeat([0.0, 1.0], 4), np.array([0.0, 0.0, *[1.0] * 6])
    shares = decile_shares(before, after)
    filled = shares.expected > 0
    assert (shares.expected[filled].tolist(), shares.actual[filled].tolist()) == ([0.5, 0.5], [0.25, 0.75])
    assert stability_of_scores(before, after) == pytest.approx(0.5 * math.log(3) / 2)


def test_the_bins_of_distinct_scores_hold_a_tenth_each() -> None:
    shares = decile_shares(np.arange(100) / 100, np.arange(50) / 100)
    assert shares.expected == pytest.approx(np.full(10, 0.1))
    assert shares.actual == pytest.approx([0.2] * 5 + [0.0] * 5)


def test_what_has_no_index_is_refused() -> None:
    with pytest.raises(MeasureInputError, match="5 expected and 0 actual observations"):
        stability_of_counts({0: 5}, {0: 0})
    with pytest.raises(MeasureInputError, match="2 groups against 1"):
        stability_index((0.5, 0.5), (1.0,))
    with pytest.raises(MeasureInputError, match="a share is 0 or less"):
        stability_index((0.5, 0.5), (1.0, 0.0))
    with pytest.raises(MeasureInputError, match="actual: no scores"):
        stability_of_scores(np.ones(1), np.empty(0))
    with pytest.raises(MeasureInputError, match="expected: 1 of 1 values"):
        stability_of_scores(np.array([np.nan]), np.ones(1))


def test_values_without_gaps_have_the_index_of_scores_in_one_draw_and_in_many() -> None:
    random = np.random.default_rng(2)
    before, now = random.normal(0, 1, 4_000), np.round(random.normal(0.3, 1, 3_000), 1)
    edges = value_edges(before)
    counts = [np.bincount(value_groups(edges, one), minlength=len(edges) + 2) for one in (before, now)]
    found = stability_of_groups(counts[0], np.array([counts[1], counts[0]]))
    assert found == pytest.approx([stability_of_scores(before, now), 0.0])


def test_a_feature_that_is_undefined_more_often_has_drifted() -> None:
    before, now = np.arange(1_000.0), np.where(np.arange(1_000) < 300, np.nan, np.arange(1_000.0))
    edges = value_edges(before)
    assert value_groups(edges, np.array([np.nan, -1.0, 2_000.0])).tolist() == [len(edges) + 1, 0, len(edges)]
    counts = [np.bincount(value_groups(edges, one), minlength=len(edges) + 2) for one in (before, now)]
    assert stability_of_groups(counts[0], counts[1]) > 0.25


def test_a_feature_that_was_never_defined_has_no_edges_and_no_drift() -> None:
    nothing = np.full(10, np.nan)
    assert value_edges(nothing).tolist() == []
    assert stability_of_groups(np.array([0, 10]), np.array([0, 5])) == 0.0
    assert np.isnan(stability_of_groups(np.array([0, 10]), np.array([0, 0])))
