"""A promise, the world in which it is measured, and whether so many runs are compatible with it.

A run of a world gives one value for each of its promises. Whether a promise is broken is decided by the exact
probability of such a result if the promise were just kept, since a normal approximation of three standard errors
accuses wrongly where few runs meet a small probability.
"""

import math
import zlib
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from scipy.special import bdtrc

from metrics.columns import Floats

BEYOND = 0.00135
"""A promise is broken if a result that speaks so much against it is less probable: beyond three standard errors."""
_STANDARD_ERRORS = 3.0


class Bound(StrEnum):
    """How the values of runs are compared with the promised figure."""

    AT_MOST = "at most"
    """The value of a run is 1 if something happened, else 0; it happens with at most this probability."""
    AT_LEAST = "at least"
    """Likewise, with at least this probability."""
    MEDIAN = "median at most"
    """The median of the values is at most the figure; infinity where something was not found."""
    UNBIASED = "mean"
    """The values are errors, whose mean is the figure."""
    NONE = "none"
    """Nothing is promised, and the page says so: the value of a run is 1 if something happened, else 0."""


class Promise(NamedTuple):
    """What is promised of a world, the figure, and the page of `docs/reference` that promises it."""

    what: str
    bound: Bound
    figure: float
    page: str

    @property
    def is_chance(self) -> bool:
        """Whether the figure is a probability."""
        return self.bound in {Bound.AT_MOST, Bound.AT_LEAST, Bound.NONE}


class World(NamedTuple):
    """A world with known truth.

    Attributes:
        name: of the world.
        part: of the product that is looked at.
        peculiar: what is peculiar about it, in one line.
        promises: what is looked at.
        runs: how many are drawn for one seed, unless stated otherwise.
        draw: draws one run, and returns a value for each promise.
    """

    name: str
    part: str
    peculiar: str
    promises: tuple[Promise, ...]
    runs: int
    draw: Callable[[np.random.Generator], Sequence[float]]


class Finding(NamedTuple):
    """What was measured of one promise: the figure, its Monte Carlo standard error, and whether the promise is kept."""

    world: World
    promise: Promise
    runs: int
    measured: float
    error: float
    kept: bool


def random_of(seed: int, world: World, run: int) -> np.random.Generator:
    """Return the generator of one run; a world's runs depend on its name, not on which worlds are drawn beside it."""
    return np.random.default_rng((seed, zlib.crc32(world.name.encode()), run))


def finding(world: World, promise: Promise, values: Floats) -> Finding:
    """Compare the values of all runs, of shape (n,), n at least 1, with a promise."""
    measured, error = _measured(promise, values)
    return Finding(world, promise, len(values), measured, error, _is_kept(promise, values, measured, error))


def _measured(promise: Promise, values: Floats) -> tuple[float, float]:
    """Return the figure and its standard error; that of a probability is positive without any event, too."""
    count = len(values)
    if promise.is_chance:
        part = (float(values.sum()) + 1) / (count + 2)
        return float(values.mean()), math.sqrt(part * (1 - part) / count)
    if promise.bound is Bound.MEDIAN:
        ascending, half = np.sort(values), math.sqrt(count) / 2
        low, high = (ascending[min(max(round(count / 2 + by), 0), count - 1)] for by in (-half, half))
        return float(np.quantile(values, 0.5, method="inverted_cdf")), float(high - low) / 2 if low < high else 0.0
    return float(values.mean()), float(values.std(ddof=1)) / math.sqrt(count) if count > 1 else math.inf


def _is_kept(promise: Promise, values: Floats, measured: float, error: float) -> bool:
    match promise.bound:
        case Bound.AT_MOST:
            return at_least(int(values.sum()), len(values), promise.figure) >= BEYOND
        case Bound.AT_LEAST:
            return at_least(int((1 - values).sum()), len(values), 1 - promise.figure) >= BEYOND
        case Bound.MEDIAN:
            return at_least(int((values > promise.figure).sum()), len(values), 0.5) >= BEYOND
        case Bound.UNBIASED:
            return abs(measured - promise.figure) <= _STANDARD_ERRORS * error
        case Bound.NONE:
            return True


def at_least(events: int, runs: int, chance: float) -> float:
    """Return the probability of so many events or more among independent runs."""
    if events <= 0 or chance >= 1:
        return 1.0
    if chance <= 0:
        return 0.0
    return float(bdtrc(events - 1, runs, chance))
