"""Simulated bad events of a canary with known truth: clustered by card, as time goes on, and where a guard is breached.

A card pays at a rate of its own, and bad events come in episodes: a declined card tries again. Every effect is a ratio
of the canary's rate of episodes to the live model's, which is what a guard is to detect.
"""

import math
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fraudstream_client.arms import WHOLE_BP
from guards.evidence import CONCENTRATION, FEWER_FROM_START, log_evidence, log_gains, tail
from guards.specs import GuardKind

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

RATES: Mapping[GuardKind, float] = MappingProxyType(
    {
        GuardKind.REVIEWED: 0.02,
        GuardKind.DECLINED: 0.005,
        GuardKind.STOOD_IN: 0.00001,
        GuardKind.FRAUD_APPROVED: 0.0005,
    }
)
"""Episodes of the live model for each payment."""
REPEATS: Mapping[GuardKind, float] = MappingProxyType(
    {
        GuardKind.REVIEWED: 1.0,
        GuardKind.DECLINED: 2.0,
        GuardKind.STOOD_IN: 0.0,
        GuardKind.FRAUD_APPROVED: 1.0,
    }
)
"""Further bad events of an episode, in the mean; geometric."""
_REPEATED_WITHIN_DAYS = 0.02
_LABEL_DELAY_DAYS = 5.0
_NEAR = 7.0
_MANY = 4
_FRAILTY_SHAPE = 0.5
"""Cards differ: their rates are gamma distributed with this shape, so that one in five has 65 % of the events."""


class SimulatedCards(NamedTuple):
    """The cards that pay, and how long they are watched: `share_bp` is the canary's share, in units of 0.01 %."""

    cards: int = 20_000
    payments_a_day: float = 2.0
    days: float = 28.0
    share_bp: int = 1_000

    @property
    def share(self) -> float:
        """The canary's share as a fraction."""
        return self.share_bp / WHOLE_BP


class Scenario(NamedTuple):
    """A canary: by kind the ratio of its rate to the live model's (1 where absent), from a day on."""

    name: str
    ratios: Mapping[GuardKind, float]
    from_day: float = 0.0


class BadEvents(NamedTuple):
    """The bad events of one kind in the order in which a guard learns of them, each of shape (n,).

    Attributes:
        days: when.
        canary: whether the canary decided.
        first: whether it is the card's first.
    """

    days: Floats
    canary: Flags
    first: Flags


def bad_events(
    world: SimulatedCards, scenario: Scenario, kind: GuardKind, cards: tuple[Floats, Flags], rng: np.random.Generator
) -> BadEvents:
    """Draw the bad events of one kind; `cards` are the payments a day of each card and whether it is the canary's."""
    pays, is_canary = cards
    ratio = scenario.ratios.get(kind, 1.0)
    before = pays * RATES[kind] * scenario.from_day
    after = pays * RATES[kind] * np.where(is_canary, ratio, 1.0) * (world.days - scenario.from_day)
    early, late = (np.repeat(np.arange(world.cards), rng.poisson(expected)) for expected in (before, after))
    days = np.concatenate(
        (rng.uniform(0, scenario.from_day, len(early)), rng.uniform(scenario.from_day, world.days, len(late)))
    )
    numbers, days = _repeated(np.concatenate((early, late)), days, REPEATS[kind], rng)
    if kind is GuardKind.FRAUD_APPROVED:
        days = days + rng.exponential(_LABEL_DELAY_DAYS, len(days))
    order = np.argsort(days)
    order = order[days[order] < world.days]
    numbers = numbers[order]
    first = np.zeros(len(order), bool)
    first[np.unique(numbers, return_index=True)[1]] = True
    return BadEvents(days[order], is_canary[numbers], first)


def _repeated(numbers: Ints, days: Floats, mean: float, rng: np.random.Generator) -> tuple[Ints, Floats]:
    """Add each episode's further events, soon after its first."""
    further = rng.geometric(1 / (1 + mean), len(numbers)) - 1
    late = np.repeat(days, further) + rng.exponential(_REPEATED_WITHIN_DAYS, int(further.sum()))
    return np.concatenate((numbers, np.repeat(numbers, further))), np.concatenate((days, late))


def draw_cards(world: SimulatedCards, rng: np.random.Generator) -> tuple[Floats, Flags]:
    """Draw each card's payments a day, and whether it is the canary's."""
    pays = rng.gamma(_FRAILTY_SHAPE, world.payments_a_day / _FRAILTY_SHAPE, world.cards)
    return pays, rng.random(world.cards) < world.share


@cache
def least_canary(share: float, factor: float, alpha: float, most: int) -> Ints:
    """Return for 0 to `most` events the least number of the canary's that breaches the guard, of shape (most + 1,).

    Where not even all of them suffice it is one more than all. With one share E rises with the canary's number, so it
    is found by bisection; a simulation then compares numbers, instead of computing E at each event.
    """
    total = np.arange(most + 1)
    low, high = np.zeros(most + 1, np.int64), total + 1
    while (low < high).any():
        middle = (low + high) // 2
        tried = np.minimum(middle, total).astype(float)
        logs = log_evidence(tried[:, None], (total - tried)[:, None], np.array([share]), factor)
        breached = (logs >= math.log(1 / alpha)) | (middle > total)
        high, low = np.where(breached, middle, high), np.where(breached, low, middle + 1)
    return low


def first_breach(canary: Flags, least: Ints) -> int | None:
    """Return the index of the event at which a guard is breached; None if it never is."""
    breached = canary.cumsum() >= least[1 : len(canary) + 1]
    return int(breached.argmax()) if breached.any() else None


def late_breach(canary: Flags, blocks: Ints, share: float, bound: float, *, fewer: bool = False) -> int | None:
    """Return the index of the event at which a side of a guard is breached, by the mixture over starts; None if never.

    E is computed after each block, and after each event of a block before which it was not far below its bound, or
    which has many events of the arm that the side looks at.

    Args:
        canary: whether each event is the canary's, of shape (n,).
        blocks: the hour of each since the start, ascending.
        share: the canary's share.
        bound: the E of the breach.
        fewer: whether too few events are looked for.
    """
    own, part, from_start = (~canary, 1 - share, FEWER_FROM_START) if fewer else (canary, share, 0.0)
    (for_own,), (for_other,) = (gains.T for gains in log_gains(np.array([part]), 1.0))
    found, begins = np.unique(blocks, return_index=True)
    later = tail(found.astype(np.float64) + 1)
    weights = (1 - from_start) * -np.diff(later, prepend=1.0)
    weights[0] += from_start
    sums, ends, last = np.zeros((len(found), len(for_own))), [*begins[1:], len(own)], 0.0
    for at, (begin, end) in enumerate(zip(begins, ends, strict=True)):
        events = own[begin:end]
        is_near = last > math.log(bound) - _NEAR or events.sum() >= _MANY
        for stop in range(begin + 1, end + 1) if is_near else (end,):
            start = stop - 1 if is_near else begin
            count = int(own[start:stop].sum())
            sums[: at + 1] += count * for_own + (stop - start - count) * for_other
            last = _mixed(sums[: at + 1], weights[: at + 1], (1 - from_start) * float(later[at]))
            if last >= math.log(bound):
                return stop - 1
    return None


def _mixed(sums: Floats, weights: Floats, rest: float) -> float:
    highest = float(sums.max())
    by_start = np.exp(sums - highest).mean(axis=1)
    return float(np.logaddexp(highest + np.log(by_start @ weights), math.log(rest)))


def ratio_logs(canary: Flags, share: float) -> Floats:
    """Return log E of the sample ratio after each card, of shape (n,)."""
    count, total = canary.cumsum(), np.arange(1, len(canary) + 1)
    alphas = (CONCENTRATION * share, CONCENTRATION * (1 - share), CONCENTRATION)
    of_canary, of_live, of_all = (_log_rising(alpha, len(canary)) for alpha in alphas)
    unlikely = count * math.log(share) + (total - count) * math.log(1 - share)
    return np.asarray(of_canary[count] + of_live[total - count] - of_all[total] - unlikely)


@cache
def _log_rising(alpha: float, most: int) -> Floats:
    """Return log (alpha (alpha + 1) … (alpha + n - 1)) for n from 0 to `most`."""
    return np.array([math.lgamma(alpha + at) - math.lgamma(alpha) for at in range(most + 1)])
