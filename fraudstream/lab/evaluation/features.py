"""What each feature of a model means to it, and how far it has moved."""

from typing import NamedTuple

import numpy as np

from fraudstream.lab.evaluation.draws import CardDraws
from fraudstream.lab.evaluation.drift import ReferenceGroups, undefined_share
from fraudstream.lab.evaluation.figures import ScoredBy
from fraudstream.lab.evaluation.importance import ImportanceSample, permuted_losses, sample_rows
from fraudstream.lab.evaluation.payments import EvaluatedPayments, column_of
from fraudstream.lab.evaluation.report import FeatureEvaluation
from fraudstream.lab.evaluation.request import EvaluationTerms, Progress
from fraudstream.lab.evaluation.scope import EvaluationScope
from fraudstream.lab.training.vectors import Table
from metrics.bootstrap import BootstrapPlan
from metrics.columns import Floats
from models.loading import Model

FEATURE_DRAWS = 200
"""Draws for figures of features: there are many of these."""


class ModelOnFile(NamedTuple):
    """A model, the vectors of the file by its feature set, what it said, and its scores of the reference."""

    model: Model
    table: Table
    said: ScoredBy
    reference_scores: Floats


def feature_evaluations(
    one: ModelOnFile,
    payments: EvaluatedPayments,
    scope: EvaluationScope,
    terms: EvaluationTerms,
    progress: Progress,
) -> tuple[FeatureEvaluation, ...]:
    """Look at every feature of a model; that with the largest loss of average precision comes first."""
    plan = BootstrapPlan(draws=min(FEATURE_DRAWS, terms.draws), seed=terms.seed)
    names = one.model.manifest.feature_names
    chosen, weights = sample_rows(payments.fraud, terms.seed)
    matrix = np.asarray(one.table.matrix[scope.rows[chosen]])
    sample = ImportanceSample(matrix, payments.fraud[chosen], payments.card[chosen], weights)
    losses = permuted_losses(sample, one.model.score, plan, lambda done: progress("features", done, len(names)))
    gains, draws = one.model.gains(), CardDraws(payments.card, plan)
    found = []
    for place, name in enumerate(names):
        before, now = (column_of(one.table, rows, place) for rows in (scope.reference, scope.rows))
        found.append(
            FeatureEvaluation(
                name=name,
                gain=float(gains[place]),
                permuted=losses[place].figure(plan),
                stability=ReferenceGroups.of(before).drift(now, draws).figure(plan),
                undefined_before=undefined_share(before),
                undefined=undefined_share(now),
            )
        )
        progress("drift", place + 1, len(names))
    return tuple(sorted(found, key=lambda feature: -(feature.permuted.value or 0.0)))
