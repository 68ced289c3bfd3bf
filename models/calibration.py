"""From a raw margin to a probability, by a table of straight lines.

Only comparing, adding and multiplying happen here, each in an operation of its own: a vectorised exponential's bits
change with the CPU. Nothing here fits the table; training does.
"""

import itertools
from typing import Self

import msgspec
import numpy as np

from models.policy import Floats


class Calibration(msgspec.Struct, frozen=True):
    """Knots of a strictly rising map from margins to probabilities; beyond the ends it is flat."""

    margins: tuple[float, ...]
    probabilities: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.margins) != len(self.probabilities) or len(self.margins) < 2:  # noqa: PLR2004 - a line has two ends
            raise ValueError("calibration needs as many probabilities as margins, and at least two")
        if not (_rises(self.margins) and _rises(self.probabilities)):
            raise ValueError("calibration: margins and probabilities must rise strictly from knot to knot")
        if not (self.probabilities[0] >= 0.0 and self.probabilities[-1] <= 1.0):
            raise ValueError("calibration: a probability is outside 0 to 1")


def _rises(values: tuple[float, ...]) -> bool:
    finite = all(float("-inf") < value < float("inf") for value in (values[0], values[-1]))
    return finite and all(left < right for left, right in itertools.pairwise(values))


class Calibrator:
    """A calibration laid out for numpy."""

    def __init__(self, margins: Floats, probabilities: Floats) -> None:
        """Take the knots, both of shape (k,); slopes are divided once, here."""
        self._margins = margins
        self._probabilities = probabilities
        self._slopes = np.diff(probabilities) / np.diff(margins)

    @classmethod
    def of(cls, calibration: Calibration) -> Self:
        """Lay out a manifest's calibration."""
        return cls(np.array(calibration.margins), np.array(calibration.probabilities))

    def probabilities(self, margins: Floats) -> Floats:
        """Map margins of shape (n,) to probabilities; NaN stays NaN."""
        inside = np.clip(margins, self._margins[0], self._margins[-1])
        left = np.clip(np.searchsorted(self._margins, inside, side="right") - 1, 0, len(self._slopes) - 1)
        climbed = np.multiply(np.subtract(inside, self._margins[left]), self._slopes[left])
        # The line's rounding must not overtake the knot that it ends at: the map stays monotone to the last bit.
        result: Floats = np.minimum(np.add(self._probabilities[left], climbed), self._probabilities[left + 1])
        return result
