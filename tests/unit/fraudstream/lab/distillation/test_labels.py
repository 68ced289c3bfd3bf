"""What a student knows of labels: its trees nothing, its calibration those of the calibrate part alone."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from fraudstream.lab.distillation.request import DistillationRequest, NamedTeacher, SoftTarget, StudentSize
from fraudstream.lab.distillation.student import StudentInputs, train_student
from fraudstream.lab.distillation.teacher import TeacherScores
from fraudstream.lab.training.policy import decision_codes
from fraudstream.lab.training.split import SingleFit
from fraudstream.lab.training.vectors import Table
from models.policy import Policy
from support.distillation_cases import SETS

ROWS = 9_000
PARTS = SingleFit(np.arange(5_000), np.arange(5_000, 7_000), np.arange(7_000, ROWS))


def inputs(labels_seed: int = 1, **changes: object) -> StudentInputs:
    """Return random vectors, a teacher whose log odds are linear in four of the features, and labels drawn by it."""
    random = np.random.default_rng(0)
    matrix = random.normal(size=(ROWS, len(SETS.newest)))
    log_odds = 1.6 * matrix[:, 0] + 0.9 * matrix[:, 1] - 0.7 * matrix[:, 2] + 0.4 * matrix[:, 3] - 3.0
    scores = 1 / (1 + np.exp(-log_odds))
    times = np.arange(ROWS, dtype=np.int64) * 60_000
    table = Table(
        matrix=matrix,
        occurred_ms=times,
        labelled_ms=times,
        fraud=(np.random.default_rng(labels_seed).random(ROWS) < scores).astype(np.int8),
        card=random.integers(0, 300, ROWS),
        decided=np.ones(ROWS, np.bool_),
        amount_minor=np.full(ROWS, 4_200),
        currency=np.full(ROWS, b"EUR"),
    )
    given = {"teachers": (NamedTeacher("0" * 64),), "threads": 1, "sets": SETS, **changes}
    request = DistillationRequest(file=Path("none"), name="student", **given)  # type: ignore[arg-type]
    return StudentInputs(request, table, PARTS, TeacherScores(scores, Policy(0.4, 0.7)))


@pytest.mark.parametrize("target", SoftTarget)
def test_a_student_of_a_nearly_linear_teacher_agrees_with_it(target: SoftTarget) -> None:
    given = inputs(target=target)
    student = train_student(given, StudentSize(150, 16))
    teacher = given.teacher.scores[PARTS.held_back]
    assert spearmanr(teacher, student.said.scores).statistic > 0.93
    alike = decision_codes(teacher, given.teacher.policy) == decision_codes(student.said.scores, student.policy)
    assert alike.mean() > 0.95
    flagged = [(one >= at).mean() for one, at in ((teacher, 0.4), (student.said.scores, student.policy.review_at))]
    assert flagged[1] == pytest.approx(flagged[0], rel=0.25)
    assert {SETS.newest.names[at] for at in (0, 1, 2)} <= set(student.features)


def test_labels_of_training_and_of_the_held_back_part_change_nothing_of_a_student() -> None:
    given = inputs()
    table = given.table
    student = train_student(given, StudentSize(10, 4))
    for part in (PARTS.train, PARTS.held_back):
        table.fraud[part] = 1 - table.fraud[part]
    again = train_student(given, StudentSize(10, 4))
    assert (again.trees, again.calibration, again.policy) == (student.trees, student.calibration, student.policy)
    assert (again.said.scores == student.said.scores).all()


def test_labels_of_the_calibrate_part_change_the_calibration_and_no_tree() -> None:
    student, other = (train_student(inputs(labels_seed), StudentSize(10, 4)) for labels_seed in (1, 2))
    assert other.trees == student.trees
    assert other.calibration != student.calibration


def test_scores_of_the_held_back_part_and_thresholds_do_not_reach_the_trees() -> None:
    given = inputs()
    student = train_student(given, StudentSize(10, 4))
    changed = given.teacher.scores.copy()
    changed[PARTS.held_back] = 0.5
    other = given._replace(teacher=TeacherScores(changed, Policy(0.2, 0.9)))
    again = train_student(other, StudentSize(10, 4))
    assert (again.trees, again.calibration) == (student.trees, student.calibration)
    assert again.policy != student.policy
