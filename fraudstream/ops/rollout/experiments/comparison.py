"""Which arm loses less money per card, looked at all the time: one sequence for each pair of arms, and the winner.

Of m arms, each pair has alpha / (m - 1). An arm wins if it loses less than every arm of another model. Whoever wins
without being best has been found better than the best arm, and that arm is in m - 1 pairs: so a winner that is none is
ever named with a probability of at most alpha, whichever pairs are looked at beside (as in multiple comparisons with
the best: Hsu, 1984), and so do the intervals of one arm beside all others miss.

The difference is that over all cards that are final now, which appear in the order of how often they pay; a later look
asks again for all of them, and may take a winner back.

Declines that nobody learned the truth of are bounded both ways: the lower end of a difference takes the first arm at
its least loss and the second at its largest, the upper end the other way round.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from fraudstream.ops.rollout.experiments.cards import CardLosses
from fraudstream.ops.rollout.experiments.terms import ExperimentTerms
from fraudstream_client.arms import LIVE
from guards.shares import ArmShare
from metrics.arms import ArmsPlan
from metrics.columns import exact_sum
from metrics.intervals import Interval, Side


class ArmLoss(NamedTuple):
    """The final cards of an arm, and their mean loss in minor units, capped, at least and at most; None without cards.

    `capped` counts the cards above the cap, `beyond_minor` is what was cut off of them.
    """

    cards: int
    low: float | None
    high: float | None
    capped: int
    beyond_minor: int


class ArmDifference(NamedTuple):
    """The mean loss per card of the first arm less that of the second, in minor units; below 0 the first is better.

    `interval` is of the mean over all cards that are final now. It is None if its ends contradict each other.
    """

    first: str
    second: str
    interval: Interval | None

    @property
    def lower(self) -> str | None:
        """The arm that loses less with certainty; None if that is not known. The ends themselves are excluded."""
        low, high = self.interval or (0.0, 0.0)
        if high <= 0 and low < 0:
            return self.first
        return self.second if low >= 0 and high > 0 else None

    def of(self, first: str) -> "ArmDifference":
        """Return the same difference as one of an arm in it to the other."""
        if first == self.first:
            return self
        mirrored = None if self.interval is None else self.interval.mirrored()
        return ArmDifference(self.second, self.first, mirrored)


class Missing(NamedTuple):
    """What is missing before the leading arm could win over another one.

    `cards` is about how many more final cards show the present difference, if it is the true one; None if no number of
    cards does. `days` is in about how many days they are final; None if it cannot be said.
    """

    leader: str
    other: str
    cards: int | None
    days: float | None
    why: str


class Standings(NamedTuple):
    """How the arms of an experiment stand.

    Attributes:
        arms: the losses by arm, in their order.
        differences: of each pair of arms, in their order.
        alpha_each: the alpha of each pair.
        winner: an arm that loses less than every arm of another model; None: not yet.
        missing: what is missing, for each arm that the leading one has not yet left behind.
    """

    arms: Mapping[str, ArmLoss]
    differences: tuple[ArmDifference, ...]
    alpha_each: float
    winner: str | None
    missing: tuple[Missing, ...]

    def to(self, other: str) -> Iterator[ArmDifference]:
        """Yield the differences of all other arms to one."""
        for one in self.differences:
            if other in (one.first, one.second):
                yield one.of(one.first if one.second == other else one.second)


class PairPlan(NamedTuple):
    """The two ends of the difference of a pair of arms, each a sequence of its own."""

    first: int
    second: int
    lower: ArmsPlan
    upper: ArmsPlan

    @classmethod
    def of(cls, pair: tuple[int, int], arms: Sequence[ArmShare], cap_minor: int, alpha: float) -> "PairPlan":
        """Plan for the arms at two places, with alpha for both ends together."""
        shares = arms[pair[0]].share_bp, arms[pair[1]].share_bp
        ends = (ArmsPlan(alpha / 2, cap_minor, shares, side) for side in (Side.LOWER, Side.UPPER))
        return cls(*pair, *ends)

    def interval(self, losses: CardLosses) -> Interval | None:
        """Return the interval of the difference over these cards, all that are final so far."""
        masks = losses.arms == self.first, losses.arms == self.second
        least, most = np.where(masks[1], losses.high, losses.low), np.where(masks[1], losses.low, losses.high)
        low, high = self.lower.interval(least, masks).low, self.upper.interval(most, masks).high
        return Interval(low, high) if low <= high else None


def pair_plans(arms: Sequence[ArmShare], cap_minor: int, alpha: float) -> list[PairPlan]:
    """Return a plan for each pair of arms, each with its part of alpha."""
    each = alpha / max(len(arms) - 1, 1)
    return [PairPlan.of(pair, arms, cap_minor, each) for pair in combinations(range(len(arms)), 2)]


def compare(losses: CardLosses, arms: Sequence[ArmShare], terms: ExperimentTerms) -> tuple[ArmDifference, ...]:
    """Return the difference of each pair of arms, over all cards that are final."""
    plans = pair_plans(arms, terms.cap_minor, terms.alpha)
    return tuple(ArmDifference(arms[plan.first].name, arms[plan.second].name, plan.interval(losses)) for plan in plans)


def winner_of(names: Sequence[str], differences: Sequence[ArmDifference], models: Mapping[str, str]) -> str | None:
    """Return the arm that loses less than every arm of another model, `live` before others; None if there is none."""
    found = {one: _beaten(one, differences) for one in names}
    rivals = {one: {other for other in names if models[other] != models[one]} for one in names}
    winners = [one for one in names if rivals[one] and rivals[one] <= found[one]]
    return LIVE if LIVE in winners else (winners[0] if winners else None)


def _beaten(name: str, differences: Sequence[ArmDifference]) -> set[str]:
    pairs = [one for one in differences if one.lower == name]
    return {one.second if one.first == name else one.first for one in pairs}


def arm_losses(losses: CardLosses, arms: Sequence[ArmShare], cap_minor: int) -> dict[str, ArmLoss]:
    """Return the mean capped loss of each arm's final cards."""
    found = {}
    for place, arm in enumerate(arms):
        low, high = losses.low[losses.arms == place], losses.high[losses.arms == place]
        least, most = np.minimum(low, cap_minor), np.minimum(high, cap_minor)
        count = len(low)
        found[arm.name] = ArmLoss(
            count,
            exact_sum(least) / count if count else None,
            exact_sum(most) / count if count else None,
            int((high > cap_minor).sum()),
            exact_sum(high - most),
        )
    return found


def missing_cards(difference: ArmDifference, arms: Mapping[str, ArmLoss], observed: int) -> int | None:
    """Return about how many more final cards show that the first arm loses less; None if no number does.

    The end of the interval comes closer to the difference like 1 / sqrt(cards); it is taken that the difference that is
    seen now is the true one.
    """
    first, second = arms[difference.first].high, arms[difference.second].low
    if first is None or second is None or difference.interval is None or first >= second:
        return None
    distance = max(difference.interval.high - (first - second), 0.0)
    return max(math.ceil(observed * ((distance / (second - first)) ** 2 - 1)), 1)
