"""The result of an evaluation, as values; `facts` is what `--json` prints. docs/reference/evaluation.md has its fields.

Shares and probabilities are 0 to 1, money is in minor units, times are RFC 3339 in UTC. A `Figure` is a value with its
interval of 95 % by card; None where it is undefined, or the interval cannot be known.
"""

from typing import Any

import msgspec

from fraudstream.ops.rollout.verdict.figures import Figure


class EvaluatedModel(msgspec.Struct, frozen=True, kw_only=True):
    """Which model was evaluated; `trained_until` is None if nobody said so."""

    digest: str
    name: str
    version: str
    trained_since: str | None
    trained_until: str | None
    review_at: float
    decline_at: float

    @property
    def label(self) -> str:
        """Its name and version, and the beginning of its digest."""
        return f"{self.name} {self.version} {self.digest[:12]}"


class MoneyEvaluation(msgspec.Struct, frozen=True, kw_only=True):
    """What the decisions on the payments of one currency cost; `costs` says what was assumed, in words."""

    payments: int
    frauds: int
    fraud_minor: int
    stopped_minor: int
    loss_minor: int
    trivial_loss_minor: int
    costs: str


class BudgetEvaluation(msgspec.Struct, frozen=True, kw_only=True):
    """The payments with the highest scores of each UTC day, so many a day: how many, and how many are fraud."""

    budget: int
    alerts: int
    caught: int
    precision: Figure
    recall: Figure


class EvaluatedBin(msgspec.Struct, frozen=True, kw_only=True):
    """Payments of like scores, in `[low, high)`."""

    low: float
    high: float
    payments: int
    mean_score: float
    fraud_share: Figure


class PrecisionRecallPoint(msgspec.Struct, frozen=True):
    """Recall and precision if all payments from a score on were alerts."""

    score: float
    recall: float
    precision: float


class FeatureEvaluation(msgspec.Struct, frozen=True, kw_only=True):
    """What a feature means to the model, and how far it has moved.

    Attributes:
        gain: of its splits in training, as a share of that of all features.
        permuted: average precision that is lost if its values are replaced by those of other payments.
        stability: its stability index against the reference.
        undefined_before, undefined: the shares of payments without it, in the reference and among those that count.
    """

    name: str
    gain: float
    permuted: Figure
    stability: Figure
    undefined_before: float
    undefined: float


class EvaluatedScores(msgspec.Struct, frozen=True, kw_only=True):
    """Payments by band of the score, in the reference and among those that count; `edges` are one more than counts."""

    edges: tuple[int, ...]
    reference: tuple[int, ...]
    evaluated: tuple[int, ...]


class ModelEvaluation(msgspec.Struct, frozen=True, kw_only=True):
    """All that was measured of one model; `figures` are named in docs/reference/evaluation.md.

    `review_band` and `decline_band` are the bands of its thresholds; None for one above 1, which no score reaches.
    """

    model: EvaluatedModel
    review_band: int | None
    decline_band: int | None
    alerts: int
    reviews: int
    declines: int
    figures: dict[str, Figure]
    budgets: tuple[BudgetEvaluation, ...]
    money: dict[str, MoneyEvaluation]
    bins: tuple[EvaluatedBin, ...]
    alert_bins: tuple[EvaluatedBin, ...]
    curve: tuple[PrecisionRecallPoint, ...]
    features: tuple[FeatureEvaluation, ...]
    scores: EvaluatedScores


class SliceEvaluation(msgspec.Struct, frozen=True, kw_only=True):
    """Some of the payments, such as a week or a segment; `figures` and `differences` are as of the whole.

    `figures` has those of each model, in the order of the report's models; `since` is the first day of a week.
    """

    kind: str
    name: str
    since: str | None
    payments: int
    cards: int
    frauds: int
    fraud_share: Figure
    figures: tuple[dict[str, Figure], ...]
    differences: dict[str, Figure]


class EvaluatedData(msgspec.Struct, frozen=True, kw_only=True):
    """What the figures rest on.

    Attributes:
        file: that was read; `fingerprint` hashes its transactions, labels included.
        since, until: the times of the first and the last payment that counts.
        held_back: whether no model was trained on any of these payments, as far as that is known.
        trained_rows: how many of them a model was trained on.
        payments, cards, frauds: that count.
        unlabelled: payments of the period without an outcome, which do not count.
        young: payments of the period that are younger than the stated maturity, which do not count.
        blocked: payments of cards that were known to be compromised, which ranking and card precision leave out.
        days: UTC days with payments.
        reference: what drift is measured against: "training" or "first week", with its times and payments.
    """

    file: str
    fingerprint: str
    since: str
    until: str
    held_back: bool
    trained_rows: int
    payments: int
    cards: int
    frauds: int
    unlabelled: int
    young: int
    blocked: int
    days: int
    reference: str
    reference_since: str
    reference_until: str
    reference_payments: int


class EvaluationReport(msgspec.Struct, frozen=True, kw_only=True):
    """An evaluation of one model, or of two on the same payments.

    Attributes:
        made_at: when it was made.
        data: what the figures rest on.
        cards_a_day, draws, seed: the terms.
        warnings: what a reader must know.
        models: the model, then the one that it is compared with, if any.
        differences: the model's figures less those of the other, paired; empty for one model.
        weeks, segments: parts of the payments.
    """

    made_at: str
    data: EvaluatedData
    cards_a_day: int
    draws: int
    seed: int
    warnings: tuple[str, ...]
    models: tuple[ModelEvaluation, ...]
    differences: dict[str, Figure]
    weeks: tuple[SliceEvaluation, ...]
    segments: tuple[SliceEvaluation, ...]

    def facts(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        facts: dict[str, Any] = msgspec.to_builtins(self)
        return facts
