"""Score a matrix with the live model; if that fails, row by row, then with the fallback model, then by rules.

The rule policy decides where no model can, so that every payment gets a decision. It is deliberately simple and mild:
it never declines, and sends to review what an analyst would check first.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.errors import ScoringError
from models.loading import Model
from models.policy import Decision, bands
from stream.contract.outputs import DecidedBy, ModelName
from stream.control.model_cache import ServingModels
from stream.scoring.encode import UNDECIDABLE, Judgement

REVIEW_ABOVE = {
    "card_count_10m": 5.0,
    "card_amount_to_mean_30d": 10.0,
    "card_count_1h": 15.0,
}
"""The value of each feature above which a payment is reviewed; undefined and missing features are ignored."""
LIVE_MODEL_FAILED = "live_model_failed"
NO_MODEL = "no_model"

Floats = NDArray[np.float64]


def decide_by_rules(names: Sequence[str], vector: NDArray[np.float64]) -> Decision:
    """Decide one payment by its features, of shape (len(names),)."""
    values = dict(zip(names, vector.tolist(), strict=True))
    if any(values.get(name, 0.0) > limit for name, limit in REVIEW_ABOVE.items()):
        return Decision.REVIEW
    return Decision.APPROVE


def judge_undecidable(names: Sequence[str], matrix: Floats) -> list[Judgement]:
    """Judge n payments by rules after an error; features that cannot be computed are NaN."""
    return [
        Judgement(None, None, decide_by_rules(names, vector), DecidedBy.RULES, None, (UNDECIDABLE,))
        for vector in matrix
    ]


class VectorSource(Protocol):
    """The vectors of n payments, by the fingerprint of a feature set; implemented by `features.vector.sets`."""

    def of(self, fingerprint: str) -> Floats:
        """Return float64 of shape (n, features)."""
        ...

    def names(self, fingerprint: str) -> Sequence[str]:
        """Return the features' names."""
        ...


def score(serving: ServingModels, vectors: VectorSource) -> list[Judgement]:
    """Judge n payments; each model uses the features that it was trained on."""
    matrix = vectors.of(serving.live.fingerprint)
    if not len(matrix):
        return []
    try:
        return _by_model(serving.live, matrix, DecidedBy.MODEL)
    except ScoringError:
        return [_score_row(serving, vectors, at) for at in range(len(matrix))]


def _score_row(serving: ServingModels, vectors: VectorSource, at: int) -> Judgement:
    """Judge one payment with the first model that can score it, else by rules."""
    candidates = [(serving.live, DecidedBy.MODEL, ()), (serving.fallback, DecidedBy.FALLBACK, (LIVE_MODEL_FAILED,))]
    for model, decided_by, degraded in candidates:
        if model is None:
            continue
        try:
            return _by_model(model, vectors.of(model.fingerprint)[at : at + 1], decided_by, degraded)[0]
        except ScoringError:
            continue
    live = serving.live.fingerprint
    decision = decide_by_rules(vectors.names(live), vectors.of(live)[at])
    return Judgement(None, None, decision, DecidedBy.RULES, None, (LIVE_MODEL_FAILED, NO_MODEL))


def _by_model(model: Model, matrix: Floats, decided_by: DecidedBy, degraded: tuple[str, ...] = ()) -> list[Judgement]:
    scores = model.score(matrix)
    name = ModelName(model.name, model.version, model.digest)
    return [
        Judgement(value, band, decision, decided_by, name, degraded)
        for value, band, decision in zip(
            scores.tolist(), bands(scores).tolist(), model.policy.decide(scores), strict=True
        )
    ]
