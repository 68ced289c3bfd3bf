"""The records that a worker writes: `score/1` and `outcome/1`."""

from enum import StrEnum
from typing import Annotated, Literal

import msgspec

from features.history.store import LabelStatus, PredictionStatus
from guards.records import after_rules
from models.commands import LogNumber, SettingsHash
from models.policy import Band, Decision, Unit
from stream.contract.fields import AmountMinor, CountryCode, CurrencyCode, TimeText, Token, TransactionId
from stream.contract.label import FraudType, Reporter

Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Offset = Annotated[int, msgspec.Meta(ge=0, le=2**44 - 1)]
"""With a log's number it is one integer, see `stream.consumer.place_of`."""


Propensity = Annotated[
    float, msgspec.Meta(gt=0, le=1, description="the probability with which the lot let the declined payment through")
]


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
    """One decision. It counts only if it is valid: see `stream.consumer`."""

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
