"""Turns what a distillation found into its report: comparisons, segments, speed, sizes and warnings."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from fraudstream.lab.dataset.file import FileFacts
from fraudstream.lab.distillation.comparison import HeldBack, MoneyTerms, compare_segments, pairs_of
from fraudstream.lab.distillation.report import (
    DistillationReport,
    RowTime,
    ScoresFacts,
    SizeResult,
    SpeedComparison,
    TeacherFacts,
    TeacherStudentFigures,
)
from fraudstream.lab.distillation.request import DistillationRequest
from fraudstream.lab.distillation.speed import on_front
from fraudstream.lab.distillation.student import Student, StudentInputs
from fraudstream.lab.distillation.teacher import TeacherMember, TeacherScores
from fraudstream.lab.evaluation.payments import FileTable
from fraudstream.lab.training.assembly import period
from fraudstream.lab.training.evaluation import measure
from fraudstream.ops.rollout.outcomes.costs import costs_text
from models.artifact import Manifest

_FAR_VOLUME = 0.1
"""A volume that is off by more is told as a warning."""


class PreparedFile(NamedTuple):
    """The file as it was read: its facts, dropped values, and its payments with the vectors of each feature set."""

    facts: FileFacts
    dropped: dict[str, int]
    tables: Mapping[str, FileTable]
    notes: tuple[str, ...] = ()


class ComparedStudents(NamedTuple):
    """What the run found out: students of all sizes, the stored one first, with their comparisons and row times."""

    inputs: StudentInputs
    students: tuple[Student, ...]
    held: HeldBack
    terms: MoneyTerms
    figures: tuple[TeacherStudentFigures, ...]
    times: tuple[RowTime, ...]
    teacher_time: RowTime | None


def summarise(
    digest: str, manifest: Manifest, members: tuple[TeacherMember, ...], prepared: PreparedFile, found: ComparedStudents
) -> DistillationReport:
    """Return the report of a run whose student was stored under `digest`."""
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
        held_back=period(table, parts.held_back),
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
        teacher_metrics=measure(table, parts.held_back, teacher.scores[parts.held_back], teacher.policy),
        comparison=found.figures[0],
        decisions=pairs_of(found.held),
        segments=compare_segments(
            found.held, int(table.occurred_ms[parts.held_back[0]] - table.occurred_ms[0]), found.terms
        ),
        speed=_speed(found),
        sizes=_size_results(found) if request.sizes else (),
        warnings=(*manifest.weaknesses, *prepared.notes, *_warnings(found)),
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


def _speed(found: ComparedStudents) -> SpeedComparison:
    student, teacher = found.times[0], found.teacher_time
    return SpeedComparison(
        student=student,
        teacher=teacher,
        single_ratio=None if teacher is None else teacher.single_us / student.single_us,
        batch_ratio=None if teacher is None else teacher.batch_us / student.batch_us,
    )


def _size_results(found: ComparedStudents) -> tuple[SizeResult, ...]:
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


def _warnings(found: ComparedStudents) -> Iterator[str]:
    """Yield what a person should know who promotes the student."""
    first = found.figures[0]
    volumes = {
        "flags": (first.student_alerts, first.teacher_alerts),
        "declines": (first.student_declines, first.teacher_declines),
    }
    for does, (student, teacher) in volumes.items():
        if abs(student - teacher) > _FAR_VOLUME * teacher:
            yield (
                f"the student {does} {student:,} payments of the held-back part and its teacher {teacher:,}: "
                "thresholds were matched on the calibrate part, where few of them, or equal scores of a small student, "
                "leave some play"
            )
    if len(found.students) > 1:
        yield (
            "all sizes are compared on the same held-back part: the best of many looks a little better than it is, so "
            "distil the size that you choose from a later file, too"
        )
