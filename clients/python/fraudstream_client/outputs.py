"""The records that fraudstream writes about single payments: `score/1`, `outcome/1` and `explanation/1`."""

from enum import Enum, StrEnum
from typing import Annotated, Literal, TypeVar

import msgspec

from fraudstream_client.field_types import (
    AmountMinor,
    Band,
    Count,
    CountryCode,
    CurrencyCode,
    FraudType,
    LogNumber,
    Offset,
    Propensity,
    SettingsHash,
    TimeText,
    Token,
    TransactionId,
    Unit,
)
from fraudstream_client.inputs import Reporter

RULE = "rule:"
"""What `overruled.by` begins with where a rule beside the model decided; the rule's name stands behind it."""
MOST_REASONS = 4
"""Of an explanation."""

Decided = TypeVar("Decided", bound=str)


class Decision(StrEnum):
    """The decision on a payment, mildest first."""

    APPROVE = "approve"
    REVIEW = "review"
    DECLINE = "decline"


class DecidedBy(StrEnum):
    """What decided: the live model, the one before it, or the rule policy if no model could."""

    MODEL = "model"
    FALLBACK = "fallback"
    RULES = "rules"


class Source(msgspec.Struct, frozen=True, gc=False):
    """The input record's position in Kafka; `log` rises with each topic made anew under the name that is accepted."""

    topic: str
    partition: Count
    offset: Offset
    log: LogNumber = 0


class ModelName(msgspec.Struct, frozen=True, gc=False):
    """The model that scored; `digest` alone identifies it."""

    name: str
    version: str
    digest: str


def after_rules(by: str, said: Decided, ruled: Decided | msgspec.UnsetType, decision: Decided) -> Decided:
    """Return a decision after the artifact's rules and before limits.

    Args:
        by: what changed it last.
        said: what the model had decided.
        ruled: what is stated of it; scores state it where it differs from `said`, those of versions before never.
        decision: the last one.
    """
    if ruled is not msgspec.UNSET:
        return ruled
    return decision if by.startswith(RULE) else said


class Overruled(msgspec.Struct, frozen=True, gc=False):
    """What changed a decision after the model had spoken, and what the model said.

    `by` is what changed it last: `let_through`, `decline_cap` or `rule:` and the name of a rule. A rule that blocks
    stands here also where the model declined, too. `ruled` is the decision after the rules beside the model and before
    limits, where it differs from `from`; versions before left it out.
    """

    by: str
    decision: Decision = msgspec.field(name="from")
    ruled: Decision | msgspec.UnsetType = msgspec.UNSET

    @classmethod
    def of(cls, by: str, said: Decision, ruled: Decision) -> "Overruled":
        """Return the entry of a decision by a model that said this, of which rules have made that."""
        return cls(by, said) if ruled is said else cls(by, said, ruled)

    def after_rules(self, decision: Decision) -> Decision:
        """Return the decision after the artifact's rules and before limits; `decision` is the last one."""
        return after_rules(self.by, self.decision, self.ruled, decision)


class Positions(msgspec.Struct, frozen=True, gc=False):
    """How many records of each history, counted from its beginning, the decision saw, and the history epoch.

    `prediction` counts the card's predictions from storage; it is absent where no feature reads any.
    """

    history_epoch: Count
    card: Count
    merchant: Count | None
    device: Count | None = None
    prediction: Count | msgspec.UnsetType = msgspec.UNSET


class Score(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One decision. It counts only if it is valid: see `ValidScores`."""

    schema: Literal["score/1"] = "score/1"
    transaction_id: TransactionId
    card_id: Token
    merchant_id: Token
    occurred_at: TimeText
    amount_minor: AmountMinor
    currency: CurrencyCode
    score: Unit | None
    band: Band | None
    decision: Decision
    decided_by: DecidedBy
    model: ModelName | None
    arm: str | None
    overruled: Overruled | None = None
    propensity: Propensity | None = None
    merchant_country: CountryCode | msgspec.UnsetType = msgspec.UNSET
    deployment: str = ""
    revision: Count
    fingerprint: str
    code_version: str
    features: dict[str, float | None] | None
    positions: Positions
    degraded: tuple[str, ...]
    dropped: tuple[str, ...]
    attributes: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    settings: SettingsHash | msgspec.UnsetType = msgspec.UNSET
    epoch: Count
    source: Source
    scored_at: TimeText
    latency_ms: int

    @property
    def said(self) -> Decision:
        """What the model decided, or what stood in for it, before anything overruled it."""
        return self.decision if self.overruled is None else self.overruled.decision

    @property
    def ruled(self) -> Decision:
        """What the artifact decided: its model, and the rules beside it, before limits overruled that."""
        return self.decision if self.overruled is None else self.overruled.after_rules(self.decision)


class LabelStatus(StrEnum):
    """The effect of a label, from its card's history before the label's first offset."""

    APPLIED = "applied"
    REPEATED = "repeated"
    CORRECTED = "corrected"
    STALE = "stale"
    UNKNOWN_TRANSACTION = "unknown_transaction"


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one label; `fraud_type` is the label's, without card numbers."""

    schema: Literal["outcome/1"] = "outcome/1"
    deployment: str = ""
    kind: Literal["label"] = "label"
    transaction_id: TransactionId
    card_id: Token
    merchant_id: Token | None
    occurred_at: TimeText | None
    fraud: bool
    labelled_at: TimeText
    reported_by: Reporter
    fraud_type: FraudType | msgspec.UnsetType = msgspec.UNSET
    positions: Positions
    status: LabelStatus
    source: Source


class PredictionStatus(Enum):
    """The effect of a prediction from storage, by its first offset."""

    APPLIED = "applied"
    REPEATED = "repeated"
    """The same prediction came before, at another offset."""
    LATE = "late"
    """It came later than its delay, so that no feature ever reads it."""


class PredictionPositions(msgspec.Struct, frozen=True):
    """How many predictions about its card came before a prediction, and the history epoch."""

    history_epoch: Count
    prediction: Count


class PredictionOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one prediction from storage."""

    schema: Literal["outcome/1"] = "outcome/1"
    deployment: str = ""
    kind: Literal["prediction"] = "prediction"
    card_id: Token
    name: Token
    computed_at: TimeText
    positions: PredictionPositions
    status: PredictionStatus
    source: Source


class AlertReason(msgspec.Struct, frozen=True):
    """One reason: its code, and of the features of that code the one that adds most.

    Attributes:
        code: of the table that `fraudstream explain codes` prints, or `rule:NAME`, `rules:FEATURE`.
        feature: the feature's name; null for a rule or a cap.
        value: the feature's value; null where it is undefined.
        contribution: what all features of the code add to the raw score; null where no model decided.
        text: a sentence for an analyst, with the value.
    """

    code: str
    feature: str | None
    value: float | None
    contribution: float | None
    text: str


class AlertExplanation(msgspec.Struct, frozen=True, kw_only=True):
    """The reasons for one valid score that is not `approve`, strongest first. Written at least once.

    `source` is that of the score: the position of the transaction in Kafka, by which a repeat is known. `digest` is the
    model that decided; null, like `score`, `base` and `rest`, where the rules did. `base` and `rest` are also null, and
    there are no reasons of the model, where contributions cannot be computed or do not add up.
    Otherwise `base`, the contributions shown and `rest` sum to the model's raw score (log-odds before calibration).
    """

    schema: Literal["explanation/1"] = "explanation/1"
    transaction_id: TransactionId
    card_id: Token
    digest: str | None
    score: Unit | None
    reasons: Annotated[tuple[AlertReason, ...], msgspec.Meta(max_length=MOST_REASONS)]
    base: float | None
    rest: float | None
    source: Source
    explained_at: TimeText
