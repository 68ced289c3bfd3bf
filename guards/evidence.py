"""Evidence about a canary that may be looked at after every event: E-values on counts of first bad events.

Each returns log E. Under no difference the mean of E is at most 1 at any time, so by Ville's inequality E ever reaches
1/alpha with a probability of at most alpha: a guard may look as often as it likes. Formulas and simulated figures are
in docs/reference/guards.md.
"""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fraudstream_client.arms import WHOLE_BP

Floats = NDArray[np.float64]
Counts = Mapping[int, tuple[int, ...]]
"""First bad events by the canary's share, in units of 0.01 %, at the time of each event: (canary's, live model's).

Of a split, by the share of all its arms, which stays as it is: those of each arm in the order of the arms, live's last.
"""
BlockCounts = Mapping[tuple[int, int], tuple[int, ...]]
"""First bad events as `Counts`, by block of time, counted from the start, and share."""

LARGEST_RATIO = 20.0
RATIOS = 40
"""The grid of rate ratios that a guard averages over goes from the tolerated factor to 20, in 40 logarithmic steps."""
CONCENTRATION = 100.0
"""The Dirichlet prior of the sample-ratio test: this many imagined cards, divided as the shares say."""
FEWER_FROM_START = 0.8
"""The weight of a change at the start in the test for too few events. A model that never declines does so from its
start, as where a feature of it is always undefined; a change that comes later has the rest."""
CLIMB_RATIO = 2.0
"""Evidence to climb has to exclude a canary with at least so many times as many bad events."""
_REMEMBERED = 256
"""So many results are remembered: a guard looks many times a second, and few of its counts are others than before."""
_TAIL = 20
"""The weight of later starts falls as 1 / ln(20 + block): slowly, so that a change after weeks is still seen soon."""


def log_evidence(canary: Floats, live: Floats, shares: Floats, factor: float = 1.0) -> Floats:
    """Return log E that the canary's rate of bad events has been more than `factor` times the live model's all along.

    E is the mean over a grid of ratios theta of the product over events of Bernoulli(p(theta)) / Bernoulli(p(factor));
    p(theta) = share theta / (share theta + 1 - share) is the probability that a first bad event is the canary's.
    One-sided: E does not rise for a canary with fewer.

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
    return _remembered_gains(tuple(shares.tolist()), factor)


@lru_cache(maxsize=_REMEMBERED)
def _remembered_gains(shares: tuple[float, ...], factor: float) -> tuple[Floats, Floats]:
    gains = _gains(np.array(shares), np.geomspace(factor, LARGEST_RATIO, RATIOS), factor)
    for each in gains:
        each.setflags(write=False)
    return gains


def _gains(shares: Floats, ratios: Floats, factor: float) -> tuple[Floats, Floats]:
    tolerated = shares * factor + 1 - shares
    supposed = shares * ratios[:, None] + 1 - shares
    return np.log(ratios[:, None] / factor * tolerated / supposed), np.log(tolerated / supposed)


def tail(block: Floats | float) -> Floats:
    """Return the weight of all starts from a block on: 1 from block 0, and ever less."""
    return np.asarray(math.log(_TAIL) / np.log(np.asarray(block) + _TAIL))


def log_late_evidence(
    blocks: Sequence[int], by_block: tuple[Floats, Floats], shares: Floats, factor: float = 1.0, from_start: float = 0.0
) -> float:
    """Return log E that from some block on the canary's rate of bad events has been above `factor` times live's.

    It is the mean of `log_evidence` over the starts, those before the last event weighted by `tail(b) - tail(b + 1)`,
    and later ones, which no event has told of yet, with E = 1. Still a martingale from 1 without a difference, and a
    function of the counts alone.

    Args:
        blocks: the blocks that have events, ascending, of length n.
        by_block: the canary's and the live model's events, of shape (n, k) each.
        shares: as of `log_evidence`, of shape (k,).
        factor: likewise.
        from_start: a further weight of the start, by which the others are lowered.
    """
    if not len(blocks):
        return 0.0
    (for_canary, for_live), (canary, live) = log_gains(shares, factor), by_block
    later = tail(np.array(blocks, float) + 1)
    weights = (1 - from_start) * -np.diff(later, prepend=1.0)
    weights[0] += from_start
    since = np.cumsum((canary @ for_canary.T + live @ for_live.T)[::-1], axis=0)[::-1]
    rest = math.log((1 - from_start) * later[-1])
    return float(np.logaddexp.reduce([*(np.log(weights) + _log_mean(since)), rest]))


def log_evidence_of(counts: Counts, factor: float = 1.0) -> float:
    """Return `log_evidence` of one guard's counts; 0, which is E = 1, if nothing was counted."""
    if not counts:
        return 0.0
    shares = np.array([share_bp / WHOLE_BP for share_bp in sorted(counts)])
    canary, live = np.array([counts[share_bp] for share_bp in sorted(counts)], float).T
    return float(log_evidence(canary, live, shares, factor))


def log_more_evidence_of(counts: BlockCounts, factor: float = 1.0) -> float:
    """Return log E that from some block on the canary has had more than `factor` times as many bad events as live."""
    return _late_evidence_of(tuple(counts.items()), factor, fewer=False)


def log_fewer_evidence_of(counts: BlockCounts, factor: float = 1.0) -> float:
    """Return log E that from some block on live has had more than `factor` times as many bad events as the canary.

    It is the same test with the arms exchanged.
    """
    return _late_evidence_of(tuple(counts.items()), factor, fewer=True)


@lru_cache(maxsize=_REMEMBERED)
def _late_evidence_of(
    counts: tuple[tuple[tuple[int, int], tuple[int, ...]], ...], factor: float, *, fewer: bool
) -> float:
    blocks, (canary, live), shares = _by_block(dict(counts))
    if fewer:
        return log_late_evidence(blocks, (live, canary), 1 - shares, factor, FEWER_FROM_START)
    return log_late_evidence(blocks, (canary, live), shares, factor)


def log_climb_evidence_of(counts: Counts, ratio: float = CLIMB_RATIO) -> float:
    """Return log E that the canary has had fewer than `ratio` times as many bad events as live: a test the other way.

    Where it has at least so many times as many, the mean of E is at most 1.
    """
    if not counts:
        return 0.0
    shares = np.array([share_bp / WHOLE_BP for share_bp in sorted(counts)])
    canary, live = np.array([counts[share_bp] for share_bp in sorted(counts)], float).T
    return float(log_climb_evidence(canary, live, shares, ratio))


def log_climb_evidence(canary: Floats, live: Floats, shares: Floats, ratio: float = CLIMB_RATIO) -> Floats:
    """Return log E that the canary's rate of bad events is below `ratio` times the live model's; as `log_evidence`.

    The mean is over 39 ratios from 1/20 up to, not including, `ratio`.
    """
    for_canary, for_live = _gains(shares, np.geomspace(1 / LARGEST_RATIO, ratio, RATIOS)[:-1], ratio)
    return _log_mean(canary @ for_canary.T + live @ for_live.T)


def by_share(counts: BlockCounts) -> Counts:
    """Return counts by share, over all blocks."""
    sums: dict[int, tuple[int, ...]] = {}
    for (_, share_bp), arms in sorted(counts.items()):
        sums[share_bp] = tuple(map(sum, zip(sums.get(share_bp, (0,) * len(arms)), arms, strict=True)))
    return dict(sorted(sums.items()))


def _by_block(counts: BlockCounts) -> tuple[list[int], tuple[Floats, Floats], Floats]:
    """Return the blocks, the canary's and the live model's events by block and share, and the shares."""
    blocks = {block: at for at, block in enumerate(sorted({block for block, _ in counts}))}
    shares_bp = {share_bp: at for at, share_bp in enumerate(sorted({share_bp for _, share_bp in counts}))}
    table = np.zeros((2, len(blocks), len(shares_bp)))
    for (block, share_bp), arms in counts.items():
        table[:, blocks[block], shares_bp[share_bp]] = arms
    return list(blocks), (table[0], table[1]), np.array(list(shares_bp), float) / WHOLE_BP


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
