"""Where the bins of a model's features, score and decisions lie in one row of counts."""

from typing import NamedTuple, Self

import numpy as np

from metrics.columns import Floats, Ints
from models.artifact import Manifest
from models.categories import NO_CATEGORIES, Categories
from models.training_reference import bins_of

SCORE, ALERTS, DECLINES = "(score)", "(alerts)", "(declines)"
"""Quantities beside the features, whose names have no parentheses."""
REST = " (rest)"
"""Stands behind the name of a feature for its values other than the most frequent one."""
DECISIONS = 3
_STEPS = (1.0, 2.0, 5.0)
_POWERS = range(-2, 7)
GENERAL_EDGES = (-1.0, 0.0, *(round(step * 10.0**power, 2) for power in _POWERS for step in _STEPS))
"""Edges where nothing is known of a feature: 1, 2, 5 of each power of ten from 0.01 to 5,000,000."""
SCORE_EDGES = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
"""Likewise for a score."""


class Layout(NamedTuple):
    """The bins of one model.

    Attributes:
        names: of the features, in the order of the vector.
        edges: of each feature, and of the score behind them: those of the model's reference, or general ones.
        thresholds: the scores from which the model wants a payment reviewed, and declined.
        categories: the features whose bins are of the model's numbers.
    """

    names: tuple[str, ...]
    edges: tuple[tuple[float, ...], ...]
    thresholds: tuple[float, float]
    categories: Categories = NO_CATEGORIES

    @classmethod
    def of(cls, manifest: Manifest) -> Self:
        """Return the layout of a model."""
        names, policy, found = manifest.feature_names, manifest.policy, manifest.reference
        categories = Categories.of(manifest.categories, names)
        thresholds = (policy.review_at, policy.decline_at)
        if found is None:
            return cls(names, (*(GENERAL_EDGES for _ in names), SCORE_EDGES), thresholds, categories)
        return cls(names, (*(one.edges for one in found.features), found.score.edges), thresholds, categories)

    @property
    def widths(self) -> tuple[int, ...]:
        """The number of bins of each feature, of the score, and of the decisions."""
        return (*(len(one) + 2 for one in self.edges), DECISIONS)

    @property
    def begins(self) -> Ints:
        """Where the bins of each quantity begin, and where the last ones end, of shape (quantities + 1,)."""
        return np.concatenate(([0], np.cumsum(self.widths)))

    @property
    def width(self) -> int:
        """The number of all bins."""
        return sum(self.widths)

    def feature_bins(self, matrix: Floats) -> Ints:
        """Return the place of each value of vectors of shape (n, features) among all bins, of the same shape."""
        begins, matrix = self.begins, self.categories.as_numbers(matrix)
        columns = [bins_of(matrix[:, at], self.edges[at]) + begins[at] for at in range(len(self.names))]
        return np.column_stack(columns) if columns else np.empty((len(matrix), 0), np.int64)

    def score_bins(self, scores: Floats) -> Ints:
        """Return the place of each score among all bins, of shape (n,)."""
        return np.asarray(bins_of(scores, self.edges[-1]) + self.begins[-3])

    @property
    def decision_begin(self) -> int:
        """Where the bins of the decisions begin: approved, reviewed, declined."""
        return int(self.begins[-2])
