"""Explain alerts in batches: one matrix for each model, one call of TreeSHAP, one record for each alert.

An alert that cannot be explained still gets a record, without reasons of the model, and says why in its outcome: that
every alert has one is what a consumer relies on.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from features.reasons import ReasonTable
from fraudstream.ops.watch.explanations.reasons import ModelPart, chosen_reasons
from fraudstream_client.outputs import AlertExplanation, Score
from models.errors import ScoringError
from models.loading import Model
from models.policy import Floats
from models.times import format_time
from stream.scoring.facts import ExplanationOutcome

log = logging.getLogger("fraudstream.explanations")


class Explained(NamedTuple):
    """The explanation of one alert, and what became of it."""

    explanation: AlertExplanation
    outcome: ExplanationOutcome


class _Failed(NamedTuple):
    """Why the features' contributions to a score cannot be told."""

    outcome: ExplanationOutcome
    why: str


def explain(table: ReasonTable, scores: Sequence[Score], models: Mapping[str, Model], now_ms: int) -> list[Explained]:
    """Explain alerts, in their order.

    The result depends on the scores and models alone, but for `explained_at`: the same alert is explained alike by
    whichever process, in whichever batch.

    Args:
        table: the codes.
        scores: valid scores that are not `approve`.
        models: those that decided them, by digest; all of them.
        now_ms: the time of the explanation.
    """
    parts = _parts(scores, models)
    return [_explained(table, score, part, format_time(now_ms)) for score, part in zip(scores, parts, strict=True)]


def _explained(table: ReasonTable, score: Score, part: ModelPart | _Failed | None, explained_at: str) -> Explained:
    if isinstance(part, _Failed):
        place = f"{score.source.topic} {score.source.partition} offset {score.source.offset}"
        log.warning("the alert of %s is written without reasons of its model: %s", place, part.why)
        outcome, chosen = part.outcome, chosen_reasons(table, score, None)
    else:
        outcome = ExplanationOutcome.BY_RULES if part is None else ExplanationOutcome.EXPLAINED
        chosen = chosen_reasons(table, score, part)
    explanation = AlertExplanation(
        transaction_id=score.transaction_id,
        card_id=score.card_id,
        digest=None if score.model is None else score.model.digest,
        score=score.score,
        reasons=chosen.reasons,
        base=chosen.base,
        rest=chosen.rest,
        source=score.source,
        explained_at=explained_at,
    )
    return Explained(explanation, outcome)


def _parts(scores: Sequence[Score], models: Mapping[str, Model]) -> list[ModelPart | _Failed | None]:
    """Return what the features of each score add; None for one that no model decided."""
    parts: list[ModelPart | _Failed | None] = [None] * len(scores)
    rows: dict[str, list[int]] = {}
    for at, score in enumerate(scores):
        if score.model is not None:
            parts[at] = _unusable(score, models[score.model.digest])
            if parts[at] is None:
                rows.setdefault(score.model.digest, []).append(at)
    for digest, some in rows.items():
        for at, part in zip(some, _computed([scores[at] for at in some], models[digest]), strict=True):
            parts[at] = part
    return parts


def _unusable(score: Score, model: Model) -> _Failed | None:
    """Return why a score's features cannot be given to its model; None if they can."""
    if score.features is None:
        return _Failed(ExplanationOutcome.NO_FEATURES, "its score carries no features")
    names = model.manifest.feature_names
    if score.features.keys() != set(names):
        other = sorted(score.features.keys() ^ set(names))
        why = f"its features are not those of model {model.digest[:12]}: {', '.join(other[:5])}"
        return _Failed(ExplanationOutcome.OTHER_FEATURES, why)
    return None


def _computed(scores: Sequence[Score], model: Model) -> list[ModelPart | _Failed]:
    """Return what the features of scores of one model add to its raw score, each checked."""
    names = model.manifest.feature_names
    try:
        found = model.contributions(_matrix(scores, names))
    except ScoringError as error:
        return [_Failed(ExplanationOutcome.INEXACT, str(error)) for _ in scores]
    stated = np.array([np.nan if one.score is None else one.score for one in scores])
    same, exact = (found.scores == stated).tolist(), found.are_exact().tolist()
    columns = zip(found.margins.tolist(), found.base.tolist(), found.features.tolist(), strict=True)
    parts: list[ModelPart | _Failed] = []
    for at, (margin, base, contributions) in enumerate(columns):
        if not same[at]:
            why = f"model {model.digest[:12]} gives {float(found.scores[at])} for its features, not {scores[at].score}"
            parts.append(_Failed(ExplanationOutcome.OTHER_SCORE, why))
        elif not exact[at]:
            gap = base + sum(contributions) - margin
            why = f"the contributions of model {model.digest[:12]} miss its raw score by {gap:.3g}"
            parts.append(_Failed(ExplanationOutcome.INEXACT, why))
        else:
            parts.append(ModelPart(margin, base, names, contributions))
    return parts


def _matrix(scores: Sequence[Score], names: Sequence[str]) -> Floats:
    """Return the features of scores that carry them, float64 of shape (n, len(names)), null as NaN."""
    values = [[_number((one.features or {})[name]) for name in names] for one in scores]
    return np.array(values, dtype=np.float64).reshape(len(scores), len(names))


def _number(value: float | None) -> float:
    return np.nan if value is None else value
