"""Distil: read, vectorise, split, score by the teacher, train students, compare on the held-back part, measure, store.

This is the page to read first. The same file, teacher and request give the same digest; row times are in the report
alone.
"""

import tempfile
from collections import Counter
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np

from fraudstream.lab.dataset.file import TransactionsFile
from fraudstream.lab.dataset.predictions_file import open_needed
from fraudstream.lab.distillation.comparison import HeldBackRows, MoneyTerms, compare
from fraudstream.lab.distillation.parts import parts_of
from fraudstream.lab.distillation.payments import FilePayments, read_payments
from fraudstream.lab.distillation.report import DistillationReport, RowTime, TeacherStudentFigures
from fraudstream.lab.distillation.request import DistillationRequest, UnpricedCurrencyError
from fraudstream.lab.distillation.speed import TimedCall, TimedModel, measure_times, sample_rows
from fraudstream.lab.distillation.student import Student, StudentInputs, decision_codes, train_student
from fraudstream.lab.distillation.summary import ComparedStudents, PreparedFile, summarise
from fraudstream.lab.distillation.teacher import (
    TeacherMember,
    check_unseen,
    load_members,
    score_by_file,
    score_by_models,
)
from fraudstream.lab.training.assembly import assemble, data_of, fit_decisions, margins, store
from fraudstream.lab.training.evaluation import blocked
from fraudstream.lab.training.labels import LabelTerms, label_terms, table_of
from fraudstream.lab.training.request import PolicyWish, Progress
from fraudstream.lab.training.split import check_labels
from fraudstream.lab.training.vectors import Table, VectorPass, fill_table
from fraudstream.lab.training.weakness import ranks_by_chance, refuse_weak
from models.artifact import Artifact, Manifest, as_weaknesses, with_policy
from models.repository import Repository
from models.times import format_time


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
        table = prepared.tables[request.sets.newest.fingerprint]
        parts = parts_of(table, request.sets.newest, request.split)
        check_unseen(members, request, repository, int(table.occurred_ms[parts.held_back[0]]))
        if request.scores is None:
            teacher = score_by_models(members, prepared.tables, parts, request, progress)
        else:
            teacher = score_by_file(request.scores, prepared.payments, table, parts, (request, folder))
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
        TransactionsFile(request.file, folder, request.threads, needs_labels=True) as source,
    ):
        check_labels(source.facts.labelled, source.facts.usable, source.facts.last_ms)
        light = table_of(source.labels())
        terms = label_terms(light, request)
        parts_of(terms.apply(light), request.sets.newest, request.split)
        payments = read_payments(source)
        progress("read", 1, 1)
        tables: dict[str, Table] = {}
        for fingerprint, feature_set in sets.items():
            place = folder / fingerprint
            place.mkdir()
            pass_ = VectorPass(source, feature_set, predictions)
            tables[fingerprint] = terms.apply(fill_table(source, pass_, place, progress))
        return PreparedFile(source.facts, source.dropped, payments, tables, terms.notes), terms


def _students(
    inputs: StudentInputs, prepared: PreparedFile, members: tuple[TeacherMember, ...], progress: Progress
) -> ComparedStudents:
    """Train students of all sizes, and compare each with the teacher on the held-back part."""
    request, table, parts, teacher = inputs
    sizes = tuple(dict.fromkeys((request.size, *request.sizes)))
    payments = prepared.payments.of(parts.held_back)
    terms = _money_terms(request, payments)
    scores, compromised = teacher.scores[parts.held_back], blocked(table, parts.held_back)
    students: list[Student] = []
    figures: list[TeacherStudentFigures] = []
    held: HeldBackRows | None = None
    for place, size in enumerate(sizes, start=1):
        student = train_student(inputs, size)
        rows = HeldBackRows(
            table.card[parts.held_back],
            table.fraud[parts.held_back],
            compromised,
            payments,
            scores,
            student.scores,
            decision_codes(scores, teacher.policy),
            decision_codes(student.scores, student.policy),
        )
        held = held or rows
        students.append(student)
        figures.append(compare(rows, terms))
        progress("students", place, len(sizes))
    times, teacher_time = _times(inputs, students, prepared.tables, members)
    assert held is not None  # noqa: S101 - there is at least the size to store
    return ComparedStudents(inputs, tuple(students), held, terms, tuple(figures), times, teacher_time)


def _money_terms(request: DistillationRequest, payments: FilePayments) -> MoneyTerms:
    """Return the currency of most held-back payments, unless another is stated, and its costs."""
    currency = request.currency or Counter(sorted(payments.currencies.tolist())).most_common(1)[0][0]
    try:
        return MoneyTerms(currency, request.costs.of(currency)[0])
    except ValueError as error:
        raise UnpricedCurrencyError(str(error)) from error


def _times(
    inputs: StudentInputs, students: list[Student], tables: Mapping[str, Table], members: tuple[TeacherMember, ...]
) -> tuple[tuple[RowTime, ...], RowTime | None]:
    """Measure the row times of all students and of the teacher, in turn."""
    rows = sample_rows(inputs.parts.held_back)
    matrices = {name: np.asarray(table.matrix[rows]) for name, table in tables.items()}
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
    manifest = Manifest(
        name=request.name,
        version=request.version or format_time(table.last_ms)[:10],
        fingerprint=request.sets.newest.fingerprint,
        feature_names=request.sets.newest.names,
        training=data_of(table, np.concatenate((parts.train, parts.calibrate)), request.maturity_days),
        code_version=request.code_version,
        parameters=student.parameters,
        seed=request.seed,
        provenance=request.provenance,
        metrics=assembled.metrics,
        calibration=assembled.calibration,
        policy=student.policy,
        parent=teacher.parent,
        distilled=teacher.distilled,
        reference=assembled.reference,
        weaknesses=as_weaknesses(weak),
    )
    return assemble(with_policy(manifest, *assembled.chosen), student.text, request.sets.newest)
