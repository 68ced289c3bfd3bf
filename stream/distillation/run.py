"""Distil: read, vectorise, split, score by the teacher, train students, compare on the held-back part, measure, store.

This is the page to read first. The same file, teacher and request give the same digest; row times are in the report
alone.
"""

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from features.history.store import Ints
from models.artifact import Artifact, Manifest
from models.repository import Repository
from models.times import format_time
from stream.dataset.file import FileFacts, TransactionsFile
from stream.distillation.comparison import HeldBackRows, MoneyTerms, compare, decision_pairs
from stream.distillation.payments import PaymentColumns, read_payments
from stream.distillation.report import (
    DistillationReport,
    RowTime,
    ScoresFacts,
    SizeResult,
    SpeedComparison,
    TeacherFacts,
    TeacherStudentFigures,
)
from stream.distillation.request import DistillationRequest, UnstatedCostsError
from stream.distillation.segments import compare_segment, segments
from stream.distillation.speed import TimedCall, TimedModel, measure_times, on_front, sample_rows
from stream.distillation.student import Student, StudentInputs, decision_codes, train_student
from stream.distillation.teacher import (
    TeacherMember,
    TeacherScores,
    check_unseen,
    load_members,
    score_by_file,
    score_by_models,
)
from stream.outcomes.costs import costs_text
from stream.training.assembly import data_of, fit_decisions, period, store
from stream.training.evaluation import Split, check_labels, measure, split
from stream.training.request import Progress
from stream.training.vectors import Table, build_table, reach_ms

_FAR_VOLUME = 0.1
"""A volume that is off by more is told as a warning."""


class _Prepared(NamedTuple):
    """The file as it was read: its facts, dropped values, payments, and a table of vectors for each feature set."""

    facts: FileFacts
    dropped: dict[str, int]
    payments: PaymentColumns
    tables: Mapping[str, Table]


class _Found(NamedTuple):
    """What the run found out: students of all sizes, the stored one first, with their comparisons and row times."""

    inputs: StudentInputs
    students: tuple[Student, ...]
    held: HeldBackRows
    terms: MoneyTerms
    figures: tuple[TeacherStudentFigures, ...]
    times: tuple[RowTime, ...]
    teacher_time: RowTime | None


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
    with tempfile.TemporaryDirectory(prefix="fraudstream-distil-") as name:
        folder = Path(name)
        prepared = _prepare(request, members, folder, progress)
        table = prepared.tables[request.sets.newest.fingerprint]
        parts = split(table, reach_ms(request.sets.newest))
        check_unseen(members, request, repository, int(table.occurred_ms[parts.validate[0]]))
        if request.scores is None:
            teacher = score_by_models(members, prepared.tables, parts, request, progress)
        else:
            teacher = score_by_file(request.scores, prepared.payments, table, parts, (request, folder))
        found = _students(StudentInputs(request, table, parts, teacher), prepared, members, progress)
        artifact = _artifact(found)
        digest = store(artifact, request.sets.newest, repository, folder)
    return _report(digest, artifact.manifest, members, prepared, found)


def _prepare(
    request: DistillationRequest, members: tuple[TeacherMember, ...], folder: Path, progress: Progress
) -> _Prepared:
    """Read the file, and compute vectors by the student's feature set and by those of its teachers."""
    progress("read", 0, 1)
    with TransactionsFile(request.file, folder, request.threads, needs_labels=True) as source:
        check_labels(source.facts.labelled, source.facts.usable, source.facts.last_ms)
        payments = read_payments(source)
        progress("read", 1, 1)
        needed = dict.fromkeys((request.sets.newest.fingerprint, *(one.model.fingerprint for one in members)))
        tables = {}
        for fingerprint in needed:
            place = folder / fingerprint
            place.mkdir()
            feature_set = request.sets.by_fingerprint[fingerprint]
            tables[fingerprint] = build_table(source, feature_set, place, request.seed, progress)
        return _Prepared(source.facts, source.dropped, payments, tables)


def _students(
    inputs: StudentInputs, prepared: _Prepared, members: tuple[TeacherMember, ...], progress: Progress
) -> _Found:
    """Train students of all sizes, and compare each with the teacher on the held-back part."""
    request, table, parts, teacher = inputs
    sizes = tuple(dict.fromkeys((request.size, *request.sizes)))
    payments = prepared.payments.of(parts.validate)
    terms = _money_terms(request, payments)
    scores = teacher.scores[parts.validate]
    students, figures = [], []
    held = None
    for place, size in enumerate(sizes, start=1):
        student = train_student(inputs, size)
        rows = HeldBackRows(
            table.card[parts.validate],
            table.fraud[parts.validate],
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
    return _Found(inputs, tuple(students), held, terms, tuple(figures), times, teacher_time)


def _money_terms(request: DistillationRequest, payments: PaymentColumns) -> MoneyTerms:
    """Return the currency of most held-back payments, unless another is stated, and its costs."""
    currency = request.currency or Counter(sorted(payments.currencies.tolist())).most_common(1)[0][0]
    try:
        return MoneyTerms(currency, request.costs.of(currency)[0])
    except ValueError as error:
        raise UnstatedCostsError(str(error)) from error


def _times(
    inputs: StudentInputs, students: list[Student], tables: Mapping[str, Table], members: tuple[TeacherMember, ...]
) -> tuple[tuple[RowTime, ...], RowTime | None]:
    """Measure the row times of all students and of the teacher, in turn."""
    rows = sample_rows(inputs.parts.validate)
    matrices = {name: np.asarray(table.matrix[rows]) for name, table in tables.items()}
    own = matrices[inputs.request.sets.newest.fingerprint]
    timed = [TimedModel((TimedCall(student.score, own),)) for student in students]
    if not members:
        return measure_times(timed), None
    calls = tuple(TimedCall(one.model.score, matrices[one.model.fingerprint]) for one in members)
    *times, teacher = measure_times([*timed, TimedModel(calls)])
    return tuple(times), teacher


def _artifact(found: _Found) -> Artifact:
    """Return the first student as an artifact, with its probes and its measures on the held-back part."""
    request, table, parts, teacher = found.inputs
    student = found.students[0]
    assembled = fit_decisions(student.booster, table, (parts.calibrate, parts.validate), request.shares)
    manifest = Manifest(
        name=request.name,
        version=request.version or format_time(table.last_ms)[:10],
        fingerprint=request.sets.newest.fingerprint,
        feature_names=request.sets.newest.names,
        training=data_of(table, np.concatenate((parts.train, parts.calibrate))),
        code_version=request.code_version,
        parameters=student.parameters,
        seed=request.seed,
        metrics=measure(table, parts.validate, student.scores, student.policy),
        calibration=student.calibration,
        policy=student.policy,
        parent=teacher.parent,
        distilled=teacher.distilled,
    )
    return Artifact(
        manifest=manifest, model_text=student.text, probe_rows=assembled.probe_rows, probe_histories=table.probes
    )


def _report(
    digest: str, manifest: Manifest, members: tuple[TeacherMember, ...], prepared: _Prepared, found: _Found
) -> DistillationReport:
    request, table, parts, teacher = found.inputs
    facts, student = prepared.facts, found.students[0]
    return DistillationReport(
        digest=digest,
        name=manifest.name,
        version=manifest.version,
        fingerprint=manifest.fingerprint,
        file=str(request.file),
        rows=facts.rows,
        labelled=facts.usable,
        frauds=int(table.fraud[table.known].sum()),
        set_aside=int((~table.decided).sum()),
        dropped=prepared.dropped,
        train=period(table, parts.train),
        calibrate=period(table, parts.calibrate),
        held_back=period(table, parts.validate),
        teachers=_teacher_facts(members),
        scores=_scores_facts(request, teacher),
        size=student.size.text,
        target=request.target.value,
        learning_rate=request.rate(student.size),
        features=student.features,
        teacher_review_at=teacher.policy.review_at,
        teacher_decline_at=teacher.policy.decline_at,
        review_at=student.policy.review_at,
        decline_at=student.policy.decline_at,
        costs=costs_text(found.terms.costs, found.terms.currency),
        metrics=manifest.metrics,
        teacher_metrics=measure(table, parts.validate, teacher.scores[parts.validate], teacher.policy),
        comparison=found.figures[0],
        decisions=decision_pairs(found.held),
        segments=tuple(
            compare_segment(found.held, one, found.terms)
            for one in segments(found.held.payments, _card_age_ms(table, parts))
        ),
        speed=_speed(found),
        sizes=_size_results(found) if request.sizes else (),
        warnings=tuple(_warnings(found)),
    )


def _teacher_facts(members: tuple[TeacherMember, ...]) -> tuple[TeacherFacts, ...]:
    return tuple(
        TeacherFacts(
            digest=one.model.digest,
            name=one.model.name,
            version=one.model.version,
            weight=one.weight,
            features=len(one.model.manifest.feature_names),
        )
        for one in members
    )


def _scores_facts(request: DistillationRequest, teacher: TeacherScores) -> ScoresFacts | None:
    if request.scores is None or teacher.distilled is None or teacher.distilled.scores_file is None:
        return None
    stated = teacher.distilled.scores_file
    return ScoresFacts(file=str(request.scores), digest=stated.digest, trained_until=stated.trained_until)


def _card_age_ms(table: Table, parts: Split) -> Ints:
    """Return the time since the first payment of each held-back payment's card in the file."""
    _, first = np.unique(table.card, return_index=True)  # rows are in the order of time, and cards are numbered from 0
    age: Ints = table.occurred_ms[parts.validate] - table.occurred_ms[first][table.card[parts.validate]]
    return age


def _speed(found: _Found) -> SpeedComparison:
    student, teacher = found.times[0], found.teacher_time
    return SpeedComparison(
        student=student,
        teacher=teacher,
        single_ratio=None if teacher is None else teacher.single_us / student.single_us,
        batch_ratio=None if teacher is None else teacher.batch_us / student.batch_us,
    )


def _size_results(found: _Found) -> tuple[SizeResult, ...]:
    """Return the students of all sizes, the fastest in a batch first."""
    lost = [one.average_precision_lost.value for one in found.figures]
    front = on_front(
        [(time.batch_us, np.inf if one is None else one) for time, one in zip(found.times, lost, strict=True)]
    )
    results = [
        SizeResult(
            size=student.size.text,
            features=len(student.features),
            average_precision=figures.student_average_precision,
            average_precision_lost=figures.average_precision_lost,
            savings=figures.money.student_savings,
            savings_lost=figures.money.savings_lost,
            agreement=figures.agreement,
            volume_ratio=figures.volume_ratio,
            time=time,
            on_front=at_front,
            stored=student is found.students[0],
        )
        for student, figures, time, at_front in zip(found.students, found.figures, found.times, front, strict=True)
    ]
    return tuple(sorted(results, key=lambda one: (one.time.batch_us, one.size)))


def _warnings(found: _Found) -> Iterator[str]:
    """Yield what a person should know who promotes the student."""
    volume = found.figures[0].volume_ratio.value
    if volume is None or abs(volume - 1) > _FAR_VOLUME:
        flagged, teacher = found.figures[0].student_alerts, found.figures[0].teacher_alerts
        yield (
            f"the student flags {flagged:,} payments of the held-back part and its teacher {teacher:,}: thresholds "
            "were matched on the calibrate part, where few alerts, or equal scores of a small student, leave some play"
        )
    if len(found.students) > 1:
        yield (
            "all sizes are compared on the same held-back part: the best of many looks a little better than it is, so "
            "distil the size that you choose from a later file, too"
        )
