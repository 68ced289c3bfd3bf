"""The bounds of observations that are bet on, and the cells into which hypotheses about the ratio are cut.

The cells are narrower near 0, where rates of fraud and differences of losses lie: each is 40 % wider than the one
before, from a hundred-thousandth of the range on, and at most a twentieth of it. 0 is an end of a cell if it is
possible.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from metrics.columns import Floats, check_lengths, check_numbers
from metrics.errors import MeasureInputError

Range = tuple[float, float]
"""The least value and the largest."""

_NARROWEST, _WIDEST, _FACTOR = 1e-5, 0.05, 1.4
"""Of cells, in parts of the range."""
_HIGHEST_RATIO = 10.0
"""The end of the last cell where a ratio has no largest value, in units of the ratio of the bounds."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What numerators and denominators of observations can be; `nested` if no numerator exceeds its denominator.

    Make one by `of_mean`, `of_share` or `of_ratio`.
    """

    numerators: Range
    denominators: Range
    nested: bool = False

    def __post_init__(self) -> None:
        low, high = self.numerators
        least, most = self.denominators
        if not (-np.inf < low < high < np.inf and 0 <= least <= most < np.inf and most > 0):
            raise MeasureInputError(
                f"bounds: numerators {self.numerators}, denominators {self.denominators}; each pair must ascend and be "
                "finite, and denominators cannot be negative"
            )

    @classmethod
    def of_mean(cls, low: float, high: float) -> Self:
        """Return the bounds of values from `low` to `high`."""
        return cls((low, high), (1.0, 1.0))

    @classmethod
    def of_share(cls, most: float) -> Self:
        """Return those of parts and wholes with 0 <= part <= whole <= `most`."""
        return cls((0.0, most), (0.0, most), nested=True)

    @classmethod
    def of_ratio(cls, most_numerator: float, most_denominator: float) -> Self:
        """Return those of numerators and denominators from 0 to each one's most."""
        return cls((0.0, most_numerator), (0.0, most_denominator))

    @property
    def least(self) -> float:
        """The least ratio of means that is possible."""
        return self.numerators[0] / self.denominators[1]

    @property
    def largest(self) -> float:
        """The largest; infinite if there is none."""
        if self.nested:
            return 1.0
        return self.numerators[1] / self.denominators[0] if self.denominators[0] else np.inf

    @property
    def scale(self) -> float:
        """The range of the numerators."""
        return self.numerators[1] - self.numerators[0]

    def check(self, numerators: Floats, denominators: Floats) -> None:
        """Check that observations are within the bounds.

        Raises:
            MeasureInputError: they are not, or the columns differ in length.
        """
        check_lengths(numerators=numerators, denominators=denominators)
        check_numbers("numerators", numerators, *self.numerators)
        check_numbers("denominators", denominators, *self.denominators)
        if self.nested:
            check_numbers("denominators less their numerators", denominators - numerators, 0)

    def fall(self, hypotheses: Floats) -> Floats:
        """Return how far numerator - h x denominator can fall below 0, for each hypothesis h."""
        return hypotheses * self.denominators[1] - self.numerators[0]

    def rise(self, hypotheses: Floats) -> Floats:
        """Return how far numerator - h x denominator can rise above 0, for each hypothesis h."""
        return self.numerators[1] - hypotheses * self.denominators[1 if self.nested else 0]

    def estimate(self, numerators: float, denominators: float) -> float:
        """Return the ratio of sums over observations and an imagined one in the middle of the bounds."""
        return (numerators + sum(self.numerators) / 2) / (denominators + self.denominators[1])

    def cells(self) -> tuple[float, ...]:
        """Return the ends of cells from the least ratio to the largest, or to ten times that of the bounds."""
        unit = 1.0 if self.nested else self.scale / self.denominators[1]
        largest = min(self.largest, _HIGHEST_RATIO * unit)
        origin = min(max(0.0, self.least), largest)
        distances = _distances(_HIGHEST_RATIO) * unit
        below, above = origin - distances, origin + distances
        within = np.concatenate((below[below > self.least], above[above < largest]))
        return tuple(np.unique(np.concatenate((within, [self.least, origin, largest]))).tolist())


def _distances(farthest: float) -> Floats:
    """Return ascending distances up to `farthest`: geometric until their differences reach the widest cell."""
    turn = _WIDEST / (_FACTOR - 1)
    geometric = turn / _FACTOR ** np.arange(np.floor(np.log(turn / _NARROWEST) / np.log(_FACTOR)), 0, -1)
    return np.concatenate((geometric, np.arange(turn, farthest, _WIDEST)))
