"""What counts: never payments of the training unless asked for, and then they are not called held back."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from features.declaration import DAY_MS
from fraudstream.lab.evaluation.request import EvaluatedPeriod, NotHeldBackError, NothingToEvaluateError
from fraudstream.lab.evaluation.scope import EvaluationScope, choose_scope
from fraudstream.lab.training.seen import known_until_ms
from fraudstream.lab.training.vectors import Table
from models.artifact import DistilledFrom, Imported, TeacherScoresFile, TrainingData
from models.repository import Repository
from models.times import format_time

START_MS = 20_000 * DAY_MS
ROWS, DAYS = 2_000, 100
REACH_MS = 10 * DAY_MS


def table(**changes: Any) -> Table:
    random = np.random.default_rng(0)
    times = START_MS + np.linspace(0, DAYS * DAY_MS - 1, ROWS).astype(np.int64)
    columns: dict[str, Any] = {
        "matrix": np.zeros((ROWS, 1)),
        "occurred_ms": times,
        "labelled_ms": times + 7 * DAY_MS,
        "fraud": (random.random(ROWS) < 0.1).astype(np.int8),
        "card": random.integers(0, 50, ROWS),
        "decided": np.ones(ROWS, np.bool_),
        "amount_minor": np.full(ROWS, 4_200),
        "currency": np.full(ROWS, b"EUR"),
        "fingerprint": "a" * 64,
    }
    return Table(**(columns | changes))


def data(since_day: int, until_day: int, fingerprint: str = "b" * 64) -> TrainingData:
    since, until = (format_time(START_MS + day * DAY_MS) for day in (since_day, until_day))
    return TrainingData(since=since, until=until, rows=1, frauds=1, fingerprint=fingerprint)


def model(training: TrainingData | None = None, imported: Imported | None = None, **facts: Any) -> Any:
    nothing = dict.fromkeys(("parent", "volume", "rules", "distilled"))
    manifest = SimpleNamespace(**{"training": training, "imported": imported} | nothing | facts)
    return SimpleNamespace(manifest=manifest, name="card", version="1", digest="0123456789abcdef")


def scope(*models: Any, period: EvaluatedPeriod | None = None, rows: Table | None = None) -> EvaluationScope:
    seen = tuple(known_until_ms(one.manifest, Repository("memory://scope")) for one in models)
    return choose_scope(models, seen, rows or table(), period or EvaluatedPeriod(), REACH_MS)


def first_day(found: EvaluationScope, rows: Table | None = None) -> float:
    return ((rows or table()).occurred_ms[found.rows[0]] - START_MS) / DAY_MS


def test_payments_after_the_training_count_and_are_held_back() -> None:
    found = scope(model(data(10, 60)))
    assert 60 < first_day(found) < 60.1
    assert (found.held_back, found.trained_rows, found.warnings) == (True, 0, ())
    short = scope(model(data(40, 60)))
    assert found.reference_is_training
    assert not short.reference_is_training  # there are 400 payments of these days
    times = (table().occurred_ms[short.reference] - START_MS) / DAY_MS
    assert 60 < times[0] < 60.1
    assert 66.9 < times[-1] < 67.1


def test_of_two_models_the_later_end_of_training_counts() -> None:
    found = scope(model(data(10, 40)), model(data(10, 70)))
    assert 70 < first_day(found) < 70.1
    assert found.held_back


def test_drift_is_measured_against_the_payments_of_the_training_with_whole_histories() -> None:
    rows = table()
    found = scope(model(data(0, 70)), rows=rows)
    times = (rows.occurred_ms[found.reference] - START_MS) / DAY_MS
    assert found.reference_is_training
    assert 10 <= times[0] < 10.1
    assert 69.9 < times[-1] <= 70


def test_payments_of_the_training_are_refused_unless_they_are_asked_for() -> None:
    since = START_MS + 30 * DAY_MS
    with pytest.raises(NotHeldBackError, match=r"is not later than .* \(--use-training-rows\)"):
        scope(model(data(10, 60)), period=EvaluatedPeriod(since_ms=since))
    found = scope(model(data(10, 60)), period=EvaluatedPeriod(since_ms=since, use_training_rows=True))
    assert not found.held_back
    assert found.trained_rows == int(((table().occurred_ms >= since) & (found_until() >= table().occurred_ms)).sum())
    assert any("were trained on: the figures are too good" in warning for warning in found.warnings)


def found_until() -> int:
    return START_MS + 60 * DAY_MS


def test_a_model_of_which_nobody_said_until_when_it_was_trained_is_never_held_back() -> None:
    unknown = Imported(model_file="c" * 64, calibrated_on=data(20, 30))
    found = scope(model(imported=unknown))
    assert not found.held_back
    assert "nothing says until when card 1 0123456789ab was trained" in found.warnings[0]
    assert found.seen_until_ms == (None,)


def test_an_imported_model_was_calibrated_later_than_it_was_trained() -> None:
    until = format_time(START_MS + 20 * DAY_MS)
    known = Imported(model_file="c" * 64, calibrated_on=data(20, 50), trained_until=until)
    found = scope(model(imported=known))
    assert 50 < first_day(found) < 50.1
    assert found.held_back


def test_a_student_has_seen_what_its_teachers_saw() -> None:
    until = format_time(START_MS + 70 * DAY_MS)
    of_scores = DistilledFrom(scores_file=TeacherScoresFile("d" * 64, until))
    found = scope(model(data(10, 60), distilled=of_scores))
    assert 70 < first_day(found) < 70.1
    assert found.seen_until_ms == (START_MS + 70 * DAY_MS,)


def test_thresholds_that_were_chosen_on_payments_that_count_are_told_of() -> None:
    volume = SimpleNamespace(since=data(70, 80).since, until=data(70, 80).until, budget="some")
    derived = model(data(10, 60), parent="f" * 64, volume=volume)
    (warning,) = scope(derived).warnings
    assert "were chosen on payments from" in warning
    assert "its number of alerts is not" in warning
    later = EvaluatedPeriod(since_ms=START_MS + 81 * DAY_MS)
    assert scope(derived, period=later).warnings == ()
    volume.budget = None
    assert scope(derived).warnings == ()
    volume.budget = "some"
    assert scope(model(data(10, 60), volume=volume)).warnings == (), "training chooses them on earlier payments"


def test_rules_that_are_not_applied_are_told_of() -> None:
    (warning,) = scope(model(data(10, 60), rules=object())).warnings
    assert "the rules of card 1 0123456789ab are not applied" in warning


def test_payments_without_whole_histories_count_only_if_they_must() -> None:
    old = model(data(-200, -100))
    assert 10 <= first_day(scope(old)) < 10.1
    found = scope(old, period=EvaluatedPeriod(since_ms=START_MS))
    assert first_day(found) == 0
    assert "histories are whole from" in found.warnings[0]


def test_an_end_and_rows_that_the_stream_would_not_decide_are_left_out() -> None:
    decided = np.arange(ROWS) % 2 == 0
    rows = table(decided=decided)
    until = START_MS + 80 * DAY_MS
    found = scope(model(data(10, 60)), period=EvaluatedPeriod(until_ms=until), rows=rows)
    assert decided[found.rows].all()
    assert rows.occurred_ms[found.rows].max() < until


def test_without_a_label_a_payment_counts_as_genuine_from_its_maturity_on() -> None:
    fraud = np.where(table().fraud == 1, 1, -1).astype(np.int8)
    rows = table(fraud=fraud)
    with pytest.raises(NothingToEvaluateError, match=r"all .* are frauds: .*\(--maturity-days\)"):
        scope(model(data(10, 60)), rows=rows)
    found = scope(model(data(10, 60)), period=EvaluatedPeriod(maturity_days=20), rows=rows)
    matured = rows.occurred_ms <= rows.last_ms - 20 * DAY_MS
    after = rows.occurred_ms > START_MS + 60 * DAY_MS
    assert found.rows.tolist() == np.flatnonzero(after & matured).tolist(), "no young one, be it a labelled fraud"
    assert (found.unlabelled, found.young) == (0, int((after & ~matured).sum()))
    assert float(rows.fraud[found.rows].clip(0).mean()) == pytest.approx(0.1, abs=0.04)
    assert scope(model(data(10, 60))).young == 0


def test_a_file_without_anything_to_measure_is_refused_with_advice() -> None:
    with pytest.raises(NothingToEvaluateError, match=r"after .*, until when a model was trained; .*: add later days"):
        scope(model(data(10, 200)))
    with pytest.raises(NothingToEvaluateError, match=r"none of the .* payments with a label is a fraud"):
        scope(model(data(10, 60)), rows=table(fraud=np.zeros(ROWS, np.int8)))
