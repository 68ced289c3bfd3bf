"""What happened in a worker, as frozen values: telemetry turns them into metrics, tests listen with a list.

Nothing here acts on a fact, and nothing of the worker waits for who listens.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from features.history.store import LabelStatus
from models.policy import Decision
from stream.clock import Stage
from stream.kafka.batches import Record
from stream.kafka.dead_letters import DeadLetter
from stream.scoring.encode import Scored


@dataclass(frozen=True, slots=True)
class Decided:
    """A batch of transactions came through: all its outputs are acknowledged by the broker.

    `scored` has its decisions, `dead` its dead letters, `unknown` counts fields that mean nothing here; `stages` are
    the times of the attempt that came through, publishing included. `revision` and `digest` say who was live. With
    `stopgap` the histories were not asked, but what was seen since they went away.
    """

    scored: Scored
    dead: Sequence[DeadLetter]
    repeated: int
    unknown: int
    stages: Sequence[Stage]
    revision: int
    digest: str
    stopgap: bool = False


@dataclass(frozen=True, slots=True)
class LabelsApplied:
    """A batch of labels came through, as `Decided`; `records` are those that were labels, n of them, as `statuses`."""

    records: Sequence[Record]
    statuses: Sequence[LabelStatus]
    dead: Sequence[DeadLetter]
    unknown: int
    stages: Sequence[Stage]


@dataclass(frozen=True, slots=True)
class Retried:
    """A batch of a topic is tried again, because of an error of that class."""

    topic: str
    error: str


@dataclass(frozen=True, slots=True)
class VoidFound:
    """So many void scores were met in the tail of a partition that was taken over."""

    partition: int
    count: int


@dataclass(frozen=True, slots=True)
class Compared:
    """The challenger has scored n decisions: what it and the live model came to, each of length n.

    `shifts` are challenger's score minus live score, fewer than n where rules decided without a score; `live` and
    `challenger` are the decisions, amounts are in minor units.
    """

    digest: str
    shifts: Sequence[float]
    live: Sequence[Decision]
    challenger: Sequence[Decision]
    amounts_minor: Sequence[int]
    currencies: Sequence[str]


@dataclass(frozen=True, slots=True)
class Missed:
    """So many decisions get no comparison: the lane was full, or the challenger failed."""

    digest: str
    reason: Literal["skipped", "failed"]
    count: int


@dataclass(frozen=True, slots=True)
class Reapplied:
    """So many records of a topic were applied again, to histories that Redis lost or that are kept for longer now."""

    topic: Literal["transactions", "labels"]
    count: int


Fact = Decided | LabelsApplied | Retried | VoidFound | Compared | Missed | Reapplied

FactListener = Callable[[Fact], None]
"""Told each fact, on the event loop; it must be quick and must not raise."""


def ignore_fact(_fact: Fact) -> None:
    """Listen to nothing."""
