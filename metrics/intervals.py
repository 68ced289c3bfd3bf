"""Intervals, and the sides of one."""

from enum import StrEnum
from typing import NamedTuple, Self

from metrics.errors import MeasureInputError


class Side(StrEnum):
    """On which sides an interval bounds a value."""

    BOTH = "both"
    """Below and above, each with half of alpha."""
    LOWER = "lower"
    """Below, with all of alpha."""
    UPPER = "upper"
    """Above, with all of alpha."""


class Interval(NamedTuple):
    """An interval of a figure, in its unit; `low` is at most `high`."""

    low: float
    high: float

    def scaled(self, factor: float) -> Self:
        """Return the interval in another unit, of which one has `factor` above 0."""
        return type(self)(self.low * factor, self.high * factor)

    def mirrored(self, around: float = 0.0) -> Self:
        """Return the interval of `around` less the figure; that of savings follows from that of a share of cost."""
        return type(self)(around - self.high, around - self.low)

    def hull(self, other: Self) -> Self:
        """Return the least interval that holds both."""
        return type(self)(min(self.low, other.low), max(self.high, other.high))


def check_alpha(alpha: float) -> None:
    """Check that a number can be the probability of ever missing.

    Raises:
        MeasureInputError: it is not between 0 and 1.
    """
    if not 0 < alpha < 1:
        raise MeasureInputError(f"alpha: {alpha:g} is not above 0 and below 1")
