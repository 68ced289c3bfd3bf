"""The record of the reasons for an alert, `explanation/1`: what made the model's score as high as it is.

In raw scores (log-odds before calibration): `base` and the contributions shown and `rest` sum to the model's raw score.
"""

from enum import StrEnum
from typing import Annotated, Literal

import msgspec

from models.policy import Unit
from stream.contract.fields import TimeText, Token, TransactionId
from stream.contract.outputs import Source

MOST_REASONS = 4


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


class ExplanationOutcome(StrEnum):
    """What became of an alert; no part of the record, but of the metrics and the log."""

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
