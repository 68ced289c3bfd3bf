"""What happened in a worker, as frozen values: telemetry turns facts into metrics, tests collect them in a list.

Emitting a fact has no effect on the worker, which never waits for a listener.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from fraudstream_client.outputs import Decision, LabelStatus, PredictionStatus
from stream.clock import Stage
from stream.engine.batches import Record
from stream.positions.dead_letters import DeadLetter
from stream.scoring.decode import NO_ATTRIBUTES, AttributeCounts
from stream.scoring.encode import Scored


@dataclass(frozen=True, slots=True)
class Decided:
    """A batch of transactions is finished: the broker has acknowledged all its outputs.

    `scored` holds its decisions, `dead` its dead letters; `repeated` counts repeated transactions, `backfilled` those
    that only filled the histories, `erasures` those of cards, and `unknown` the fields that the contract does not
    define. `stages` are the times of the successful attempt, including publishing. `already_decided` counts records
    that had a decision, `already_refused` those that had a dead letter or are skipped. `revision` and `digest` identify
    the live model. With `stopgap`, histories came from memory instead of Redis. `attributes` counts
    payments by their own fields.
    """

    scored: Scored
    dead: Sequence[DeadLetter]
    repeated: int
    unknown: int
    stages: Sequence[Stage]
    revision: int
    digest: str
    stopgap: bool = False
    already_decided: int = 0
    already_refused: int = 0
    backfilled: int = 0
    erasures: int = 0
    attributes: AttributeCounts = NO_ATTRIBUTES


@dataclass(frozen=True, slots=True)
class LabelsApplied:
    """A batch of labels is finished, like `Decided`; `records` are the valid labels, `statuses` their results."""

    records: Sequence[Record]
    statuses: Sequence[LabelStatus]
    dead: Sequence[DeadLetter]
    unknown: int
    stages: Sequence[Stage]


@dataclass(frozen=True, slots=True)
class PredictionsApplied:
    """A batch of predictions from storage is finished, like `LabelsApplied`."""

    records: Sequence[Record]
    statuses: Sequence[PredictionStatus]
    dead: Sequence[DeadLetter]
    unknown: int
    stages: Sequence[Stage]


@dataclass(frozen=True, slots=True)
class Retried:
    """A batch of a topic is retried, because of an error of that class."""

    topic: str
    error: str


@dataclass(frozen=True, slots=True)
class LossFound:
    """A partition does not go on until an operator accepts what it lost: at most `lost` records, None if unknown."""

    topic: str
    partition: int
    lost: int | None


@dataclass(frozen=True, slots=True)
class VoidFound:
    """Void scores were found in the tail of a partition that was taken over."""

    partition: int
    count: int


@dataclass(frozen=True, slots=True)
class LateLetters:
    """Dead letters of a partition are void: their worker had lost it when they were written."""

    partition: int
    count: int


@dataclass(frozen=True, slots=True)
class Compared:
    """The challenger has scored n decisions; the sequences have length n.

    `shifts` are challenger's minus live score, fewer than n if rules decided some without a score; `live` and
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
    """Decisions get no comparison: the queue was full, or the challenger failed."""

    digest: str
    reason: Literal["skipped", "failed"]
    count: int


@dataclass(frozen=True, slots=True)
class Reapplied:
    """Records of a topic were applied again, to histories that Redis lost or that are now kept for longer."""

    topic: Literal["transactions", "labels", "predictions"]
    count: int


class ExplanationOutcome(StrEnum):
    """What became of an alert, as metrics and the log have it."""

    EXPLAINED = "explained"
    """It has the reasons of the model that decided."""
    BY_RULES = "by_rules"
    """No model decided: the rules are named."""
    NO_FEATURES = "no_features"
    """The score carries no features, so there is nothing to explain by."""
    OTHER_FEATURES = "other_features"
    """The score's features are not those of its model."""
    OTHER_SCORE = "other_score"
    """The model gives another score for these features than the record states."""
    INEXACT = "inexact"
    """The contributions do not sum to the raw score within 1e-9."""


@dataclass(frozen=True, slots=True)
class AlertsExplained:
    """Explanations of n alerts are written: what became of each, and how long after its score, in milliseconds."""

    outcomes: Sequence[ExplanationOutcome]
    delays_ms: Sequence[int]


Fact = (
    AlertsExplained
    | Decided
    | LabelsApplied
    | PredictionsApplied
    | LateLetters
    | LossFound
    | Retried
    | VoidFound
    | Compared
    | Missed
    | Reapplied
)

FactListener = Callable[[Fact], None]
"""Called with each fact on the event loop; must return quickly and must not raise."""


def ignore_fact(_fact: Fact) -> None:
    """Ignore the fact."""
