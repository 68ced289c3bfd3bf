"""Aggregates of amounts: count, sum, mean, maximum and deviation, and two signs of card testing.

Card testing shows as the same amount repeated, or as a small amount followed by a large one. Sums are exact integers
until the last step of each answer, see `features.history.frames`.
"""

import numpy as np

from features.history import records
from features.history.frames import PER_MAJOR, Flags, Floats, Window, WindowSums
from features.history.store import Ints

LEAST = PER_MAJOR // 100
"""0.01 major units: a zero amount, which only verifies the account, counts as that."""
LARGER_THAN_ANY = np.int64(1 << 62)


def count(window: WindowSums) -> Floats:
    """Count the transactions.

    Formula: |window|.
    Edges: own included if the window is not delayed; 0 if it is empty.
    Source: Whitrow et al., Transaction aggregation as a strategy for credit card fraud detection, Data Mining and
        Knowledge Discovery 18 (2009) 30-55.
    """
    return window.count.astype(np.float64)


def amount_sum(window: WindowSums) -> Floats:
    """Add up the amounts, in major units.

    Formula: sum(amount(i)).
    Edges: own included if the window is not delayed; 0 if it is empty. Currencies are not converted.
    Source: Whitrow et al., Data Mining and Knowledge Discovery 18 (2009) 30-55.
    """
    total: Floats = window.total / PER_MAJOR
    return total


def mean(window: WindowSums) -> Floats:
    """Return the mean amount in major units.

    Formula: sum(amount(i)) / |window|.
    Edges: undefined if the window is empty.
    Source: Whitrow et al., Data Mining and Knowledge Discovery 18 (2009) 30-55.
    """
    return _quotient(window.total, window.count * PER_MAJOR, window.empty)


def amount_to_mean(window: WindowSums) -> Floats:
    """Divide own amount by the mean.

    Formula: amount(own) * |window| / sum(amount(i)).
    Edges: undefined if the mean is undefined or 0.
    Source: own amount against what Whitrow et al., Data Mining and Knowledge Discovery 18 (2009) 30-55, aggregate.
    """
    return _quotient(window.own_times_count(), window.total, window.empty | (window.total == 0))


def deviation(window: WindowSums) -> Floats:
    """Return the population standard deviation of the amounts in major units.

    Formula: sqrt(n sum(amount(i)^2) - sum(amount(i))^2) / n, n = |window|.
    Edges: 0 for one transaction; undefined if the window is empty.
    Source: the second moment beside the mean of Whitrow et al., Data Mining and Knowledge Discovery 18 (2009) 30-55.
    """
    return _quotient(np.sqrt(window.spread), window.count * PER_MAJOR, window.empty)


def largest(window: WindowSums) -> Floats:
    """Return the largest amount in major units.

    Formula: max(amount(i)).
    Edges: undefined if the window is empty.
    Source: the maximum beside the mean of Whitrow et al., Data Mining and Knowledge Discovery 18 (2009) 30-55.
    """
    peaks: Floats = window.largest / PER_MAJOR
    peaks[window.empty] = np.nan
    return peaks


def amount_repeated(window: Window) -> Floats:
    """Count the other transactions of own amount and currency.

    Formula: |{i : amount(i) = amount(own) and currency(i) = currency(own)}|, over the others of the window.
    Edges: 0 if there is no other; amounts are compared in minor units, so 1.00 and 1.01 differ.
    Source: cards tested by a script, which seldom varies the amount: OWASP Automated Threats, OAT-001 Carding.
    """
    frame = window.frame
    same = (
        window.others
        & (frame.minor == frame.of_own(frame.minor))
        & ((frame.trait_differences & records.CURRENCY.mask) == 0)
    )
    return window.counted(same).astype(np.float64)


def amount_to_smallest(window: Window) -> Floats:
    """Divide own amount by the smallest of the others: card testing is a small payment before a large one.

    Formula: amount(own) / max(0.01, min(amount(i))), over the others of the window, in major units.
    Edges: undefined if there is no other. A zero amount, which verifies an account, counts as 0.01. Currencies are not
        converted.
    Source: small payments that verify a stolen card before it is used: OWASP Automated Threats, OAT-001 Carding and
        OAT-012 Cashing Out.
    """
    frame = window.frame
    amounts = frame.amounts.copy()
    amounts[~window.others] = LARGER_THAN_ANY
    least = np.minimum.reduceat(amounts, frame.starts)
    alone = least == LARGER_THAN_ANY
    least[alone] = 0
    ratio: Floats = (frame.own_amounts * frame.scale).astype(np.float64) / np.maximum(least * frame.scale, LEAST)
    ratio[alone] = np.nan
    return ratio


def _quotient(above: Floats, below: Ints | Floats, undefined: Flags) -> Floats:
    """Divide; NaN where `undefined`."""
    divisor = below.astype(np.float64)
    divisor[undefined] = np.nan
    quotient: Floats = above / divisor
    return quotient
