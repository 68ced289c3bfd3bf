"""What the demo shows, in numbers. Nothing here starts or draws anything."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

PURCHASES_A_CARD_DAY = 1.1
KEPT_SECONDS = 3600
"""With `--keep`, traffic goes on for at most so long."""
HISTORY_REACH_DAYS = 37
"""How far the features look back: with fewer days on the stream, histories are younger than those trained on."""


class Recipe(NamedTuple):
    """One of the two models: what it is called, how old its data is, and how large it grows."""

    version: str
    days_old: int
    trees: int
    leaves: int
    learning_rate: float


PLAIN = Recipe("plain", days_old=20, trees=5, leaves=4, learning_rate=0.1)
BETTER = Recipe("better", days_old=0, trees=60, leaves=31, learning_rate=0.1)


class Act(Enum):
    """What is done while payments are live; the value says it to somebody who waits for it."""

    PROMOTE = "the challenger is promoted"
    KILL = "the worker is killed"
    ROLL_BACK = "the promotion is rolled back"


class Scene(NamedTuple):
    """An act and when it is due, in seconds after the live stream began."""

    seconds: float
    act: Act


PROMOTE_AT, KILL_AT, ROLL_BACK_AT = 0.4, 0.6, 0.8
"""Shares of the live stream, so that each revision has its time on it."""
SESSION_SECONDS = 6
"""A worker silent for so long is taken for dead; the embedded broker makes each joining wait for half of it."""
CHAOS_SESSION_SECONDS = 3
"""With `--chaos` it is all that a gap consists of, so it is as short as a busy laptop allows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """How much of everything.

    Raises:
        ValueError: nothing could be shown with these numbers.
    """

    seed: int = 1
    rate: float = 150.0
    """Live transactions a second."""
    seconds: float = 100.0
    """How long the live stream lasts; `acts` says what happens meanwhile."""
    cards: int = 1_500
    merchants: int = 400
    history_days: int = 60
    warm_days: int = HISTORY_REACH_DAYS
    """So many last days of the history are published first, for the histories in Redis to be what live ones are."""
    partitions: int = 4
    fraud_share: float = 0.015
    """More than in life, and so are the two below: a minute has to have enough of each to count."""
    review_share: float = 0.015
    decline_share: float = 0.005
    chaos: bool = False
    """Whether the worker is killed in the middle."""
    keep: bool = False

    def __post_init__(self) -> None:
        if self.rate <= 0 or self.seconds <= 0:
            raise ValueError(f"{self.rate} transactions a second for {self.seconds} seconds")
        if not PLAIN.days_old < self.history_days or not 0 <= self.warm_days <= self.history_days:
            raise ValueError(f"{self.history_days} days of history, {self.warm_days} of them on the stream")

    @property
    def acts(self) -> tuple[Scene, ...]:
        """What happens while payments are live, in order."""
        killed = ((KILL_AT, Act.KILL),) if self.chaos else ()
        planned = ((PROMOTE_AT, Act.PROMOTE), *killed, (ROLL_BACK_AT, Act.ROLL_BACK))
        return tuple(Scene(share * self.seconds, act) for share, act in planned)

    @property
    def session_seconds(self) -> int:
        """How long a worker may be silent."""
        return CHAOS_SESSION_SECONDS if self.chaos else SESSION_SECONDS

    @property
    def live_count(self) -> int:
        """How many transactions the live stream has."""
        return math.ceil(self.rate * self.seconds)

    @property
    def live_days(self) -> int:
        """How many days must be simulated behind the history, with a margin for quiet ones."""
        needed = self.live_count + (self.rate * KEPT_SECONDS if self.keep else 0)
        return math.ceil(needed * 1.25 / (self.cards * PURCHASES_A_CARD_DAY)) + 1
