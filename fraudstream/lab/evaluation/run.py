"""Evaluate a model, or two on the same payments: read, vectorise, choose what counts, score, measure, report.

This is the page to read first. The same file, models and request give the same report.
"""

import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np

from features.history.store import Ints
from features.own_fields import CARRIED
from fraudstream.lab.dataset.file import TransactionsFile
from fraudstream.lab.dataset.own_columns import OwnColumns
from fraudstream.lab.dataset.predictions_file import open_needed
from fraudstream.lab.evaluation.assembly import data_of, differences_of, evaluations_of
from fraudstream.lab.evaluation.drift import ReferenceGroups
from fraudstream.lab.evaluation.features import ModelOnFile
from fraudstream.lab.evaluation.figures import ScoredBy
from fraudstream.lab.evaluation.payments import FileTable, payments_of, read_file_tables
from fraudstream.lab.evaluation.report import EvaluationReport
from fraudstream.lab.evaluation.request import EvaluationRequest, Progress
from fraudstream.lab.evaluation.scope import EvaluationScope, choose_scope
from fraudstream.lab.evaluation.slices import SliceContext, segment_slices, slice_reports, weeks
from fraudstream.lab.evaluation.whole import measure_whole
from fraudstream.lab.rescoring.rescore import opened, resolve, usable_model
from fraudstream.lab.training.assembly import scored_part
from fraudstream.lab.training.policy import said_by
from fraudstream.lab.training.seen import known_until_ms
from fraudstream.lab.training.vectors import Table, reach_ms, score_blocks
from metrics.columns import Floats
from models.loading import Model
from models.times import format_time


def evaluate(request: EvaluationRequest, progress: Progress) -> EvaluationReport:
    """Evaluate a model on the payments of a file that it was not trained on, and one beside it where it is named.

    Raises:
        FileError: what is wrong with a file, and what to do about it.
        EvaluationError: no payment counts, or only some that were trained on.
        RescoringError: what is wrong with a model.
        FormulaError: a formula of a feature set raised, or returned no number.
    """
    names = [request.model, *([] if request.against is None else [request.against])]
    models = [usable_model(request.models, resolve(request.models, name), request.sets) for name in names]
    with tempfile.TemporaryDirectory(prefix="fraudstream-evaluation-") as name:
        files = _read(request, models, Path(name), progress)
        reach = max(reach_ms(request.sets.by_fingerprint[model.fingerprint]) for model in models)
        repository = opened(request.models)
        seen = tuple(known_until_ms(model.manifest, repository) for model in models)
        scope = choose_scope(models, seen, files[0].table, request.period, reach)
        scored = [_on_file(model, file.table, scope, progress) for model, file in zip(models, files, strict=True)]
        return _measured(request, files[0], scope, scored, progress)


def _read(request: EvaluationRequest, models: Sequence[Model], folder: Path, progress: Progress) -> list[FileTable]:
    """Return the file's payments for each model, computed once for models of the same feature set."""
    progress("read", 0, 1)
    sets = {model.fingerprint: request.sets.by_fingerprint[model.fingerprint] for model in models}
    names = {name for one in sets.values() for name in one.prediction_delays_ms}
    with (
        open_needed(request.predictions, names, folder, request.threads) or nullcontext() as predictions,
        TransactionsFile(request.file, folder, request.threads, own=_columns(request), needs_labels=True) as source,
    ):
        progress("read", 1, 1)
        found = read_file_tables(source, sets, folder, progress, predictions, categories=request.segments)
    return [found[model.fingerprint] for model in models]


def _columns(request: EvaluationRequest) -> OwnColumns:
    """Return the columns of fields that models read, and those that segments are cut by."""
    read = OwnColumns.of(request.sets)
    return read._replace(carried=read.carried.union(CARRIED) if {*CARRIED} & {*request.segments} else read.carried)


def _on_file(model: Model, table: Table, scope: EvaluationScope, progress: Progress) -> ModelOnFile:
    """Score and decide the payments that count, by costs if the model has some, and score those of the reference."""
    scores = _scores(model, table, scope.rows, progress)
    part = scored_part(table, scope.rows, scores, scope.rows)
    decisions = said_by(model.policy, model.manifest.cost_policy, part).astype(np.int64)
    return ModelOnFile(model, table, ScoredBy(scores, decisions), _scores(model, table, scope.reference, progress))


def _scores(model: Model, table: Table, rows: Ints, progress: Progress) -> Floats:
    return score_blocks(model.score, table, rows, partial(progress, "score"))


def _measured(
    request: EvaluationRequest,
    file: FileTable,
    scope: EvaluationScope,
    models: Sequence[ModelOnFile],
    progress: Progress,
) -> EvaluationReport:
    payments, terms = payments_of(file, scope.rows, scope.fraud), request.terms
    scored = [one.said for one in models]
    whole = measure_whole(payments, scored, file.columns.currencies, terms, progress)
    reference = [ReferenceGroups.of(one.reference_scores) for one in models]
    context = SliceContext(payments, scored, terms, reference)
    history_ms = int(payments.occurred_ms[0] - file.table.occurred_ms[0])
    cut_by = file.columns.currencies, history_ms, file.columns.named
    return EvaluationReport(
        made_at=format_time(request.made_ms),
        data=data_of(request, file.table, scope, payments),
        cards_a_day=terms.cards_a_day,
        draws=terms.draws,
        seed=terms.seed,
        warnings=scope.warnings,
        models=evaluations_of(whole, models, (payments, scope), terms, progress),
        differences=differences_of(whole, terms),
        weeks=slice_reports(context, weeks(payments), progress),
        segments=slice_reports(context, segment_slices(payments, *cut_by), progress),
    )
