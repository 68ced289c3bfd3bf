"""Which of two arms costs more per card, looked at all the time, where cards were divided by a lot with known shares.

Each card is one observation: its value divided by its arm's share, with a minus sign for the second arm, and 0 for a
card of neither (Horvitz and Thompson, 1952). The lot alone gives it the expected value that is the card's own
difference, whatever the cards are and in whichever order they come, and one sequence of it is narrower than the ends of
two: at equal shares by about a quarter.

The shares must be those by which cards were divided, fixed, and a card's arm must not change whether it is observed:
take every card that paid, and each once, when its value is final.
"""

import math
from dataclasses import dataclass

import numpy as np

from metrics.columns import Bools, Ints, check_lengths
from metrics.errors import MeasureInputError
from metrics.intervals import Interval, Side, check_alpha
from metrics.money import WHOLE_BP
from metrics.running_mean import UNIT_STAKES, Observed, log_evidence, running_mean_interval


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

    def __post_init__(self) -> None:
        check_alpha(self.alpha)
        if self.cap < 1:
            raise MeasureInputError(f"cap: {self.cap}; it must be at least 1")
        first, second = self.shares_bp
        if not (first > 0 and second > 0 and first + second <= WHOLE_BP):
            raise MeasureInputError(
                f"shares_bp: {first} and {second}; each must be above 0, together at most {WHOLE_BP} (0.01 % each)"
            )

    def interval(self, values: Ints, arms: tuple[Bools, Bools]) -> Interval:
        """Return the mean value of these cards in the first arm less that in the second, in the unit of the values.

        From 0 on, the first arm is higher; up to 0, lower. Ask again for all cards so far at each look.

        Args:
            values: of each card, of shape (n,), at least 0: its loss, or whether it has an event.
            arms: whether each card is in the first arm, and whether in the second; each of shape (n,).

        Raises:
            MeasureInputError: a value is negative, a card is in both arms, or the columns differ in length.
        """
        found = running_mean_interval(
            self._observed(values, arms), self.alpha, self._bounds, side=self.side, stakes=UNIT_STAKES
        )
        return found.scaled(self.cap * self._largest)

    def is_higher(self, values: Ints, arms: tuple[Bools, Bools]) -> bool:
        """Tell whether the first arm is proved to be higher, with all of alpha; see `interval`."""
        return log_evidence(self._observed(values, arms), 0.0, UNIT_STAKES) >= -math.log(self.alpha)

    @property
    def _largest(self) -> float:
        return WHOLE_BP / min(self.shares_bp)

    @property
    def _bounds(self) -> Interval:
        first, second = (WHOLE_BP / share_bp / self._largest for share_bp in self.shares_bp)
        return Interval(-second, first)

    def _observed(self, values: Ints, arms: tuple[Bools, Bools]) -> Observed:
        check_lengths(values=values, first=arms[0], second=arms[1])
        if (values < 0).any() or (arms[0] & arms[1]).any():
            raise MeasureInputError("values: each must be at least 0, and no card can be in both arms")
        least, most = self._bounds
        weights = np.where(arms[0], most, 0.0) + np.where(arms[1], least, 0.0)
        return Observed.within(np.minimum(values, self.cap) / self.cap * weights, least, most)
