"""Compare a forest of the kernel with LightGBM, to the bit, on rows at the edges of its splits."""

from collections.abc import Callable

import numpy as np

from models.artifact import same_bits
from models.policy import Floats
from models.tree_kernel import LANES, ZERO_THRESHOLD, Forest

ROWS = 256
_SEED = 20_260_101

_MAGNITUDES = np.array(
    [
        *(0.0, 5e-324, 1e-310, float(np.finfo(np.float64).tiny), 1e-35, ZERO_THRESHOLD),
        *(float(np.nextafter(ZERO_THRESHOLD, 0)), float(np.nextafter(ZERO_THRESHOLD, 1))),
        *(1.0, float(np.finfo(np.float64).max), np.inf),
    ]
)
SPECIAL = np.concatenate((_MAGNITUDES, -_MAGNITUDES, [np.nan] * 4))
"""Zeros, denormals, LightGBM's zero threshold and its neighbours, the largest values, infinities and NaN."""


def edge_rows(forest: Forest, count: int, random: np.random.Generator) -> Floats:
    """Return rows of shape (count, width): thresholds, their neighbours by one bit, and special values.

    The first rows are NaN, 0 and the infinities throughout.
    """
    rows = random.choice(SPECIAL, (count, forest.width))
    for place, thresholds in forest.thresholds():
        with np.errstate(over="ignore", under="ignore"):
            above, below = np.nextafter(thresholds, np.inf), np.nextafter(thresholds, -np.inf)
        rows[:, place] = random.choice(np.concatenate((thresholds, above, below, SPECIAL)), count)
    whole = np.array([np.nan, 0.0, np.inf, -np.inf])[:count]
    rows[: len(whole)] = whole[:, np.newaxis]
    return rows


def agrees(forest: Forest, margins: Callable[[Floats], Floats]) -> bool:
    """Tell whether the kernel's margins have the bits of LightGBM's on edge rows, in large batches and small ones."""
    rows = edge_rows(forest, ROWS, np.random.default_rng(_SEED))
    expected = margins(rows)
    small = [forest.margins(rows[at : at + LANES - 1]) for at in range(0, ROWS, LANES - 1)]
    return same_bits(forest.margins(rows), expected) and same_bits(np.concatenate(small), expected)
