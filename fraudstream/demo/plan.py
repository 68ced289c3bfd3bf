"""The plan of a run: how many cards and payments, two models, and what is done when."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

PURCHASES_A_CARD_DAY = 1.1
KEPT_SECONDS = 3600
"""With `--keep`, payments go on for at most so long."""
HISTORY_REACH_DAYS = 37
"""How far the features look back: with fewer days published, histories are shorter than in training."""


class ModelSpec(NamedTuple):
    """One of the two models: its name, the age of its data, and its size."""

    version: str
    days_old: int
    trees: int
    leaves: int
    learning_rate: float


PLAIN = ModelSpec("plain", days_old=20, trees=5, leaves=4, learning_rate=0.1)
BETTER = ModelSpec("better", days_old=0, trees=60, leaves=31, learning_rate=0.1)


class Action(Enum):
    """What is done while payments are live, or just before; the value announces it."""

    GO_LIVE = "the first model goes live"
    CHALLENGE = "a challenger in the shadow"
    PROMOTE = "the challenger is promoted"
    KILL = "the worker is killed"
    ROLL_BACK = "the promotion is rolled back"
    CANARY = "a bad model gets some cards"
    START_GREEN = "green starts beside it"
    CUT_OVER = "green takes over"
    GO_BACK = "the first fleet takes over"


class ScheduledAction(NamedTuple):
    """An action and when it is due, in seconds after the live stream began."""

    seconds: float
    action: Action


CANARY_AT = ((0.35, Action.PROMOTE), (0.5, Action.KILL), (0.7, Action.ROLL_BACK), (0.8, Action.CANARY))
"""Shares of the live stream at which actions are due, so that each revision decides for a while."""
BLUE_GREEN_AT = (
    (0.05, Action.START_GREEN),
    (0.2, Action.PROMOTE),
    (0.35, Action.KILL),
    (0.45, Action.ROLL_BACK),
    (0.6, Action.CUT_OVER),
    (0.8, Action.GO_BACK),
)
"""The same with a second fleet, which fills its histories and is compared meanwhile; the hand-over waits for that."""
EXTRA_SECONDS = 60
"""If an action was late, the stream goes on for at most so long, until its revision has decided everywhere."""
BLUE_GREEN_EXTRA_SECONDS = 360
"""Likewise with a second fleet: on a busy machine it takes longer to fill its histories."""
SESSION_SECONDS = 6
"""The group's session timeout; with the embedded broker each join takes half of it."""
CHAOS_SESSION_SECONDS = 3
"""With `--chaos` it makes up most of the gap, so it is as short as a busy laptop allows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoPlan:
    """All numbers of a run.

    Raises:
        ValueError: these numbers leave nothing to show.
    """

    seed: int = 1
    rate: float = 150.0
    """Live transactions a second."""
    seconds: float = 100.0
    """How long the live stream lasts; see `actions` for what happens meanwhile."""
    cards: int = 1_500
    merchants: int = 400
    history_days: int = 60
    warm_days: int = HISTORY_REACH_DAYS
    """So many last days of the history are published first, so that the histories in Redis are as long as live ones."""
    partitions: int = 4
    fraud_share: float = 0.015
    """Higher than in reality, as the two below are: a minute must have enough of each to count."""
    review_share: float = 0.015
    decline_share: float = 0.005
    chaos: bool = False
    """Whether the worker is killed in the middle."""
    blue_green: bool = False
    """Whether a second fleet takes over and the first one comes back, in place of the bad model."""
    keep: bool = False

    def __post_init__(self) -> None:
        if self.rate <= 0 or self.seconds <= 0:
            raise ValueError(f"{self.rate} transactions a second for {self.seconds} seconds")
        if not PLAIN.days_old < self.history_days or not 0 <= self.warm_days <= self.history_days:
            raise ValueError(f"{self.history_days} days of history, {self.warm_days} of them on the stream")

    @property
    def actions(self) -> tuple[ScheduledAction, ...]:
        """What is done while payments are live, in order."""
        planned = BLUE_GREEN_AT if self.blue_green else CANARY_AT
        return tuple(
            ScheduledAction(share * self.seconds, action)
            for share, action in planned
            if self.chaos or action is not Action.KILL
        )

    @property
    def extra_seconds(self) -> int:
        """For how long the stream goes on, at most, if an action was late."""
        return BLUE_GREEN_EXTRA_SECONDS if self.blue_green else EXTRA_SECONDS

    @property
    def session_seconds(self) -> int:
        """The group's session timeout."""
        return CHAOS_SESSION_SECONDS if self.chaos else SESSION_SECONDS

    @property
    def live_count(self) -> int:
        """The number of transactions in the live stream."""
        return math.ceil(self.rate * self.seconds)

    @property
    def live_days(self) -> int:
        """The number of days to simulate after the history, with a margin for quiet ones."""
        needed = self.live_count + self.rate * (KEPT_SECONDS if self.keep else self.extra_seconds)
        return math.ceil(needed * 1.25 / (self.cards * PURCHASES_A_CARD_DAY)) + 1
