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
Counts = Mapping[int, tuple[int, ...]]
"""First bad events by the canary's share, in units of 0.01 %, at the time of each event: (canary's, live model's).

Of a split, by the share of all its arms, which stays as it is: those of each arm in the order of the arms, live's last.
"""

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
    return _log_mean(canary @ for_canary.T + live @ for_live.T)


def _log_mean(logs: Floats) -> Floats:
    """Return the logarithm of the mean over the ratios, which are the last axis."""
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


def log_arm_evidence(counts: Sequence[int], shares_bp: Sequence[int], factor: float = 1.0) -> list[float]:
    """Return for each arm of a split log E that its rate of bad events is more than `factor` times the live model's.

    Of the events of one arm and of live, the share that is the arm's if both are alike is that of its cards among the
    cards of both; so each arm is tested like a canary beside live, and the other arms do not matter.

    Args:
        counts: first bad events of each arm, live's last.
        shares_bp: the share of each arm, live's last, in units of 0.01 %; with 0 left to live, nothing can be said.
        factor: the ratio that is tolerated, at least 1 and below 20.
    """
    (*own, live), (*shares, left) = counts, shares_bp
    if not left:
        return [0.0] * len(own)
    for_arm, for_live = log_gains(np.array([share / (share + left) for share in shares]), factor)
    found: list[float] = _log_mean((np.array(own, float) * for_arm + live * for_live).T).tolist()
    return found


def log_split_ratio_evidence(counts: Sequence[int], shares_bp: Sequence[int]) -> float:
    """Return log E that cards are not divided among the arms of a split as their shares say, live's last.

    A card in live with nothing left to it cannot be: infinity.
    """
    if not shares_bp[-1]:
        return math.inf if counts[-1] else log_split_ratio_evidence(counts[:-1], shares_bp[:-1])
    return log_ratio_evidence(counts, [share / sum(shares_bp) for share in shares_bp])


def log_ratio_evidence_of(counts: Counts) -> float:
    """Return log E of the sample ratio over all shares: the product of the tests under each share."""
    return math.fsum(
        log_ratio_evidence(arms, (share_bp / WHOLE_BP, 1 - share_bp / WHOLE_BP)) for share_bp, arms in counts.items()
    )
