"""What a guard counts of a score and of a label's outcome; all other fields are skipped.

Reading a dozen fields of a score takes a third of the time of building all of them.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Protocol

import msgspec

from fraudstream_client.field_types import Count, LogNumber, Offset
from fraudstream_client.outputs import after_rules
from guards.specs import GuardKind

APPROVED, REVIEWED, DECLINED = "approve", "review", "decline"
_BY_MODEL = "model"
STALE = "stale"
_BY_DECISION = {REVIEWED: GuardKind.REVIEWED, DECLINED: GuardKind.DECLINED}
_NOTHING: tuple[GuardKind, ...] = ()
_STOOD_IN = (GuardKind.STOOD_IN,)
_WITHOUT = {decision: (kind,) for decision, kind in _BY_DECISION.items()}
_WITH = {decision: (kind, GuardKind.STOOD_IN) for decision, kind in _BY_DECISION.items()}


class Overrule(msgspec.Struct, frozen=True):
    """What changed a decision last, what the model had decided, and what the rules beside it had made of that."""

    by: str
    decision: str = msgspec.field(name="from")
    ruled: str | msgspec.UnsetType = msgspec.UNSET

    def after_rules(self, decision: str) -> str:
        """Return the decision after the artifact's rules and before limits; `decision` is the last one."""
        return after_rules(self.by, self.decision, self.ruled, decision)


class ScorePlace(msgspec.Struct, frozen=True):
    """The place of a score's transaction, by which `fraudstream_client.Standing` tells whether the score is valid."""

    offset: Offset
    log: LogNumber = 0


class GuardedScore(msgspec.Struct, frozen=True):
    """The fields of a `score/1` by which a guard counts; simulations make scores of them alone."""

    transaction_id: str
    card_id: str
    decision: str
    decided_by: str
    revision: int
    epoch: Count
    source: ScorePlace
    deployment: str = ""
    arm: str | None = None
    overruled: Overrule | None = None
    band: int | None = None
    scored_at: str = ""
    features: msgspec.Raw = msgspec.Raw(b"")
    schema: Literal["score/1"] = "score/1"


class GuardedOutcome(NamedTuple):
    """The fields of a label's `outcome/1` by which a guard counts; simulations make outcomes of them alone."""

    transaction_id: str
    card_id: str
    fraud: bool
    deployment: str = ""
    status: str = ""


class LabelledPayment(Protocol):
    """What is counted: a `GuardedOutcome`, or any outcome with these fields, such as `stream.readers.LabelView`."""

    @property
    def transaction_id(self) -> str:
        """The payment."""

    @property
    def card_id(self) -> str:
        """Its card."""

    @property
    def fraud(self) -> bool:
        """Whether the label says fraud."""

    @property
    def status(self) -> str:
        """What became of the label; `stale` if a later one was known."""

    @property
    def deployment(self) -> str:
        """The deployment that took the label in."""


class DecidedScore(Protocol):
    """What is counted: a `GuardedScore`, or any score with these fields, such as `fraudstream_client.Score`."""

    @property
    def transaction_id(self) -> str:
        """The payment."""

    @property
    def card_id(self) -> str:
        """Its card."""

    @property
    def decision(self) -> str:
        """`approve`, `review` or `decline`."""

    @property
    def decided_by(self) -> str:
        """`model`, or what stood in for the arm's model."""

    @property
    def revision(self) -> int:
        """The revision of the lineup that decided it."""

    @property
    def deployment(self) -> str:
        """The deployment that decided it."""

    @property
    def arm(self) -> str | None:
        """`live` or `canary`, as assigned."""


_FEATURES = msgspec.json.Decoder(dict[str, float | None] | None)


def features_of(score: DecidedScore) -> Mapping[str, float | None] | None:
    """Return the features that a score states; None if it states none."""
    stated: Any = getattr(score, "features", None)
    if not isinstance(stated, msgspec.Raw):
        return stated if isinstance(stated, dict) else None
    try:
        return _FEATURES.decode(stated) if bytes(stated) else None
    except msgspec.DecodeError:
        return None


def ruled(score: DecidedScore) -> str:
    """Return what the arm's artifact decided: its model, and the rules beside it, before a cap or a let-through."""
    overruled: Any = getattr(score, "overruled", None)
    return score.decision if overruled is None else overruled.after_rules(score.decision)


def bad_events(score: DecidedScore) -> tuple[GuardKind, ...]:
    """Return the bad events that the score is, without those that only labels tell."""
    decision = ruled(score)
    if score.decided_by == _BY_MODEL:
        return _WITHOUT.get(decision, _NOTHING)
    return _WITH.get(decision, _STOOD_IN)
