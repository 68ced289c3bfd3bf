"""How far a distribution of scores has moved: the population stability index.

Below 0.1 is commonly read as stable, above 0.25 as another population. (Siddiqi, Credit Risk Scorecards, 2006.)
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from metrics.columns import Floats, Ints, check_numbers
from metrics.errors import MeasureInputError

DECILES = 10
LEAST_SHARE = 1e-4
"""Stands for the share of an empty bin between deciles, whose logarithm there is not."""
HALF_AN_OBSERVATION = 0.5


def stability_index(expected: Sequence[float], actual: Sequence[float]) -> float:
    """Return the population stability index: the sum of (a - e) ln(a / e) over the shares of each group.

    Raises:
        MeasureInputError: the groups differ in number, or a share is not above 0: a group that is empty in one
            population needs a share that stands for it, as the two functions below give it.
    """
    if len(expected) != len(actual):
        raise MeasureInputError(f"{len(expected)} groups against {len(actual)}: both need the same groups")
    if min((*expected, *actual), default=1.0) <= 0:
        raise MeasureInputError("a share is 0 or less: replace the share of an empty group by a small one")
    return math.fsum((a - e) * math.log(a / e) for e, a in zip(expected, actual, strict=True))


def stability_of_counts(expected: Mapping[Any, int], actual: Mapping[Any, int]) -> float:
    """Return the stability index of two histograms, each with a count for each group.

    A group that is empty in one histogram counts as half an observation there. Groups that are empty in both do not
    count.

    Raises:
        MeasureInputError: a histogram has no observation.
    """
    totals = sum(expected.values()), sum(actual.values())
    if not all(totals):
        raise MeasureInputError(f"{totals[0]} expected and {totals[1]} actual observations: each needs at least one")
    groups = sorted({group for counts in (expected, actual) for group, count in counts.items() if count})
    shares = [
        [max(counts.get(group, 0), HALF_AN_OBSERVATION) / total for group in groups]
        for counts, total in zip((expected, actual), totals, strict=True)
    ]
    return stability_index(*shares)


class DecileShares(NamedTuple):
    """The shares of two sets of scores in the bins between the deciles of the first: `edges` of shape (bins - 1,)."""

    edges: Floats
    expected: Floats
    actual: Floats


def decile_shares(expected: Floats, actual: Floats) -> DecileShares:
    """Return the shares of scores between the deciles of those expected; where scores are equal, there are fewer bins.

    Raises:
        MeasureInputError: there are no scores on one side, or one is NaN.
    """
    for name, scores in (("expected", expected), ("actual", actual)):
        check_numbers(name, scores)
        if not len(scores):
            raise MeasureInputError(f"{name}: no scores; deciles need at least one")
    edges = np.unique(np.quantile(expected, np.linspace(0, 1, DECILES + 1)[1:-1]))
    return DecileShares(edges, *(_counts(edges, scores) / len(scores) for scores in (expected, actual)))


def stability_of_scores(expected: Floats, actual: Floats) -> float:
    """Return the stability index of two sets of scores over the deciles of the first; an empty bin counts as 0.01 %.

    Raises:
        MeasureInputError: there are no scores on one side, or one is NaN.
    """
    shares = decile_shares(expected, actual)
    return stability_index(*(np.maximum(one, LEAST_SHARE).tolist() for one in (shares.expected, shares.actual)))


def value_edges(expected: Floats) -> Floats:
    """Return the edges between the deciles of those values that are defined, fewer where values are equal.

    The shape is (e,), e at most 9; e is 0 if no value is defined.
    """
    defined = expected[~np.isnan(expected)]
    if not len(defined):
        return np.empty(0)
    return np.unique(np.quantile(defined, np.linspace(0, 1, DECILES + 1)[1:-1]))


def value_groups(edges: Floats, values: Floats) -> Ints:
    """Return the group of each value, of shape (n,): 0 to e between the e edges, e + 1 where a value is undefined.

    A feature that is undefined more often than before has changed as much as one whose values have.
    """
    return np.where(np.isnan(values), len(edges) + 1, np.searchsorted(edges, values)).astype(np.int64)


def stability_of_groups(expected: Floats, actual: Floats) -> Floats:
    """Return the stability index of counts of the same groups, of shape (..., g), for one sample or many draws.

    A group that is empty on one side counts as 0.01 % there; a side without any observation gives NaN.
    """
    shares = []
    for counts in (expected, actual):
        totals = counts.sum(axis=-1, keepdims=True)
        shares.append(np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0))
    empty = (shares[0] == 0) & (shares[1] == 0)
    before, now = (np.where(empty, 1.0, np.maximum(one, LEAST_SHARE)) for one in shares)
    found: Floats = ((now - before) * np.log(now / before)).sum(axis=-1)
    return found


def _counts(edges: Floats, scores: Floats) -> Ints:
    return np.bincount(np.searchsorted(edges, scores), minlength=len(edges) + 1)
