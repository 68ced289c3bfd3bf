"""Baselines are measured on the test part of the model, and change nothing of it."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from features.declaration import load
from fraudstream.lab.training.baselines import LOGISTIC, fit_logistic, measure_baselines, ranks_worse
from fraudstream.lab.training.request import TrainingReport, TrainingRequest
from fraudstream.lab.training.run import train
from fraudstream.lab.training.split import split
from metrics.money import CostMatrix
from models.artifact import DistilledFrom, Imported, TeacherScoresFile, read_artifact, with_policy, write_artifact
from models.cost_policy import CostPolicy
from models.judge import HeldArtifact
from models.list_rules import ListRule, RuleAction, RuleSet
from models.loading import inspect_artifact
from models.repository import Repository
from support.tables import FOUR, learnable
from support.training_files import silent, transactions, write

SMALL = load("support.features.small_set")
DATA = learnable()
PARTS = split(DATA, 0)


def test_the_logistic_regression_learns_what_is_linear_and_is_calibrated(tmp_path: Path) -> None:
    request = TrainingRequest(file=tmp_path / "a.csv", name="card", feature_set=FOUR)
    (found,) = measure_baselines(request, Repository(str(tmp_path / "models")), DATA, PARTS)
    assert (found.name, found.digest, found.note) == (LOGISTIC, None, "")
    frauds, matrix = DATA.fraud[PARTS.test], DATA.matrix[PARTS.test]
    by_one_column = average_precision_score(frauds, matrix[:, 0])
    with_all = average_precision_score(
        frauds, matrix[:, 0] + np.maximum(np.nan_to_num(matrix[:, 1]), 0) * 1.5 + (np.abs(matrix[:, 2]) > 1.5) * 2
    )
    assert by_one_column < found.metrics["average_precision"] < with_all
    assert found.metrics["brier"] < frauds.mean() * (1 - frauds.mean())


def test_a_column_that_is_never_defined_is_no_obstacle(tmp_path: Path) -> None:
    data = learnable(days=60, seed=2)
    data.matrix[:, 3] = np.nan
    request = TrainingRequest(file=tmp_path / "a.csv", name="card", feature_set=FOUR)
    (found,) = measure_baselines(request, Repository(str(tmp_path / "models")), data, split(data, 0))
    assert found.metrics["auc"] > 0.6


def by_noise(rows: Any) -> np.ndarray:
    return np.random.default_rng(1).normal(size=len(rows))


def test_a_model_that_ranks_worse_than_the_logistic_regression_is_called_weak() -> None:
    logistic = fit_logistic(DATA, PARTS)
    (why,) = ranks_worse(DATA, PARTS, by_noise, logistic)
    assert why.startswith("it ranks the test part worse than a logistic regression: average precision 0.")
    assert list(ranks_worse(DATA, PARTS, logistic, by_noise)) == []
    assert list(ranks_worse(DATA, PARTS, logistic, logistic)) == []


def test_of_so_few_frauds_that_chance_may_explain_it_no_model_is_called_weak() -> None:
    few = learnable(per_day=10)
    parts = split(few, 0)
    assert list(ranks_worse(few, parts, by_noise, fit_logistic(few, parts))) == []


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainingReport]:
    """A folder with a file and a repository with a model of it; no test changes them."""
    folder = tmp_path_factory.mktemp("first")
    write(folder / "a.parquet", transactions())
    return folder, trained(folder)


@pytest.fixture
def folder(first: tuple[Path, TrainingReport], tmp_path: Path) -> Path:
    """A copy of that folder, for a test that trains another model beside the first."""
    return Path(shutil.copytree(first[0], tmp_path / "copy"))


def models_of(folder: Path) -> Repository:
    return Repository(str(folder / "models"))


def trained(folder: Path, **changes: Any) -> TrainingReport:
    request = TrainingRequest(
        file=folder / "a.parquet", name="card", feature_set=SMALL, trees=10, threads=1, patience=0, refit=False
    )
    return train(replace(request, **({"accept_weak": True} | changes)), models_of(folder), silent)


def test_what_is_weak_is_stated_in_the_manifest_and_changes_no_other_digest(
    first: tuple[Path, TrainingReport], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository, sound = models_of(folder), first[1]
    assert b"weaknesses" not in repository.fetch(sound.digest)["manifest.json"]
    monkeypatch.setattr("fraudstream.lab.training.run.ranks_worse", lambda *_: iter(["it ranks worse"]))
    weak = trained(folder)
    assert read_artifact(repository.fetch(weak.digest)).manifest.weaknesses == ("it ranks worse",)
    assert weak.warnings[0] == "it ranks worse"
    assert inspect_artifact(repository, weak.digest) == HeldArtifact(weak.digest, weak.fingerprint, ("it ranks worse",))


def test_the_stored_model_is_measured_on_the_same_test_part(first: tuple[Path, TrainingReport], folder: Path) -> None:
    alone = first[1]
    assert [one.name for one in alone.baselines] == [LOGISTIC]
    second = trained(folder, trees=3)
    logistic, stored = second.baselines
    assert logistic == alone.baselines[0]
    assert (stored.digest, stored.name, stored.note) == (alone.digest, "card 2026-03-01", "")
    assert stored.metrics == alone.metrics
    named = trained(folder, trees=3, live=alone.digest[:10])
    assert named.digest == second.digest
    assert named.baselines[1].digest == alone.digest
    assert [one.name for one in trained(folder, name="other").baselines] == [LOGISTIC]


def test_a_stored_model_with_costs_is_measured_by_its_costs_without_its_rules(
    first: tuple[Path, TrainingReport], folder: Path
) -> None:
    repository, alone = models_of(folder), first[1]
    rules = RuleSet((ListRule(name="stolen", action=RuleAction.BLOCK, cards=("c3",)),))
    artifact = read_artifact(repository.fetch(alone.digest))
    costs = CostPolicy({"EUR": CostMatrix(0, 0, 10_000, 0)})  # a review is free, so each payment is reviewed
    manifest = with_policy(artifact.manifest, artifact.manifest.policy, costs, rules, None)
    digest = repository.put(write_artifact(msgspec.structs.replace(artifact, manifest=manifest)))
    stored = trained(folder, trees=3, live=digest).baselines[1]
    assert (stored.metrics["alert_rate"], stored.metrics["recall_at_review"]) == (1.0, 1.0)
    assert stored.metrics["decline_rate"] == 0.0
    assert stored.metrics["auc"] == alone.metrics["auc"]
    assert stored.note == "its rules are not applied here"


def test_a_stored_model_that_has_seen_the_test_says_so(folder: Path) -> None:
    columns = transactions(12_000)
    earlier = write(folder / "b.parquet", {name: values[:9_000] for name, values in columns.items()})
    found = trained(folder, file=earlier).baselines[1]
    assert "and has seen a part of the test: its figures are too good" in found.note


@pytest.mark.parametrize("how", ["calibrated", "taught"])
def test_a_stored_model_that_was_calibrated_or_taught_on_the_test_says_so(
    first: tuple[Path, TrainingReport], folder: Path, how: str
) -> None:
    repository, alone = models_of(folder), first[1]
    artifact = read_artifact(repository.fetch(alone.digest))
    training = artifact.manifest.training
    assert training is not None
    late, early = msgspec.structs.replace(training, until=alone.test.until), training.until
    changed: dict[str, Any] = {"distilled": DistilledFrom(scores_file=TeacherScoresFile("d" * 64, late.until))}
    if how == "calibrated":
        imported = Imported(model_file="c" * 64, calibrated_on=late, trained_until=early)
        changed = {"training": None, "imported": imported}
    manifest = msgspec.structs.replace(artifact.manifest, **changed)
    digest = repository.put(write_artifact(msgspec.structs.replace(artifact, manifest=manifest)))
    note = trained(folder, trees=3, live=digest).baselines[1].note
    assert f"until {late.until} and has seen a part of the test: its figures are too good" in note


def test_a_model_that_cannot_be_measured_is_named_with_the_reason(
    first: tuple[Path, TrainingReport], folder: Path
) -> None:
    digest = first[1].digest
    other = trained(folder, feature_set=FOUR, live=digest)
    stored = other.baselines[1]
    assert (stored.name, stored.metrics) == (f"stored model {digest}", {})
    assert stored.note.startswith("not measured: ")
    missing = trained(folder, live="0" * 64).baselines[1]
    assert missing.note.startswith("not measured: unknown_model: ")


def test_scores_do_not_depend_on_the_blocks_in_which_they_are_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = TrainingRequest(file=tmp_path / "a.csv", name="card", feature_set=FOUR)
    repository = Repository(str(tmp_path / "models"))
    whole = measure_baselines(request, repository, DATA, PARTS)
    monkeypatch.setattr("fraudstream.lab.training.vectors._BLOCK_ROWS", 300)
    (parts,) = measure_baselines(request, repository, DATA, PARTS)
    assert parts.metrics == pytest.approx(whole[0].metrics)
