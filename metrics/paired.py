"""Which of two models loses less money on the same payments, looked at all the time.

A difference of loss is 0 unless the two decide differently, so pairs tell two models apart much sooner than two
samples beside each other. Differences are capped at a stated amount; what lies beyond the cap is counted and told. One
observation is one card: the sum of its differences, once it is final. What a card's swaps could have cost at most is
known from their amounts before any label, and bounds what is bet: see `running_mean`.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np

from metrics.columns import Ints, check_lengths, exact_sum
from metrics.errors import MeasureInputError
from metrics.intervals import Interval, Side, check_alpha
from metrics.running_mean import Observed, log_evidence, running_mean_interval


class PairedCards(NamedTuple):
    """What the challenger saves on each card, of shape (n,) in minor units, and what that could have been.

    `least` and `most` follow from the decisions and the amounts alone, whatever the outcomes.
    """

    saved: Ints
    least: Ints
    most: Ints

    def first(self, count: int) -> Self:
        """Return so many of the cards, the first ones."""
        return type(self)(self.saved[:count], self.least[:count], self.most[:count])

    def mirrored(self) -> Self:
        """Return what live saves."""
        return type(self)(-self.saved, -self.most, -self.least)


@dataclass(frozen=True, slots=True)
class PairedPlan:
    """What a comparison in one currency promises: it ever misses with a probability of at most `alpha`.

    Attributes:
        alpha: of this comparison; of several, give each its part (Bonferroni).
        cap_minor: a difference counts up to this amount.
        side: which ends are bounded; `lower` is enough to show that the challenger is better.
    """

    alpha: float
    cap_minor: int
    side: Side = Side.BOTH

    def __post_init__(self) -> None:
        check_alpha(self.alpha)
        if self.cap_minor < 1:
            raise MeasureInputError(f"cap_minor: {self.cap_minor} minor units; it must be at least 1")

    def interval(self, cards: PairedCards) -> Interval:
        """Return the mean of the capped differences over these cards, in minor units: what the challenger saves.

        Above 0 it is better on them, below 0 worse. Ask again for all cards so far at each look.

        Raises:
            MeasureInputError: the columns differ in length, or a card saved what it could not have.
        """
        found = running_mean_interval(self._observed(cards), self.alpha, Interval(-1.0, 1.0), side=self.side)
        return found.scaled(self.cap_minor)

    def is_better(self, cards: PairedCards) -> bool:
        """Tell whether a mean of 0 or less is refuted on these cards, with all of alpha."""
        return log_evidence(self._observed(cards)) >= -math.log(self.alpha)

    def _observed(self, cards: PairedCards) -> Observed:
        check_lengths(**cards._asdict())
        return Observed(*(np.clip(column, -self.cap_minor, self.cap_minor) / self.cap_minor for column in cards))

    def beyond(self, saved: Ints) -> tuple[int, int]:
        """Return how many cards are beyond the cap, and the sum of what is cut off of them."""
        kept = np.clip(saved, -self.cap_minor, self.cap_minor)
        return int((kept != saved).sum()), exact_sum(saved - kept)
