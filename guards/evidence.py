"""Evidence against a canary that may be looked at after every event: E-values on counts of first bad events.

Each returns log E. Under no difference the mean of E is at most 1 at any time, so by Ville's inequality E ever reaches
1/alpha with a probability of at most alpha: a guard may look as often as it likes. Formulas and simulated figures are
in docs/reference/guards.md.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from guards.shares import WHOLE_BP

Floats = NDArray[np.float64]
Counts = Mapping[int, tuple[int, int]]
"""First bad events by the canary's share, in units of 0.01 %, at the time of each event: (canary's, live model's)."""

LARGEST_RATIO = 20.0
RATIOS = 40
"""The grid of rate ratios that a guard averages over goes from the tolerated factor to 20, in 40 logarithmic steps."""
CONCENTRATION = 100.0
"""The Dirichlet prior of the sample-ratio test: this many imagined cards, divided as the shares say."""


def log_evidence(canary: Floats, live: Floats, shares: Floats, factor: float = 1.0) -> Floats:
    """Return log E that the canary's rate of bad events is more than `factor` times the live model's.

    E is the mean over a grid of ratios theta of the product over events of Bernoulli(p(theta)) / Bernoulli(p(factor));
    p(theta) = share theta / (share theta + 1 - share) is the probability that a first bad event is the canary's.
    One-sided: E does not rise for a canary that is better.

    Args:
        canary: numbers of the canary's events, of shape (..., k) for k shares.
        live: numbers of the live model's events, of the same shape.
        shares: the canary's shares, above 0 and below 1, of shape (k,).
        factor: the ratio that is tolerated, at least 1 and below 20.

    Returns:
        log E, of shape (...).
    """
    for_canary, for_live = log_gains(shares, factor)
    logs = canary @ for_canary.T + live @ for_live.T
    highest = logs.max(axis=-1)
    means = np.exp(logs - highest[..., None]).mean(axis=-1)
    return np.asarray(highest + np.log(means))


def log_gains(shares: Floats, factor: float) -> tuple[Floats, Floats]:
    """Return what a canary's and a live model's event add to the logarithm, for each ratio and share: (40, k) each."""
    ratios = np.geomspace(factor, LARGEST_RATIO, RATIOS)[:, None]
    tolerated = shares * factor + 1 - shares
    supposed = shares * ratios + 1 - shares
    return np.log(ratios / factor * tolerated / supposed), np.log(tolerated / supposed)


def log_evidence_of(counts: Counts, factor: float = 1.0) -> float:
    """Return `log_evidence` of one guard's counts; 0, which is E = 1, if nothing was counted."""
    if not counts:
        return 0.0
    shares = np.array([share_bp / WHOLE_BP for share_bp in sorted(counts)])
    canary, live = np.array([counts[share_bp] for share_bp in sorted(counts)], float).T
    return float(log_evidence(canary, live, shares, factor))


def log_ratio_evidence(counts: Sequence[int], shares: Sequence[float]) -> float:
    """Return log E that cards are not divided among arms as the shares say: a Dirichlet mixture of multinomials.

    This is the sample-ratio test of Lindon and Malek (arXiv 2011.03567), in closed form: multiplying, card by card, by
    (a_i / sum(a)) / share_i and raising a_i by 1, from a = 100 x shares, gives the same.

    Args:
        counts: the cards of each arm, each card once.
        shares: the share of each arm; they add up to 1.
    """
    total = math.lgamma(CONCENTRATION) - math.lgamma(CONCENTRATION + sum(counts))
    return total + math.fsum(
        math.lgamma(CONCENTRATION * share + count) - math.lgamma(CONCENTRATION * share) - count * math.log(share)
        for count, share in zip(counts, shares, strict=True)
    )


def log_ratio_evidence_of(counts: Counts) -> float:
    """Return log E of the sample ratio over all shares: the product of the tests under each share."""
    return math.fsum(
        log_ratio_evidence(arms, (share_bp / WHOLE_BP, 1 - share_bp / WHOLE_BP)) for share_bp, arms in counts.items()
    )
