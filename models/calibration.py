"""Map raw margins to probabilities by piecewise linear interpolation between knots.

The result must have the same bits on every CPU, so it uses comparisons, additions and multiplications alone, each a
separate numpy operation: the bits of a vectorised exponential differ between CPUs. Training fits the knots.
"""

import itertools
from enum import StrEnum
from typing import Self

import msgspec
import numpy as np

from models.policy import Floats


class CalibrationMethod(StrEnum):
    """How a calibration was fitted."""

    PLATT = "platt"
    """A sigmoid of the margin (Platt, 1999)."""
    BETA = "beta"
    """A beta map of the margin's sigmoid (Kull, Silva Filho and Flach, 2017): the two tails may differ."""
    ISOTONIC = "isotonic"
    """The means of blocks that rise (Zadrozny and Elkan, 2002), joined by lines between the blocks' centres."""


class CalibrationChoice(msgspec.Struct, frozen=True):
    """Why a method was taken: its log loss on payments that no method was fitted to was the lowest.

    Those payments are the last of the calibrate part, so neither the trees nor the thresholds have seen them. The
    method that was taken was then fitted to the whole part.

    Attributes:
        fitted_to: the payments of the part that all methods were fitted to.
        compared_on: the payments of the part that came after these, on which they were compared.
        frauds: the frauds among the latter.
        log_losses: the mean log loss there, in nats, by method.
    """

    fitted_to: int
    compared_on: int
    frauds: int
    log_losses: dict[CalibrationMethod, float]


class Calibration(msgspec.Struct, frozen=True, omit_defaults=True):
    """Knots of a strictly increasing map from margins to probabilities; it is constant outside the knots.

    `method` says how it was fitted, absent: by Platt's; `choice` why, where several were compared.
    """

    margins: tuple[float, ...]
    probabilities: tuple[float, ...]
    method: CalibrationMethod | None = None
    choice: CalibrationChoice | None = None

    def __post_init__(self) -> None:
        if len(self.margins) != len(self.probabilities) or len(self.margins) < 2:  # noqa: PLR2004 - a line needs two points
            raise ValueError("calibration: needs as many probabilities as margins, and at least two")
        if not (_strictly_increasing(self.margins) and _strictly_increasing(self.probabilities)):
            raise ValueError("calibration: margins and probabilities must increase strictly from knot to knot")
        if not (self.probabilities[0] >= 0.0 and self.probabilities[-1] <= 1.0):
            raise ValueError("calibration: a probability is outside 0 to 1")


def _strictly_increasing(values: tuple[float, ...]) -> bool:
    finite = all(float("-inf") < value < float("inf") for value in (values[0], values[-1]))
    return finite and all(left < right for left, right in itertools.pairwise(values))


class Calibrator:
    """A calibration as numpy arrays, with the slopes computed once."""

    def __init__(self, margins: Floats, probabilities: Floats) -> None:
        """Take the knots, both of shape (k,)."""
        self._margins, self._inner = margins, margins[1:-1]
        self._lowest, self._highest = margins[0], margins[-1]
        self._probabilities, self._next = probabilities, probabilities[1:]
        self._slopes = np.diff(probabilities) / np.diff(margins)

    @classmethod
    def of(cls, calibration: Calibration) -> Self:
        """Convert a manifest's calibration."""
        return cls(np.array(calibration.margins), np.array(calibration.probabilities))

    def probabilities(self, margins: Floats) -> Floats:
        """Map margins of shape (n,) to probabilities; NaN stays NaN.

        Of one margin the calls cost all: methods of arrays take a third of what numpy's functions of the same names do.
        """
        inside = margins.clip(self._lowest, self._highest)
        left = self._inner.searchsorted(inside, "right")
        rise = np.multiply(np.subtract(inside, self._margins.take(left)), self._slopes.take(left))
        # Rounding must not carry a value past the next knot: the map stays monotone bit for bit.
        result: Floats = np.minimum(np.add(self._probabilities.take(left), rise), self._next.take(left))
        return result
