"""Score a matrix with the live model; where it fails, row by row, then by the model before it, then by rules."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.errors import ScoringError
from models.loading import Model
from models.policy import Decision, bands
from stream.contract.outputs import DecidedBy, ModelName
from stream.rules import decide_by_rules
from stream.shelf import Serving

Floats = NDArray[np.float64]

LIVE_MODEL_FAILED = "live_model_failed"
NO_MODEL = "no_model"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one payment came to; `score` and `band` are None where no model gave one."""

    score: float | None
    band: int | None
    decision: Decision
    decided_by: DecidedBy
    model: ModelName | None
    degraded: tuple[str, ...] = ()


def score(serving: Serving, names: Sequence[str], matrix: Floats) -> list[Judgement]:
    """Judge n payments by their features, of shape (n, len(names))."""
    if not len(matrix):
        return []
    try:
        return _by_model(serving.live, matrix, DecidedBy.MODEL)
    except ScoringError:
        return [_one(serving, names, row[np.newaxis]) for row in matrix]


def _one(serving: Serving, names: Sequence[str], row: Floats) -> Judgement:
    """Judge one payment by whoever still can."""
    candidates = [(serving.live, DecidedBy.MODEL, ()), (serving.fallback, DecidedBy.FALLBACK, (LIVE_MODEL_FAILED,))]
    for model, decided_by, degraded in candidates:
        if model is None:
            continue
        try:
            return _by_model(model, row, decided_by, degraded)[0]
        except ScoringError:
            continue
    decision = decide_by_rules(names, row[0])
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
