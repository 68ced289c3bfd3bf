"""Which of two models loses less money on the same payments, looked at all the time.

A difference of loss is 0 unless the two decide differently, so pairs tell two models apart much sooner than two
samples beside each other. Differences are capped at a stated amount, since a confidence sequence needs a bound; what
lies beyond the cap is counted and told. One observation is one card: the sum of its differences, once it is final.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from metrics.betting import BettingPlan, BettingState
from metrics.columns import Ints, check_lengths, exact_sum
from metrics.errors import MeasureInputError
from metrics.intervals import Interval, Side


class PairedState(NamedTuple):
    """The state of a comparison, as plain numbers.

    Attributes:
        betting: of the sequence of capped differences, in units of the cap.
        capped: observations whose difference was beyond the cap.
        beyond_minor: the sum of what was cut off, in minor units: above 0 where the challenger saved more than counted.
        saved_minor: the sum of all differences, uncut.
    """

    betting: BettingState
    capped: int = 0
    beyond_minor: int = 0
    saved_minor: int = 0


@dataclass(frozen=True, slots=True)
class PairedPlan:
    """What a comparison in one currency promises: it ever misses with a probability of at most `alpha`.

    Attributes:
        alpha: of this comparison; of several, give each its part (Bonferroni).
        cap_minor: a difference counts up to this amount. If it is many times the usual one, the interval is wide.
        side: which ends are bounded; `lower` is enough to show that the challenger is better.
    """

    alpha: float
    cap_minor: int
    side: Side = Side.BOTH
    betting: BettingPlan = field(init=False)

    def __post_init__(self) -> None:
        if self.cap_minor < 1:
            raise MeasureInputError(f"cap_minor: {self.cap_minor} minor units; it must be at least 1")
        object.__setattr__(self, "betting", BettingPlan.of_mean(self.alpha, -1.0, 1.0, self.side))

    def start(self) -> PairedState:
        """Return the state before the first observation."""
        return PairedState(self.betting.start())

    def observe(self, state: PairedState, live_minor: Ints, challenger_minor: Ints) -> PairedState:
        """Return the state after further observations, each final, in their order.

        Args:
            state: of this plan.
            live_minor: the loss by the live model's decisions on each card, of shape (n,).
            challenger_minor: the loss by the challenger's on the same cards, of shape (n,).

        Raises:
            MeasureInputError: the columns differ in length.
        """
        check_lengths(live_minor=live_minor, challenger_minor=challenger_minor)
        saved = live_minor - challenger_minor
        kept = np.clip(saved, -self.cap_minor, self.cap_minor)
        return PairedState(
            self.betting.observe(state.betting, kept / self.cap_minor),
            state.capped + int((kept != saved).sum()),
            state.beyond_minor + exact_sum(saved - kept),
            state.saved_minor + exact_sum(saved),
        )

    def interval(self, state: PairedState) -> Interval | None:
        """Return the mean of the capped differences per card, in minor units: what the challenger saves.

        Its ends are excluded themselves, but for those at the cap: from 0 on, the challenger is better; up to 0, worse.
        None if every mean is excluded, so it has changed.
        """
        found = self.betting.interval(state.betting)
        return found.scaled(self.cap_minor) if found else None
