"""A split whose arms differ by how often cards pay: those that pay often appear, and are final, first."""

import math
from typing import NamedTuple

import numpy as np

from guards.shares import LIVE, ArmShare
from metrics.columns import Floats
from stream.bench.experiments import ALPHA, CAP_MINOR, CHANCE, MEDIAN_MINOR, SPREAD, TENTH
from stream.experiments.cards import CardLosses
from stream.experiments.comparison import ArmDifference, pair_plans, winner_of

EFFECT = 0.5
"""The new arm's cards lose so much less often than live's if they pay more than the median card, else more often."""
_LOOKS = 12


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
        found = ArmDifference(*names, plan.interval(world.losses.part(0, end)))
        winner = winner_of(names, [found], dict(zip(names, names, strict=True)))
        more = float(so_far[end - 1])
        if winner is not None and (more <= 0 if winner == LIVE else more >= 0):
            return True
    return False
