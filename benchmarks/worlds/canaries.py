"""Canaries whose truth is known: first declines by ratio, rollouts on a ladder, scores near one end, slow rows.

Declines come as the first of each card, ten an hour unless said otherwise.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import NamedTuple

import numpy as np

from guards.evidence import by_share, log_climb_evidence_of, log_fewer_evidence_of, log_more_evidence_of
from guards.first_payments import BAND_CLASSES, log_scores_evidence
from guards.ladder import Ladder, RolloutPhase, Situation, progress_on
from guards.records import DECLINED, REVIEWED, GuardedScore, Overrule, ScorePlace
from guards.report import breaches, evidence
from guards.specs import ClimbSpec, GuardKind, default_guards
from guards.state import GuardState
from models.decline_cap import DECLINE_CAP

_GUARDS = default_guards()
BOUND = _GUARDS[GuardKind.DECLINED].bound(2)
LADDER = Ladder.parse("1% 10min, 5% 1h, 25% 1h, 100%")
CLIMB = ClimbSpec((GuardKind.DECLINED,))
AN_HOUR = 10
"""First declines in an hour."""
_DAY_S, _HOUR_S, _LOOK_S = 86_400, 3_600, 600.0
_PAYMENTS_AT_ONCE = 50

Blocks = dict[tuple[int, int], tuple[int, int]]
"""First declines by hour and share, in units of 0.01 %: the canary's, and live's."""


def by_canary(share: float, ratio: float) -> float:
    """Return the probability that a first decline is the canary's, whose rate is `ratio` times live's."""
    return share * ratio / (share * ratio + 1 - share)


def clean(share: float, hours: int, rng: np.random.Generator) -> Blocks:
    """Return so many hours of first declines without a difference."""
    drawn = (int(rng.binomial(AN_HOUR, share)) for _ in range(hours))
    return {(hour, round(share * 10_000)): (own, AN_HOUR - own) for hour, own in enumerate(drawn)}


def _count(counts: Blocks, key: tuple[int, int], *, is_canary: bool) -> None:
    """Count a first decline in its hour, at its share."""
    own, live = counts.get(key, (0, 0))
    counts[key] = (own + is_canary, live + (not is_canary))


def until_breach(
    counts: Blocks,
    share: float,
    ratio: float,
    rng: np.random.Generator,
    side: Callable[[Blocks], float] = log_more_evidence_of,
) -> tuple[int, int]:
    """Draw first declines of a ratio until a side of the guard is breached; return those of the canary, and all.

    Those that `counts` has before are in neither.
    """
    begin, share_bp, own, total = len(counts), round(share * 10_000), 0, 0
    while side(counts) < math.log(BOUND):
        is_canary = bool(rng.random() < by_canary(share, ratio))
        _count(counts, (begin + total // AN_HOUR, share_bp), is_canary=is_canary)
        own, total = own + is_canary, total + 1
    return own, total


def firsts_until_climb(share: float, rng: np.random.Generator) -> int:
    """Return after how many of its first declines an equal canary has excluded that it has twice as many."""
    share_bp, own, live = round(share * 10_000), 0, 0
    while log_climb_evidence_of({share_bp: (own, live)}) < math.log(CLIMB.bound):
        is_canary = bool(rng.random() < share)
        own, live = own + is_canary, live + (not is_canary)
    return own


class Climb(NamedTuple):
    """How a rollout ended (`breached`, `top` or `waits`), after how many hours, and the largest share that it had."""

    end: str
    hours: float
    share_bp: int


class Traffic(NamedTuple):
    """Payments a second, and the part of them that is live's first decline of a card."""

    per_second: float
    part: float


def climbed(rng: np.random.Generator, ratio: float, traffic: Traffic, *, asks: bool = True, days: float = 4) -> Climb:
    """Simulate a rollout of a canary with so many times as many first declines as live.

    It is looked at after each first decline, and every ten minutes.

    Args:
        rng: of the draws.
        ratio: of the canary's rate of first declines to live's.
        traffic: of all cards.
        asks: whether a rung of 25 % or more asks for evidence.
        days: how long it is followed.
    """
    at_s, rung, since_s, blocks, enough = 0.0, 0, 0.0, Blocks(), not asks
    while at_s < days * _DAY_S:
        share_bp = LADDER.rungs[rung].share_bp
        share = share_bp / 10_000
        wait_s = float(rng.exponential(1 / (traffic.per_second * traffic.part * (share * ratio + 1 - share))))
        at_s += min(wait_s, _LOOK_S)
        if wait_s <= _LOOK_S:
            is_canary = bool(rng.random() < by_canary(share, ratio))
            _count(blocks, (int(at_s // _HOUR_S), share_bp), is_canary=is_canary)
            if max(log_more_evidence_of(blocks), log_fewer_evidence_of(blocks)) >= math.log(BOUND):
                return Climb("breached", at_s / _HOUR_S, share_bp)
            enough = not asks or log_climb_evidence_of(by_share(blocks)) >= math.log(CLIMB.bound)
        now_ms, decided = round(at_s * 1_000), int((at_s - since_s) * traffic.per_second * share)
        lacking = () if enough else ("evidence",)
        now = Situation(
            share_bp, round(since_s * 1_000), now_ms, now_ms, decided, climb_from_bp=CLIMB.from_bp, lacking=lacking
        )
        if progress_on(LADDER, now).phase is RolloutPhase.DUE:
            rung, since_s = rung + 1, at_s
            if rung == len(LADDER.rungs) - 1:
                return Climb("top", at_s / _HOUR_S, LADDER.rungs[rung].share_bp)
    return Climb("waits", at_s / _HOUR_S, LADDER.rungs[rung].share_bp)


def part_of(climbs: Iterable[Climb], end: str) -> float:
    """Return the part of rollouts that ended so."""
    found = [climb.end == end for climb in climbs]
    return sum(found) / len(found)


# --- scores, without labels


def classes_of(rng: np.random.Generator, payments: int, mean: float = 300, deviation: float = 80) -> list[int]:
    """Draw the bands of payments from a normal distribution, and count them by class."""
    bands = np.clip(rng.normal(mean, deviation, payments), 0, 999).astype(int) // 50
    return [int(number) for number in np.bincount(bands, minlength=BAND_CLASSES)]


def payments_until(rng: np.random.Generator, share: float, canary: tuple[float, float], most: int = 20_000) -> int:
    """Draw first payments until the guard on scores is breached; return how many, `most` if it is not.

    Args:
        rng: of the draws.
        share: of the canary.
        canary: the mean and the deviation of its bands; live's are 300 and 80.
        most: payments that are drawn at most.
    """
    own, live, guard = [0] * BAND_CLASSES, [0] * BAND_CLASSES, _GUARDS[GuardKind.SCORES]
    for at in range(0, most, _PAYMENTS_AT_ONCE):
        number = int(rng.binomial(_PAYMENTS_AT_ONCE, share))
        own = [before + more for before, more in zip(own, classes_of(rng, number, *canary), strict=True)]
        rest = classes_of(rng, _PAYMENTS_AT_ONCE - number)
        live = [before + more for before, more in zip(live, rest, strict=True)]
        if log_scores_evidence({round(share * 10_000): (own, live)}, guard.factor) >= math.log(guard.bound()):
            return at + _PAYMENTS_AT_ONCE
    return most


# --- a rule of its own

_REVISION, _DEPLOYMENT, _RULE = 1, "worlds", "rule:block-all"
_LIVE_DECLINES = 0.005


def ruled_scores(rng: np.random.Generator, share: float) -> Iterator[GuardedScore]:
    """Yield a payment of each card: live declines 0.5 %, and a rule beside the canary's model declines everything.

    The model itself approves, and the cap on declines turns half of the rule's declines into reviews.
    """
    for number in count():
        is_canary = bool(rng.random() < share)
        decision, overruled = "decline" if rng.random() < _LIVE_DECLINES else "approve", None
        if is_canary and rng.random() < 1 / 2:
            decision, overruled = REVIEWED, Overrule(DECLINE_CAP, "approve", DECLINED)
        elif is_canary:
            decision, overruled = DECLINED, Overrule(_RULE, "approve")
        yield GuardedScore(
            transaction_id=f"payment-{number}",
            card_id=f"card-{number}",
            decision=decision,
            decided_by="model",
            revision=_REVISION,
            epoch=0,
            source=ScorePlace(number),
            deployment=_DEPLOYMENT,
            arm="canary" if is_canary else "live",
            overruled=overruled,
        )


def declines_until_found(rng: np.random.Generator, share: float, most: int) -> float:
    """Return how many cards of the canary were declined until the guard on declines is breached by `ruled_scores`.

    Infinity if it is not within so many payments.
    """
    state = GuardState(_GUARDS, _DEPLOYMENT, {_REVISION: round(share * 10_000)})
    for number, score in zip(range(most), ruled_scores(rng, share), strict=False):
        state.count(0, [score], number + 1)
        if score.arm == "canary" and GuardKind.DECLINED in breaches(evidence(state)):
            return sum(canary for canary, _ in state.counts_of(GuardKind.DECLINED).values())
    return math.inf
