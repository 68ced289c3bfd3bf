"""ROC AUC and average precision of rows that count more than once or not at all, sorted once for many weightings.

A bootstrap by card asks for both a thousand times of the same scores: sorting them once makes a draw a few sums. With
all weights 1 the figures are those of `ranking`, which are scikit-learn's.
"""

import numpy as np

from metrics.columns import Flags, Floats, check_lengths, check_numbers


class WeightedRanking:
    """The order of n rows by score; rows of one score are one threshold."""

    def __init__(self, fraud: Flags, scores: Floats) -> None:
        """Sort rows of shape (n,) from the highest score to the lowest.

        Raises:
            MeasureInputError: the columns differ in length, or a score is NaN.
        """
        check_lengths(fraud=fraud, scores=scores)
        check_numbers("scores", scores)
        self._order = np.argsort(-scores, kind="stable")
        self._fraud = fraud.astype(np.float64)[self._order]
        ordered = scores[self._order]
        self._ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)[: len(ordered)])
        self._thresholds = ordered[self._ends]

    @property
    def thresholds(self) -> Floats:
        """The different scores, from the highest to the lowest, of shape (t,)."""
        return self._thresholds

    def counts(self, weights: Floats) -> tuple[Floats, Floats]:
        """Return the weights of frauds, and of genuine rows, at and above each threshold, both of shape (t,)."""
        ordered = weights[self._order]
        frauds = np.cumsum(ordered * self._fraud)[self._ends]
        return frauds, np.cumsum(ordered)[self._ends] - frauds

    def measure(self, weights: Floats) -> tuple[float, float]:
        """Return ROC AUC and average precision; both NaN unless there are frauds and genuine rows.

        Args:
            weights: how often each row counts, at least 0, of shape (n,).
        """
        frauds, genuine = self.counts(weights)
        if not len(frauds) or frauds[-1] <= 0 or genuine[-1] <= 0:
            return np.nan, np.nan
        caught, before = np.diff(frauds, prepend=0.0), np.concatenate(([0.0], frauds[:-1]))
        area = np.dot(np.diff(genuine, prepend=0.0), (frauds + before) / 2) / (frauds[-1] * genuine[-1])
        alerts = frauds + genuine
        precision = np.divide(frauds, alerts, out=np.zeros(len(alerts)), where=alerts > 0)
        return float(area), float(np.dot(caught, precision) / frauds[-1])
