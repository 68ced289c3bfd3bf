"""Students: sizes, soft targets, features that are chosen, and thresholds that flag as much as the teacher."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudstream.lab.distillation.request import (
    DistillationRequest,
    NamedTeacher,
    SoftTarget,
    StudentSize,
    parse_sizes,
    parse_teachers,
)
from fraudstream.lab.distillation.speed import on_front
from fraudstream.lab.distillation.student import gains, match_volumes, soft_targets
from fraudstream.lab.distillation.summary import _warnings
from fraudstream.lab.training.policy import decision_codes
from models.booster import Booster, FitRows, fit
from models.errors import DamagedArtifactError
from models.model_text import as_binary
from models.policy import Policy
from support.distillation_cases import SETS

SCORES = st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.7, 1.0]), min_size=1, max_size=60)


@given(SCORES, st.data())
def test_a_student_flags_as_nearly_as_many_rows_as_ties_allow(scores: list[float], data: st.DataObject) -> None:
    teacher = data.draw(st.lists(st.floats(0, 1), min_size=len(scores), max_size=len(scores)))
    review, decline = sorted((data.draw(st.floats(0, 1.5)), data.draw(st.floats(0, 1.5))))
    found = match_volumes(np.array(scores), np.array(teacher), Policy(review, decline))
    wanted = sum(one >= review for one in teacher)
    flagged = sum(one >= found.review_at for one in scores)
    if not wanted:
        assert flagged == 0
        return
    possible = [0, *(sum(one >= at for one in scores) for at in set(scores))]
    assert abs(flagged - wanted) == min(abs(one - wanted) for one in possible)
    assert found.review_at <= found.decline_at


def test_a_teacher_that_never_declines_has_a_student_that_never_does() -> None:
    found = match_volumes(np.array([0.2, 0.9]), np.array([0.1, 0.8]), Policy(0.5, 2.0))
    assert found == Policy(0.9, 2.0)
    none_here = match_volumes(np.array([0.2, 0.9]), np.array([0.1, 0.8]), Policy(0.5, 0.95))
    assert none_here.decline_at == math.nextafter(0.9, math.inf)


def test_a_coarse_student_flags_nobody_rather_than_everybody() -> None:
    teacher = np.where(np.arange(100) < 2, 0.9, 0.1)
    found = match_volumes(np.full(100, 0.3), teacher, Policy(0.5, 0.8))
    assert found.review_at > 0.3
    assert decision_codes(np.full(100, 0.3), found).sum() == 0


@pytest.mark.parametrize(
    ("student", "told"),
    [((100, 10), []), ((100, 30), ["declines 30"]), ((50, 0), ["flags 50", "declines 0"]), ((109, 11), [])],
)
def test_volumes_of_alerts_and_of_declines_that_are_far_off_are_told(student: tuple[int, int], told: list[str]) -> None:
    names = ("student_alerts", "student_declines")
    figures = SimpleNamespace(teacher_alerts=100, teacher_declines=10, **dict(zip(names, student, strict=True)))
    found = list(_warnings(SimpleNamespace(figures=(figures,), students=(None,))))  # type: ignore[arg-type]
    assert len(found) == len(told)
    assert all(text in one for text, one in zip(told, found, strict=True))


def test_log_odds_are_finite_at_the_ends_and_invert_the_sigmoid() -> None:
    scores = np.array([0.0, 1e-4, 0.25, 0.5, 1.0])
    found = soft_targets(scores, SoftTarget.LOG_ODDS)
    assert np.isfinite(found).all()
    assert 1 / (1 + np.exp(-found[1:4])) == pytest.approx(scores[1:4])
    assert (soft_targets(scores, SoftTarget.PROBABILITIES) == scores).all()


def fitted(**parameters: Any) -> str:
    random = np.random.default_rng(0)
    matrix = random.normal(size=(2_000, 3))
    targets = 1 / (1 + np.exp(-(2 * matrix[:, 0] + matrix[:, 1] - 2)))
    given = {"objective": "cross_entropy", "num_iterations": 20, "num_leaves": 6, "verbosity": -1, "num_threads": 1}
    names = ("a", "b", "c")
    rows = FitRows(matrix, np.arange(2_000), targets)
    return fit(rows, names, given | parameters, lambda _trees: None).text


def test_trees_of_soft_targets_load_as_binary_with_the_log_odds_as_margins() -> None:
    text = fitted(num_iterations=150, num_leaves=16)
    with pytest.raises(DamagedArtifactError, match="objective is 'cross_entropy'"):
        Booster(text, ("a", "b", "c"))
    margins = Booster(as_binary(text), ("a", "b", "c")).margins(np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 5.0]]))
    assert margins == pytest.approx([-2.0, 0.0], abs=0.4)


def test_features_without_a_factor_are_not_used_and_gains_say_so() -> None:
    found = gains(fitted(), 3)
    assert found[0] > found[1] > found[2] >= 0
    assert (gains(fitted(feature_contri="0,1,1"), 3) > 0).tolist()[:2] == [False, True]


def test_sizes_and_teachers_are_read_from_their_texts() -> None:
    assert parse_sizes("10x4, 30 x 8x12,10x4") == (StudentSize(10, 4), StudentSize(30, 8, 12))
    assert StudentSize(30, 8, 12).text == "30x8x12"
    assert [StudentSize(trees).learning_rate for trees in (10, 30, 150)] == [0.3, 0.25, 0.05]
    assert parse_teachers("3f9a02c1:2, 81d07a5b") == (NamedTeacher("3f9a02c1", 2.0), NamedTeacher("81d07a5b", 1.0))
    for wrong in ("10", "10x", "ax4", ""):
        with pytest.raises(ValueError, match="is no size such as 30x8"):
            parse_sizes(wrong)
    for wrong in ("3f9a", "3f9a02c1:0", "3f9a02c1:x", "xyzxyzxy"):
        with pytest.raises(ValueError, match="is no teacher such as 3f9a02c1"):
            parse_teachers(wrong)
    with pytest.raises(ValueError, match="41 sizes: name at most 40"):
        parse_sizes(",".join(f"{trees}x4" for trees in range(1, 42)))


def test_an_invalid_request_names_all_that_is_wrong() -> None:
    with pytest.raises(ValueError, match=r"teacher: expected .*; trees: .*; leaves: .*; features: .*; learning_rate"):
        DistillationRequest(file=Path("a"), name="s", sets=SETS, size=StudentSize(0, 1, 99), learning_rate=2.0)
    with pytest.raises(ValueError, match=r"scores_until: a file of scores needs the time"):
        DistillationRequest(file=Path("a"), name="s", sets=SETS, scores=Path("b"))
    twice = (NamedTeacher("3f9a02c1"), NamedTeacher("3f9a02c1", 2.0))
    with pytest.raises(ValueError, match="a model is named twice"):
        DistillationRequest(file=Path("a"), name="s", sets=SETS, teachers=twice)


@given(st.lists(st.tuples(st.integers(0, 6).map(float), st.integers(0, 6).map(float)), min_size=1, max_size=12))
def test_the_front_has_exactly_the_points_that_nobody_beats(points: list[tuple[float, float]]) -> None:
    found = on_front(points)
    for (time, loss), kept in zip(points, found, strict=True):
        beaten = any((t < time and other <= loss) or (t <= time and other < loss) for t, other in points)
        assert kept is not beaten
    assert any(found)
