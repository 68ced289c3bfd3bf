"""Contributions of features to raw margins, and whether they add up."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.policy import Floats

TOLERANCE = 1e-9
"""So far the sum of a row's contributions may be from its raw margin: more than rounding, less than any reason."""


class Contributions(NamedTuple):
    """What n rows' features add to their raw margins (log-odds before calibration).

    Attributes:
        margins: the raw margin of each row, shape (n,).
        scores: the calibrated probability of each row, shape (n,).
        base: the model's expected margin, shape (n,); the same for all rows.
        features: what each feature adds, shape (n, features), columns as in the manifest.
    """

    margins: Floats
    scores: Floats
    base: Floats
    features: Floats

    def are_exact(self) -> NDArray[np.bool_]:
        """Tell of which rows the base and all contributions sum to the margin; shape (n,)."""
        gaps = np.abs(self.base + self.features.sum(axis=1) - self.margins)
        return np.asarray(gaps <= TOLERANCE, dtype=np.bool_)  # NaN is not
