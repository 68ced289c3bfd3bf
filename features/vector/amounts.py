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
LARGE_ABOVE, LARGE_BELOW = 5, 2
"""An amount is large above 5 / 2 of the usual one: a compromised card's are several times as large."""


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


def amount_to_earlier_mean(window: Window) -> Floats:
    """Divide own amount by the mean of the others, which it does not raise.

    Formula: amount(own) * |others| / sum(amount(i)), over the others of the window.
    Edges: undefined if there is no other, or the mean is 0. Currencies are not converted.
    Source: own amount against what Whitrow et al., Data Mining and Knowledge Discovery 18 (2009) 30-55, aggregate.
    """
    return amount_to_mean(window.view(Window.without_own))


def amount_to_earlier_median(window: Window) -> Floats:
    """Divide own amount by the median of the others, on which a few large ones have no influence.

    Formula: amount(own) / median(amount(i)), over the others of the window; of an even number the mean of the two in
        the middle.
    Edges: undefined if there is no other, or the median is 0. Currencies are not converted.
    Source: the robust centre of Rousseeuw and Croux, Journal of the American Statistical Association 88 (1993)
        1273-1283, in place of the mean of Whitrow et al., Data Mining and Knowledge Discovery 18 (2009) 30-55.
    """
    frame, twice = window.frame, window.view(twice_the_median)
    return _quotient((2 * frame.own_amounts).astype(np.float64), twice, twice <= 0)


def large_amounts(window: Window, usual: Window) -> Floats:
    """Count the others that are large for the card.

    Formula: |{i : amount(i) > 2.5 m}|, over the others of the window, where m is the median of the others of 30 days,
        which end where the window ends.
    Edges: 0 if there is no other; own amount does not count.
    Source: as `amount_to_earlier_median`; thieves of a card number pay several times what its holder pays, in
        scenario 3 of Le Borgne et al., Fraud Detection Handbook, ULB (2022), Transaction data simulator.
    """
    frame, twice = window.frame, usual.view(twice_the_median)
    large = 2 * LARGE_BELOW * frame.amounts > frame.spread_out(LARGE_ABOVE * twice)
    return window.counted(window.others & large).astype(np.float64)


def largest_to_median(window: Window, usual: Window) -> Floats:
    """Divide the largest of the others by the card's usual amount.

    Formula: max(amount(i)) / m, over the others of the window, where m is the median of the others of 30 days, which
        end where the window ends.
    Edges: undefined if there is no other, or the median is 0.
    Source: as `large_amounts`.
    """
    frame, twice, others = window.frame, usual.view(twice_the_median), window.others
    largest = np.maximum.reduceat(np.where(others, frame.amounts, -1), frame.starts)
    return _quotient((2 * largest).astype(np.float64), twice, (twice <= 0) | (largest < 0))


def twice_the_median(window: Window) -> Ints:
    """Return the sum of the two amounts in the middle of the others, in units of `scale`, shape (n,); -1 without any.

    Of an odd number it is the middle one twice.
    """
    others = window.view(Window.without_own)
    counts, which = others.count, others.inside
    amounts = window.frame.amounts[which]
    if len(counts) == 1 and len(amounts):  # a long history is alone in its frame, and takes too long to sort
        both = [(len(amounts) - 1) // 2, len(amounts) // 2]
        alone: Ints = np.partition(amounts, both)[both].sum(keepdims=True)
        return alone
    number = window.frame.number[which]
    ordered = np.append(amounts[np.lexsort((amounts, number))], 0)
    starts = np.cumsum(counts) - counts
    middle = starts + np.maximum(counts - 1, 0) // 2
    twice: Ints = np.where(counts == 0, -1, ordered[middle] + ordered[starts + counts // 2])
    return twice


def _quotient(above: Floats, below: Ints | Floats, undefined: Flags) -> Floats:
    """Divide; NaN where `undefined`."""
    divisor = below.astype(np.float64)
    divisor[undefined] = np.nan
    quotient: Floats = above / divisor
    return quotient
