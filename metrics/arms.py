"""Which of two arms costs more per card, looked at all the time, where cards were divided by a lot with known shares.

Each card is one observation: its value divided by its arm's share, with a minus sign for the second arm, and 0 for a
card of neither (Horvitz and Thompson, 1952). Its mean is the difference of the arms' means, whatever the cards are, and
one sequence of it is narrower than the ends of two: at equal shares by about a quarter.

The shares must be those by which cards were divided, fixed, and a card's arm must not change whether it is observed:
take every card that paid, and each once, when its value is final.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from metrics.betting import BettingPlan, BettingState
from metrics.columns import Bools, Ints, check_lengths, exact_sum
from metrics.errors import MeasureInputError
from metrics.intervals import Interval, Side
from metrics.money import WHOLE_BP


class ArmsState(NamedTuple):
    """The state of a comparison, as plain numbers.

    Attributes:
        betting: of the sequence of differences, in units of the cap.
        cards: observed in the first arm and in the second.
        sums: of their capped values, in the unit of the values.
        capped: cards whose value was above the cap.
        beyond: the sum of what was cut off.
    """

    betting: BettingState
    cards: tuple[int, int] = (0, 0)
    sums: tuple[int, int] = (0, 0)
    capped: int = 0
    beyond: int = 0


@dataclass(frozen=True, slots=True)
class ArmsPlan:
    """What a comparison of two arms promises: it ever misses with a probability of at most `alpha`.

    Attributes:
        alpha: of this comparison; of several, give each its part (Bonferroni).
        cap: a card's value counts up to it; in minor units of one currency for losses, 1 for events that a card has or
            has not.
        shares_bp: of all cards, of the first arm and of the second, in units of 0.01 %.
        side: which ends are bounded.
    """

    alpha: float
    cap: int
    shares_bp: tuple[int, int]
    side: Side = Side.BOTH
    betting: BettingPlan = field(init=False)

    def __post_init__(self) -> None:
        if self.cap < 1:
            raise MeasureInputError(f"cap: {self.cap}; it must be at least 1")
        first, second = self.shares_bp
        if not (first > 0 and second > 0 and first + second <= WHOLE_BP):
            raise MeasureInputError(
                f"shares_bp: {first} and {second}; each must be above 0, together at most {WHOLE_BP} (0.01 % each)"
            )
        least, largest = -WHOLE_BP / second, WHOLE_BP / first
        object.__setattr__(self, "betting", BettingPlan.of_mean(self.alpha, least, largest, self.side))

    def start(self) -> ArmsState:
        """Return the state before the first observation."""
        return ArmsState(self.betting.start())

    def observe(self, state: ArmsState, values: Ints, arms: tuple[Bools, Bools]) -> ArmsState:
        """Return the state after further cards, each once, in the order in which their values became final.

        Args:
            state: of this plan.
            values: of each card, of shape (n,), at least 0: its loss, or whether it has an event.
            arms: whether each card is in the first arm, and whether in the second; each of shape (n,).

        Raises:
            MeasureInputError: a value is negative, a card is in both arms, or the columns differ in length.
        """
        check_lengths(values=values, first=arms[0], second=arms[1])
        if (values < 0).any() or (arms[0] & arms[1]).any():
            raise MeasureInputError("values: each must be at least 0, and no card can be in both arms")
        kept, compared = np.minimum(values, self.cap), arms[0] | arms[1]
        first, second = (WHOLE_BP / share_bp for share_bp in self.shares_bp)
        weights = np.where(arms[0], first, 0.0) - np.where(arms[1], second, 0.0)
        sums = [before + exact_sum(kept[arm]) for before, arm in zip(state.sums, arms, strict=True)]
        cards = [before + int(arm.sum()) for before, arm in zip(state.cards, arms, strict=True)]
        return ArmsState(
            self.betting.observe(state.betting, kept / self.cap * weights),
            (cards[0], cards[1]),
            (sums[0], sums[1]),
            state.capped + int((kept < values)[compared].sum()),
            state.beyond + exact_sum((values - kept)[compared]),
        )

    def interval(self, state: ArmsState) -> Interval | None:
        """Return the mean value per card of the first arm less that of the second, in the unit of the values.

        From 0 on, the first arm is higher; up to 0, lower. None if every difference is excluded, so it has changed.
        """
        found = self.betting.interval(state.betting)
        return found.scaled(self.cap) if found else None
