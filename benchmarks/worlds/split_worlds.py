"""Worlds of a split: what `docs/reference/experiments.md` promises of reports on experiments."""

import math
from typing import NamedTuple

import numpy as np

from benchmarks.simulations.experiments import (
    ALPHA,
    CAP_MINOR,
    CHANCE,
    HALVES,
    MEDIAN_MINOR,
    SOUND,
    SPREAD,
    TENTH,
    LossWorld,
    cards_needed,
    follow_looks,
)
from benchmarks.worlds.promise import Bound, Promise, World
from fraudstream.ops.rollout.experiments.cards import CardLosses
from fraudstream.ops.rollout.experiments.comparison import ArmDifference, pair_plans, winner_of
from fraudstream_client.arms import LIVE
from guards.shares import ArmShare
from metrics.columns import Floats

EFFECT = 0.5
"""The new arm's cards lose so much less often than live's if they pay more than the median card, else more often."""
_LOOKS = 12
_CARDS = 6_000
_PART, _PAGE = "split", "experiments"
_FIFTH_LESS = LossWorld("a fifth less", HALVES, (0.8, 1.0))


class DividedCards(NamedTuple):
    """Cards of shape (n,) in the order of their first payments, divided by a lot.

    `expected` is how much more often each would lose something in the new arm than in live, by its own rate.
    """

    losses: CardLosses
    expected: Floats


def draw_divided(rng: np.random.Generator, cards: int, arms: tuple[ArmShare, ...] = TENTH) -> DividedCards:
    """Draw cards, half of which lose less often in the first arm, and half as much more often: nothing is saved."""
    rates = np.exp(rng.normal(0, 1.2, cards))
    rates = rates[np.argsort(rng.exponential(1 / rates), kind="stable")]
    expected = CHANCE * np.where(rates > np.median(rates), -EFFECT, EFFECT)
    own = rng.choice(len(arms), cards, p=[arm.share_bp / 10_000 for arm in arms])
    amounts = np.exp(rng.normal(math.log(MEDIAN_MINOR), SPREAD, cards))
    loses = rng.random(cards) < CHANCE + np.where(own == 0, expected, 0.0)
    losses = np.where(loses, amounts, 0).astype(np.int64)
    return DividedCards(CardLosses(own, losses, losses, np.arange(cards), np.zeros(0, np.int64)), expected)


def wins_wrongly(world: DividedCards, arms: tuple[ArmShare, ...] = TENTH) -> bool:
    """Tell whether an arm is named at any look that does not lose less on the mean of the cards so far."""
    (plan,), names = pair_plans(arms, CAP_MINOR, ALPHA), [arm.name for arm in arms]
    so_far = np.cumsum(world.expected)
    for end in np.geomspace(50, len(so_far), _LOOKS).astype(int).tolist():
        found = ArmDifference(names[0], names[1], plan.interval(world.losses.part(0, end)))
        winner = winner_of(names, [found], dict(zip(names, names, strict=True)))
        more = float(so_far[end - 1])
        if winner is not None and (more <= 0 if winner == LIVE else more >= 0):
            return True
    return False


def _equal_arms(rng: np.random.Generator) -> tuple[bool, bool]:
    """Tell whether any arm is named, and whether an interval beside live ever leaves out the truth."""
    world, ends = SOUND[0], np.geomspace(50, _CARDS, _LOOKS).astype(int).tolist()
    winners, covers = follow_looks(world, world.draw(rng, _CARDS), ends)
    return bool(winners), not covers


SPLIT_WORLDS = (
    World(
        "equal arms",
        _PART,
        "three arms of 20, 20 and 60 % alike, one card in ten loses something",
        (
            Promise("an arm is named the winner", Bound.AT_MOST, ALPHA, _PAGE),
            Promise("an interval beside live ever misses", Bound.AT_MOST, ALPHA, _PAGE),
        ),
        40,
        _equal_arms,
    ),
    World(
        "frequent payers come first, arms of 10 and 90 %",
        _PART,
        "the new arm halves losses of the half that pays more, and adds as much on the other",
        (Promise("a wrong winner at any look", Bound.AT_MOST, ALPHA, _PAGE),),
        100,
        lambda rng: (wins_wrongly(draw_divided(rng, _CARDS)),),
    ),
    World(
        "an arm loses a fifth less",
        _PART,
        "two halves, on all cards alike",
        (Promise("final cards of both arms until it wins", Bound.MEDIAN, 18_000, _PAGE),),
        40,
        lambda rng: (cards_needed(_FIFTH_LESS, rng) or math.inf,),
    ),
)
