"""What a window's transactions come to: how many, and their amounts.

Exact integers until the last step of each answer, as `frames` hands them over. Nothing here knows whose history it is.
"""

import numpy as np

from features.frames import PER_MAJOR, Flags, Floats
from features.store import Ints
from features.sums import Sums


def count(window: Sums) -> Floats:
    """Count the transactions.

    Formula: |window|.
    Edges: own included where the window is not delayed; 0 where it is empty.
    Source: Whitrow et al., Transaction aggregation as a strategy for credit card fraud detection, Data Mining and
        Knowledge Discovery 18 (2009) 30-55.
    """
    return window.count.astype(np.float64)


def amount_sum(window: Sums) -> Floats:
    """Add up the amounts, in major units.

    Formula: sum(amount(i)).
    Edges: own included where the window is not delayed; 0 where it is empty. Currencies are not converted.
    Source: Whitrow et al., Data Mining and Knowledge Discovery 18 (2009) 30-55.
    """
    total: Floats = window.total / PER_MAJOR
    return total


def mean(window: Sums) -> Floats:
    """Return the mean amount in major units.

    Formula: sum(amount(i)) / |window|.
    Edges: undefined where the window is empty.
    Source: Whitrow et al., Data Mining and Knowledge Discovery 18 (2009) 30-55.
    """
    return _quotient(window.total, window.count * PER_MAJOR, window.empty)


def amount_to_mean(window: Sums) -> Floats:
    """Return own amount by the mean.

    Formula: amount(own) * |window| / sum(amount(i)).
    Edges: undefined where the mean is, or is 0.
    Source: own amount against what Whitrow et al., Data Mining and Knowledge Discovery 18 (2009) 30-55, aggregate.
    """
    return _quotient(window.own_times_count(), window.total, window.empty | (window.total == 0))


def deviation(window: Sums) -> Floats:
    """Return the population standard deviation of the amounts in major units.

    Formula: sqrt(n sum(amount(i)^2) - sum(amount(i))^2) / n, n = |window|.
    Edges: 0 of one transaction; undefined where the window is empty.
    Source: the second moment beside the mean of Whitrow et al., Data Mining and Knowledge Discovery 18 (2009) 30-55.
    """
    return _quotient(np.sqrt(window.spread), window.count * PER_MAJOR, window.empty)


def largest(window: Sums) -> Floats:
    """Return the largest amount in major units.

    Formula: max(amount(i)).
    Edges: undefined where the window is empty.
    Source: the maximum beside the mean of Whitrow et al., Data Mining and Knowledge Discovery 18 (2009) 30-55.
    """
    peaks: Floats = window.largest / PER_MAJOR
    peaks[window.empty] = np.nan
    return peaks


def _quotient(above: Floats, below: Ints | Floats, undefined: Flags) -> Floats:
    """Divide, and leave NaN where that is undefined."""
    divisor = below.astype(np.float64)
    divisor[undefined] = np.nan
    quotient: Floats = above / divisor
    return quotient
