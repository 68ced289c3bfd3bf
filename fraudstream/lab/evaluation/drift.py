"""How far features and scores have moved since the reference: the population stability index of each.

The reference is taken as it is, and cards of the payments that count are drawn; so an interval says how sure the index
is of these payments.
"""

from typing import NamedTuple

import numpy as np

from fraudstream.lab.evaluation.draws import CardDraws, DrawnFigure
from fraudstream.lab.evaluation.report import EvaluatedScores
from metrics.columns import Floats, Ints
from metrics.drift import stability_of_groups, value_edges, value_groups
from models.policy import LAST_BAND, bands

BAND_STEP = 25
"""Bands of the score in one bar of its histogram."""


class ReferenceGroups(NamedTuple):
    """The deciles of a feature, or of scores, in the reference, and how many payments of it are in each group."""

    edges: Floats
    expected: Floats

    @classmethod
    def of(cls, values: Floats) -> "ReferenceGroups":
        """Cut the values of the reference into groups of about equal count."""
        edges = value_edges(values)
        counts = np.bincount(value_groups(edges, values), minlength=len(edges) + 2)
        return cls(edges, counts.astype(np.float64))

    def drift(self, values: Floats, draws: CardDraws) -> DrawnFigure:
        """Return the stability index of values of the payments that were drawn; all their cards bear on it."""
        groups = value_groups(self.edges, values)
        sums = draws.grouped(groups, len(self.expected), np.ones(len(values)))
        return sums.figure(lambda counts: stability_of_groups(self.expected, counts), 0)._replace(cards=draws.count)


def undefined_share(values: Floats) -> float:
    """Return the share of values that are undefined."""
    return float(np.isnan(values).mean()) if len(values) else 0.0


def score_counts(reference: Floats, evaluated: Floats) -> EvaluatedScores:
    """Count scores by band, from the first bar that has any to the last."""
    edges = np.arange(0, LAST_BAND + 2 + BAND_STEP, BAND_STEP)
    counts = [_counts(edges, scores) for scores in (reference, evaluated)]
    filled = np.flatnonzero(counts[0] + counts[1])
    chosen = slice(int(filled[0]), int(filled[-1]) + 1)
    return EvaluatedScores(
        edges=tuple(edges[chosen.start : chosen.stop + 1].tolist()),
        reference=tuple(counts[0][chosen].tolist()),
        evaluated=tuple(counts[1][chosen].tolist()),
    )


def _counts(edges: Ints, scores: Floats) -> Ints:
    return np.bincount(bands(scores) // BAND_STEP, minlength=len(edges) - 1)
