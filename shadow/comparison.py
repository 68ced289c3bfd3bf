"""The record `comparison/1`: a live decision beside the challenger's result for the same vector."""

from typing import Annotated, Literal, NamedTuple

import msgspec

from fraudstream_client.arms import CANARY, LIVE
from fraudstream_client.field_types import Band, Unit, text_like
from fraudstream_client.outputs import Decision
from guards.records import Overrule
from models.commands import Digest, Revision, Timestamp, Token
from models.times import format_time

AmountMinor = Annotated[int, msgspec.Meta(ge=0, le=10**12, description="in the currency's minor unit")]
Currency = Annotated[str, text_like("^[A-Z]{3}$", "an ISO 4217 code, such as EUR", "ISO 4217, alphabetic")]
TransactionId = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Count = Annotated[int, msgspec.Meta(ge=0)]


class Source(msgspec.Struct, frozen=True):
    """The transaction's position in Kafka; identifies duplicates of a comparison."""

    topic: str
    partition: Count
    offset: Count
    log: Count = 0


class Side(msgspec.Struct, frozen=True):
    """One model's result; a live side that rules decided has no digest, score and band.

    `decision` is that after the rules beside the model, `said` the one before them. Versions before left `said` out,
    and their `decision` is that before the rules.
    """

    digest: Digest | None
    score: Unit | None
    band: Band | None
    decision: Decision
    said: Decision | msgspec.UnsetType = msgspec.UNSET

    @property
    def before_rules(self) -> Decision:
        """What the model said."""
        return self.decision if self.said is msgspec.UNSET else self.said


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What one model decided, and what another would have. Delivered at least once.

    `live` is the live model's side, `challenger` that of the challenger or of the canary's model. The decision is the
    live model's where `arm` is `live`, and the other's where `arm` is `canary`: what the artifact decided, a model and
    the rules beside it, also where a cap overruled that on the score.
    """

    schema: Literal["comparison/1"] = "comparison/1"
    deployment: str = ""
    arm: str = LIVE
    transaction_id: TransactionId
    card_id: Token
    occurred_at: Timestamp
    amount_minor: AmountMinor
    currency: Currency
    live: Side
    challenger: Side
    decision_changed: bool
    revision: Revision
    source: Source
    compared_at: Timestamp

    @property
    def decided(self) -> Side:
        """The side that decided."""
        return self.challenger if self.arm == CANARY else self.live


class _ModelRef(msgspec.Struct, frozen=True):
    digest: str


class DecidedScore(msgspec.Struct, frozen=True):
    """The fields of a `score/1` record that a comparison needs."""

    transaction_id: str
    card_id: str
    occurred_at: str
    amount_minor: int
    currency: str
    score: float | None
    band: int | None
    decision: Decision
    model: _ModelRef | None
    revision: int
    source: Source
    deployment: str = ""
    arm: str | None = LIVE
    merchant_id: str = ""
    overruled: Overrule | None = None

    @property
    def said(self) -> Decision:
        """What the model decided, or what stood in for it, before anything overruled it."""
        return self.decision if self.overruled is None else Decision(self.overruled.decision)

    @property
    def ruled(self) -> Decision:
        """What the rules beside the model made of that, before limits overruled it."""
        return self.decision if self.overruled is None else Decision(self.overruled.after_rules(self.decision))


class Result(NamedTuple):
    """A model's result for one vector: `decision` is that after the rules beside it, `said` the one before them."""

    score: float
    band: int
    decision: Decision
    said: Decision


read_decided = msgspec.json.Decoder(DecidedScore).decode
read_comparison = msgspec.json.Decoder(Comparison).decode
encode_comparison = msgspec.json.Encoder().encode


def compare(decided: DecidedScore, digest: str, result: Result, now_ms: int) -> Comparison:
    """Build the comparison of a decision with the result of the model `digest`.

    That is the challenger, or the canary's model for a decision of the live one, or the live one for one of the canary.
    """
    digest_made = None if decided.model is None else decided.model.digest
    made = Side(digest_made, decided.score, decided.band, decided.ruled, decided.said)
    sides = made, Side(digest, *result)
    live, challenger = reversed(sides) if decided.arm == CANARY else sides
    return Comparison(
        deployment=decided.deployment,
        arm=decided.arm or LIVE,
        transaction_id=decided.transaction_id,
        card_id=decided.card_id,
        occurred_at=decided.occurred_at,
        amount_minor=decided.amount_minor,
        currency=decided.currency,
        live=live,
        challenger=challenger,
        decision_changed=made.decision is not result.decision,
        revision=decided.revision,
        source=decided.source,
        compared_at=format_time(now_ms),
    )
