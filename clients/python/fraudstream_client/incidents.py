"""The record of an incident, `incident/1`: what went wrong, since when, and which payments it is about.

An incident is told of three times or more: it is opened, changed and closed. Those that tell of it have one
`incident_id`, and each a `sequence`, so that whoever reads it twice knows it again.
"""

from enum import StrEnum
from typing import Literal

import msgspec

from fraudstream_client.field_types import (
    Count,
    CurrencyCode,
    IncidentId,
    LogNumber,
    Offset,
    TimeText,
    Token,
    Total,
)


class IncidentRule(StrEnum):
    """What an incident is about."""

    NO_WORKER = "no_worker"
    """Payments wait for a decision, and their partitions stand still."""
    STAND_INS = "stand_ins"
    """The live model gives no score, so the model before it or the rules decide."""
    HISTORY_INCOMPLETE = "history_incomplete"
    """Payments are decided without complete histories, since Redis is away or has lost some."""
    CAP_REACHED = "cap_reached"
    """A model declines more than the cap allows, and that is reviewed."""
    DEADLINES_MISSED = "deadlines_missed"
    """Decisions come later than `FRAUDSTREAM_DEADLINE_MS` after their payments."""
    PARTITION_HALTED = "partition_halted"
    """A partition is halted behind 1,000 refused records in a row."""
    DEAD_LETTERS = "dead_letters"
    """Records of one topic are refused in numbers, for one reason."""
    GUARD_BREACH = "guard_breach"
    """A guard found that a new model does more harm than the one before, and acted."""
    LOSS_ACCEPTED = "loss_accepted"
    """An operator let a partition go on behind records that are lost or cannot be read."""
    DRIFT = "drift"
    """What a live model sees or says has moved from its training reference, by more than chance and for some days."""
    LABELS_MISSING = "labels_missing"
    """Labels, or those of one reporter or kind of fraud, stopped or became half as many as in the weeks before."""
    FIELD_STOPPED = "field_stopped"
    """An optional field of payments, or a declared attribute, does not come any more; `reasons` names the fields."""
    FIELD_BEGUN = "field_begun"
    """One comes that none of the payments of the day before had; `reasons` names the fields."""


class Severity(StrEnum):
    """How soon somebody should look."""

    PAGE = "page"
    """At once: it wakes a person."""
    TICKET = "ticket"
    """In the morning."""


class IncidentKind(StrEnum):
    """Which part of an incident's life a record tells of."""

    OPENED = "opened"
    """It has begun."""
    CHANGED = "changed"
    """It goes on, and is about more payments, or more severe, than was told before."""
    CLOSED = "closed"
    """It is over: nothing more of it was seen for as long as its rule says."""


class Opening(msgspec.Struct, frozen=True):
    """The record with which an incident began: the payment that was decided or refused, or that waits."""

    topic: str
    partition: Count
    offset: Offset
    log: LogNumber = 0


class IncidentAction(msgspec.Struct, frozen=True):
    """A command that was accepted since an incident began."""

    at: TimeText
    command: str
    command_id: Token
    actor: str
    reason: str


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an incident at a time. Delivered at least once: `incident_id` and `sequence` identify repeats.

    `since` and `until` are the times of the first and of the last record that it is about, `at` is when it was opened,
    changed or closed. `events` are the payments that it is about, or the refused records; `amounts` is their sum by
    currency, in minor units, as far as it is known; `decided` counts them by what decided and by the decision,
    `reasons` by what the records say (`degraded`, the code of a dead letter, a field). `worker` is the guard that wrote
    it.
    """

    schema: Literal["incident/1"] = "incident/1"
    incident_id: IncidentId
    deployment: Token
    rule: IncidentRule
    severity: Severity
    receivers: tuple[str, ...]
    kind: IncidentKind
    sequence: Count
    at: TimeText
    since: TimeText
    until: TimeText
    events: Total
    amounts: dict[CurrencyCode, Total]
    decided: dict[str, dict[str, Total]]
    reasons: dict[str, Total]
    text: str
    worker: Token
    partition: Count | None = None
    opening: Opening | None = None
    actions: tuple[IncidentAction, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether it goes on after this record."""
        return self.kind is not IncidentKind.CLOSED
