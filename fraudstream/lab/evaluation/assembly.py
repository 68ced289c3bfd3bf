"""Builds the report of an evaluation from what was measured."""

from collections.abc import Iterator, Sequence

import numpy as np

from fraudstream.lab.evaluation.calibration import reliability_bins
from fraudstream.lab.evaluation.draws import CardDraws
from fraudstream.lab.evaluation.drift import ReferenceGroups, score_counts
from fraudstream.lab.evaluation.features import ModelOnFile, feature_evaluations
from fraudstream.lab.evaluation.figures import ScoredBy, differences
from fraudstream.lab.evaluation.payments import EvaluatedPayments, days_of
from fraudstream.lab.evaluation.report import (
    BudgetEvaluation,
    EvaluatedData,
    EvaluatedModel,
    ModelEvaluation,
    MoneyEvaluation,
)
from fraudstream.lab.evaluation.request import EvaluationRequest, EvaluationTerms, Progress
from fraudstream.lab.evaluation.scope import EvaluationScope
from fraudstream.lab.evaluation.whole import WholeMeasures
from fraudstream.lab.training.vectors import Table
from fraudstream.ops.rollout.outcomes.costs import costs_text
from fraudstream.ops.rollout.verdict.figures import Figure
from metrics.money import MoneySums
from models.loading import Model
from models.policy import bands
from models.times import format_time


def data_of(
    request: EvaluationRequest, table: Table, scope: EvaluationScope, payments: EvaluatedPayments
) -> EvaluatedData:
    """Return what the figures rest on."""
    times, reference = payments.occurred_ms, table.occurred_ms[scope.reference]
    return EvaluatedData(
        file=str(request.file),
        fingerprint=table.fingerprint,
        since=format_time(int(times[0])),
        until=format_time(int(times[-1])),
        held_back=scope.held_back,
        trained_rows=scope.trained_rows,
        payments=len(times),
        cards=len(np.unique(payments.card)),
        frauds=int(payments.fraud.sum()),
        unlabelled=scope.unlabelled,
        young=scope.young,
        blocked=int(payments.blocked.sum()),
        days=len(np.unique(days_of(times))),
        reference="training" if scope.reference_is_training else "first week",
        reference_since=format_time(int(reference[0])),
        reference_until=format_time(int(reference[-1])),
        reference_payments=len(reference),
    )


def differences_of(whole: WholeMeasures, terms: EvaluationTerms) -> dict[str, Figure]:
    """Return the differences of two models with their intervals."""
    return {name: one.figure(terms.plan) for name, one in differences(whole.figures).items()}


def evaluations_of(
    whole: WholeMeasures,
    models: Sequence[ModelOnFile],
    given: tuple[EvaluatedPayments, EvaluationScope],
    terms: EvaluationTerms,
    progress: Progress,
) -> tuple[ModelEvaluation, ...]:
    """Return all that was measured of each model."""
    payments, scope = given
    draws, found = CardDraws(payments.card, terms.plan), list[ModelEvaluation]()
    for place, one in enumerate(models):
        figures = {name: figure.figure(terms.plan) for name, figure in whole.figures[place].items()}
        stability = ReferenceGroups.of(one.reference_scores).drift(one.said.scores, draws)
        _, reviews, declines = np.bincount(one.said.decisions, minlength=3).tolist()
        every, alerts = whole.bins[place]
        found.append(
            ModelEvaluation(
                model=_model(one.model, scope.seen_until_ms[place]),
                review_band=_band(one.model.policy.review_at),
                decline_band=_band(one.model.policy.decline_at),
                alerts=reviews + declines,
                reviews=reviews,
                declines=declines,
                figures=figures | {"score_stability": stability.figure(terms.plan)},
                budgets=tuple(_budgets(whole, place, payments, figures)),
                money=dict(_money(whole, one.said, terms)),
                bins=reliability_bins(every, terms.plan),
                alert_bins=reliability_bins(alerts, terms.plan),
                curve=whole.curves[place],
                features=feature_evaluations(one, payments, scope, terms, progress),
                scores=score_counts(one.reference_scores, one.said.scores),
            )
        )
    return tuple(found)


def _model(model: Model, until: int | None) -> EvaluatedModel:
    manifest = model.manifest
    return EvaluatedModel(
        digest=model.digest,
        name=model.name,
        version=model.version,
        trained_since=None if manifest.training is None else manifest.training.since,
        trained_until=None if until is None else format_time(until),
        review_at=model.policy.review_at,
        decline_at=model.policy.decline_at,
    )


def _band(threshold: float) -> int | None:
    return int(bands(np.array([threshold]))[0]) if threshold <= 1 else None


def _budgets(
    whole: WholeMeasures, place: int, payments: EvaluatedPayments, figures: dict[str, Figure]
) -> Iterator[BudgetEvaluation]:
    for budget, alerted in whole.budgets[place].alerted.items():
        yield BudgetEvaluation(
            budget=budget,
            alerts=int(alerted.sum()),
            caught=int((alerted & payments.fraud).sum()),
            precision=figures[f"precision@{budget}"],
            recall=figures[f"recall@{budget}"],
        )


def _money(whole: WholeMeasures, said: ScoredBy, terms: EvaluationTerms) -> Iterator[tuple[str, MoneyEvaluation]]:
    for one in whole.currencies:
        costs, _ = terms.costs.of(one.currency)
        sums = MoneySums.of(one.priced(said), costs)
        yield (
            one.currency,
            MoneyEvaluation(
                payments=len(one.rows),
                frauds=int(one.payments.fraud.sum()),
                fraud_minor=sums.fraud_minor,
                stopped_minor=sums.stopped_minor,
                loss_minor=sums.loss_minor,
                trivial_loss_minor=sums.trivial_loss_minor,
                costs=costs_text(costs, one.currency),
            ),
        )
