"""Distil: read, vectorise, split, score by the teacher, train students, compare on the held-back part, measure, store.

This is the page to read first. The same file, teacher and request give the same digest; row times are in the report
alone.
"""

import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from fraudstream.lab.dataset.file import TransactionsFile
from fraudstream.lab.dataset.own_columns import OwnColumns
from fraudstream.lab.dataset.predictions_file import open_needed
from fraudstream.lab.distillation.comparison import HeldBack, MoneyTerms, compare
from fraudstream.lab.distillation.report import DistillationReport, RowTime
from fraudstream.lab.distillation.request import DistillationRequest, UnpricedCurrencyError
from fraudstream.lab.distillation.speed import TimedCall, TimedModel, measure_times, sample_rows
from fraudstream.lab.distillation.student import Student, StudentInputs, said_on, train_student
from fraudstream.lab.distillation.summary import ComparedStudents, PreparedFile, summarise
from fraudstream.lab.distillation.teacher import (
    TeacherMember,
    check_unseen,
    load_members,
    score_by_file,
    score_by_models,
)
from fraudstream.lab.evaluation.payments import EvaluatedPayments, payments_of, read_file_tables
from fraudstream.lab.training.assembly import assemble, data_of, fit_decisions, manifest_of, margins, store
from fraudstream.lab.training.labels import LabelTerms, look_at_labels
from fraudstream.lab.training.request import PolicyWish, Progress
from fraudstream.lab.training.split import SingleFit, split
from fraudstream.lab.training.trees import with_categories
from fraudstream.lab.training.vectors import Table, reach_ms
from fraudstream.lab.training.weakness import ranks_by_chance, refuse_weak
from models.artifact import Artifact, as_weaknesses
from models.repository import Repository


def distil(request: DistillationRequest, repository: Repository, progress: Progress) -> DistillationReport:
    """Train a student, store its artifact in the repository, and report what it costs and saves.

    Whether the repository can be written, the teacher can be used, and there are labels, is checked before features are
    computed.

    Raises:
        DistillationError: the teacher cannot teach on this file, or costs are stated for other currencies alone.
        RescoringError: a model that is to teach does not exist or cannot be used here.
        FileError: what is wrong with the file, and what to do about it.
        TrainingError: its labels are too few, or the student does not predict them.
        ModelError: the repository cannot be written.
    """
    repository.check_writable()
    members = load_members(request, repository)
    for member in members:  # a prune keeps them until the student is stored, which names them
        repository.renew(member.model.digest)
    with tempfile.TemporaryDirectory(prefix="fraudstream-distil-") as name:
        folder = Path(name)
        prepared, terms = _prepare(request, members, folder, progress)
        request = replace(request, maturity_days=terms.maturity_days)
        table = prepared.tables[request.sets.newest.fingerprint].table
        parts = _parts(request, table)
        table = with_categories(table, parts.train, request.sets.newest)
        check_unseen(members, request, repository, int(table.occurred_ms[parts.held_back[0]]))
        if request.scores is None:
            teacher = score_by_models(members, prepared.tables, parts, request, progress)
        else:
            teacher = score_by_file(request.scores, request, table, parts, folder)
        found = _students(StudentInputs(request, table, parts, teacher), prepared, members, progress)
        weak = _weaknesses(found)
        artifact = _artifact(found, (*terms.weaknesses, *weak))
        digest = store(artifact, request.sets.newest, repository, folder)
    return summarise(digest, artifact.manifest, members, prepared, found)


def _prepare(
    request: DistillationRequest, members: tuple[TeacherMember, ...], folder: Path, progress: Progress
) -> tuple[PreparedFile, LabelTerms]:
    """Read the file, and compute vectors by the student's feature set and by those of its teachers.

    Which labels count, and whether the file can be split, is known before vectors are computed.
    """
    progress("read", 0, 1)
    needed = dict.fromkeys((request.sets.newest.fingerprint, *(one.model.fingerprint for one in members)))
    sets = {fingerprint: request.sets.by_fingerprint[fingerprint] for fingerprint in needed}
    names = {name for one in sets.values() for name in one.prediction_delays_ms}
    with (
        open_needed(request.predictions, names, folder, request.threads) or nullcontext() as predictions,
        TransactionsFile(
            request.file, folder, request.threads, own=OwnColumns.of(request.sets), needs_labels=True
        ) as source,
    ):
        terms, table = look_at_labels(source, request)
        _parts(request, table)
        progress("read", 1, 1)
        found = read_file_tables(source, sets, folder, progress, predictions)
        tables = {name: file._replace(table=terms.apply(file.table)) for name, file in found.items()}
        return PreparedFile(source.facts, source.dropped, tables, terms.notes), terms


def _parts(request: DistillationRequest, table: Table) -> SingleFit:
    """Split a table by time, as training does, for a model that is fitted once."""
    return split(table, reach_ms(request.sets.newest), request.split).single_fit


def _students(
    inputs: StudentInputs, prepared: PreparedFile, members: tuple[TeacherMember, ...], progress: Progress
) -> ComparedStudents:
    """Train students of all sizes, and compare each with the teacher on the held-back part."""
    request, table, parts, teacher = inputs
    sizes = tuple(dict.fromkeys((request.size, *request.sizes)))
    file = prepared.tables[request.sets.newest.fingerprint]
    payments, currencies = payments_of(file, parts.held_back, table.fraud), file.columns.currencies
    terms = _money_terms(request, payments, currencies)
    by_teacher = said_on(teacher.scores[parts.held_back], teacher.policy)
    students, held = list[Student](), list[HeldBack]()
    for place, size in enumerate(sizes, start=1):
        students.append(train_student(inputs, size))
        held.append(HeldBack(payments, currencies, by_teacher, students[-1].said))
        progress("students", place, len(sizes))
    figures = tuple(compare(one, terms) for one in held)
    times, teacher_time = _times(inputs, students, prepared, members)
    return ComparedStudents(inputs, tuple(students), held[0], terms, figures, times, teacher_time)


def _money_terms(request: DistillationRequest, payments: EvaluatedPayments, currencies: Sequence[str]) -> MoneyTerms:
    """Return the currency of most held-back payments, unless another is stated, and its costs."""
    counts = np.bincount(payments.currency, minlength=len(currencies))
    most = min(range(len(currencies)), key=lambda place: (-counts[place], currencies[place]))
    currency = request.currency or currencies[most]
    try:
        return MoneyTerms(currency, request.costs.of(currency)[0])
    except ValueError as error:
        raise UnpricedCurrencyError(str(error)) from error


def _times(
    inputs: StudentInputs, students: list[Student], prepared: PreparedFile, members: tuple[TeacherMember, ...]
) -> tuple[tuple[RowTime, ...], RowTime | None]:
    """Measure the row times of all students and of the teacher, in turn."""
    rows = sample_rows(inputs.parts.held_back)
    matrices = {name: np.asarray(file.table.matrix[rows]) for name, file in prepared.tables.items()}
    own = matrices[inputs.request.sets.newest.fingerprint]
    timed = [TimedModel((TimedCall(student.score, own),)) for student in students]
    if not members:
        return measure_times(timed), None
    calls = tuple(TimedCall(one.model.score, matrices[one.model.fingerprint]) for one in members)
    *times, teacher = measure_times([*timed, TimedModel(calls)])
    return tuple(times), teacher


def _weaknesses(found: ComparedStudents) -> tuple[str, ...]:
    """Return what is weak about the student that is stored: how many it alerts, and its trees, are as was asked.

    Raises:
        WeakModelError: something is, and it is not accepted.
    """
    request, table, parts, _ = found.inputs
    ranked = margins(found.students[0].booster, table, parts.held_back)
    return refuse_weak(ranks_by_chance(table, parts.held_back, ranked), accepted=request.accept_weak)


def _artifact(found: ComparedStudents, weak: tuple[str, ...]) -> Artifact:
    """Return the first student as an artifact, with its probes and its measures on the held-back part."""
    request, table, parts, teacher = found.inputs
    student = found.students[0]
    terms = request.terms._replace(policy=PolicyWish(thresholds=student.policy))
    assembled = fit_decisions(student.booster, table, (parts.calibrate, parts.held_back), terms)
    training = data_of(table, np.concatenate((parts.train, parts.calibrate)), request.maturity_days)
    manifest = manifest_of(request, request.sets.newest, table, student.trees, assembled, training=training)
    manifest = msgspec.structs.replace(
        manifest, parent=teacher.parent, distilled=teacher.distilled, weaknesses=as_weaknesses(weak)
    )
    return assemble(manifest, student.trees.text, request.sets.newest)
