"""`model policy`: another policy or other rules make another artifact, with the same trees, that a worker serves."""

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from fraudstream.cli.main import main
from fraudstream.lab.training import policy_run
from fraudstream.lab.training.import_run import import_model
from fraudstream.lab.training.policy_run import PolicyRequest, derive
from fraudstream.lab.training.request import PolicyWish, TrainingDataError, UnusableModelError
from fraudstream.lab.training.vectors import Table
from models.artifact import (
    Artifact,
    DistilledFrom,
    Manifest,
    PolicyManifest,
    TeacherScoresFile,
    read_artifact,
    same_bits,
    write_artifact,
)
from models.loading import Model, load
from models.policy import Policy
from models.repository import Repository
from models.times import parse_time_ms
from models.volume import AlertBudget, Allowance
from stream.control.probes import probe_vectorisers
from support.own_models import SET, SETS, TRAINED_UNTIL_MS, computed, labelled, request_for, rows_of, saved
from support.training_files import DAY_MS, silent

RULES = """
[[rules]]
name = "stolen"
action = "block"
cards = ["c3"]

[[rules]]
name = "fast"
action = "review"
features = { card_count_1h = { above = 3 } }
"""


class Given:
    """An imported model, its repository, and the vectors that it was imported with."""

    def __init__(self, folder: Path) -> None:
        computed(folder / "vectors.parquet", labelled(9_000))
        saved(folder / "model.txt", rows_of(folder / "vectors.parquet"), seed=3)
        self.folder, self.repository = folder, Repository(str(folder / "models"))
        self.digest = import_model(request_for(folder), self.repository, silent).digest
        self.vectors = folder / "vectors.parquet"
        (folder / "rules.toml").write_text(RULES)

    def artifact(self, digest: str) -> Artifact:
        return read_artifact(self.repository.fetch(digest))

    def run(self, *arguments: str) -> Any:
        environment = {"FRAUDSTREAM_MODELS": str(self.folder / "models"), "FRAUDSTREAM_FEATURES": SET}
        return CliRunner(env=environment).invoke(main, ["model", "policy", self.digest[:12], *arguments])


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Given:
    return Given(tmp_path_factory.mktemp("policy"))


def test_rules_make_another_artifact_with_the_same_trees_that_names_its_parent(given: Given) -> None:
    result = given.run("--rules", str(given.folder / "rules.toml"), "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    before, after = given.artifact(given.digest), given.artifact(found["digest"])
    assert found["parent"] == after.manifest.parent == given.digest != found["digest"]
    assert found["policy"]["rules"] == {"block": 1, "review": 1, "allow": 0}
    assert isinstance(after.manifest, PolicyManifest)
    assert (before.model_text, before.probe_rows, before.manifest.calibration, before.manifest.volume) == (
        after.model_text, after.probe_rows, after.manifest.calibration, after.manifest.volume
    )  # fmt: skip
    models = [load(given.repository, one, probe_vectorisers(SETS)) for one in (given.digest, found["digest"])]
    matrix, _ = rows_of(given.vectors)
    first, second = (one.score(matrix) for one in models if isinstance(one, Model))
    assert same_bits(first, second)
    wish = PolicyRequest(model=found["digest"], policy=PolicyWish(), drop_rules=True)
    plain = given.artifact(derive(wish, SETS, given.repository, silent).digest)
    assert type(plain.manifest) is Manifest
    assert plain.manifest.rules is None


def test_thresholds_by_budget_are_those_of_payments_that_the_model_has_not_seen(given: Given) -> None:
    result = given.run(
        "--alert-budget", "10%", "--decline-budget", "1 a day", "--vectors", str(given.vectors), "--json"
    )
    assert result.exit_code == 0, result.stderr
    manifest = given.artifact(json.loads(result.stdout)["digest"]).manifest
    imported = given.artifact(given.digest).manifest.imported
    assert imported is not None
    until = parse_time_ms(imported.calibrated_on.until).epoch_ms
    assert until > TRAINED_UNTIL_MS
    matrix = rows_of(given.vectors, 1 << 60)[0][len(rows_of(given.vectors, until)[0]) :]
    model = load(given.repository, given.digest, probe_vectorisers(SETS))
    assert isinstance(model, Model)
    volume = manifest.volume
    assert volume is not None
    scores = model.score(matrix)[: volume.payments]  # labels of the last days are not known at the file's end
    assert volume.budget == AlertBudget(Allowance(share=0.1), Allowance(a_day=1.0))
    assert volume.alert_share == pytest.approx(float((scores >= manifest.policy.review_at).mean()))
    assert volume.decline_share == pytest.approx(float((scores >= manifest.policy.decline_at).mean()))
    assert 0 < volume.alert_share <= 0.1
    days = (parse_time_ms(volume.until).epoch_ms - parse_time_ms(volume.since).epoch_ms + 1) / 86_400_000
    assert volume.decline_share * volume.payments <= days
    assert manifest.metrics["alert_rate"] == volume.alert_share


def test_a_budget_and_the_volume_count_payments_without_a_label_and_with_complete_histories(
    given: Given, tmp_path: Path
) -> None:
    columns = labelled(9_000)
    sparse = [one if at % 5 == 0 else None for at, one in enumerate(columns["fraud"])]
    computed(tmp_path / "sparse.parquet", columns | {"fraud": sparse})
    result = given.run(
        *("--alert-budget", "10 a day", "--decline-budget", "1 a day"),
        *("--vectors", str(tmp_path / "sparse.parquet"), "--json"),
    )
    assert result.exit_code == 0, result.stderr
    volume = given.artifact(json.loads(result.stdout)["digest"]).manifest.volume
    assert volume is not None
    times = np.array([parse_time_ms(one).epoch_ms for one in columns["occurred_at"]])
    since, until = (parse_time_ms(one).epoch_ms for one in (volume.since, volume.until))
    assert until == times.max()
    assert volume.payments == pytest.approx(int((times >= since).sum()), rel=0.01)
    assert 0 < volume.alerts_a_day <= 10


def test_only_labels_that_had_the_time_to_come_count_and_only_payments_with_complete_histories() -> None:
    times = np.arange(100) * DAY_MS
    table = Table(
        matrix=np.zeros((100, 1)),
        occurred_ms=times,
        labelled_ms=times + 20 * DAY_MS,
        fraud=np.where(np.arange(100) % 2, 0, -1).astype(np.int8),
        card=np.arange(100),
        decided=np.arange(100) != 50,
        amount_minor=np.zeros(100, np.int64),
        currency=np.full(100, b"EUR", "S3"),
    )
    table.labelled_ms[95] = times[95]  # a fraud that was reported at once
    rows = policy_run._unseen(table, 20 * DAY_MS, 30 * DAY_MS)
    assert rows.tolist() == [at for at in range(30, 100) if at != 50]
    assert policy_run._mature(table, rows).tolist() == list(range(31, 80, 2))
    capped = policy_run._unseen(table, 20 * DAY_MS, 90 * DAY_MS)
    assert capped[0] == 21 + (99 - 21) // 4 + 1, "at most a quarter of the time"
    assert not len(policy_run._mature(table, policy_run._unseen(table, 99 * DAY_MS, 0)))


def test_costs_are_taken_where_the_model_is_calibrated_and_keep_the_thresholds_for_others(given: Given) -> None:
    costs = ("--review-cost", "EUR 3.00", "--decline-cost", "EUR 2.00 + 5%")
    result = given.run("--policy", "cost", *costs, "--vectors", str(given.vectors), "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["policy"]["costs"]["costs"]["EUR"] == {
        "review_fixed_minor": 300, "review_share_bp": 0, "decline_fixed_minor": 200, "decline_share_bp": 500
    }  # fmt: skip
    before, after = (given.artifact(digest).manifest for digest in (given.digest, found["digest"]))
    assert after.policy == before.policy
    assert after.volume is not None
    assert before.reference is not None
    assert after.reference is not None
    assert after.reference.features == before.reference.features
    assert after.reference.decisions is not None
    decided = np.add(after.reference.decisions.workdays, after.reference.decisions.weekends)
    assert (decided / decided.sum())[1:3] == pytest.approx([after.volume.review_share, after.volume.decline_share])
    text = given.run("--policy", "cost", *costs, "--vectors", str(given.vectors)).stdout
    assert "least expected cost in EUR: a review EUR 3.00" in " ".join(text.split())


def test_the_model_that_another_one_is_made_of_counts_as_stored_now(given: Given) -> None:
    manifest = given.folder / "models" / given.digest / "manifest.json"
    os.utime(manifest, (1_000_000_000, 1_000_000_000))
    assert given.run("--review-at", "0.2", "--decline-at", "0.8").exit_code == 0
    assert manifest.stat().st_mtime > 1_100_000_000


def test_fixed_thresholds_need_no_payments_and_their_volume_is_then_unknown(given: Given) -> None:
    result = given.run("--review-at", "0.3", "--decline-at", "0.9", "--version", "strict", "--json")
    assert result.exit_code == 0, result.stderr
    manifest = given.artifact(json.loads(result.stdout)["digest"]).manifest
    assert (manifest.policy, manifest.volume, manifest.version) == (Policy(0.3, 0.9), None, "strict")
    assert "alert_rate" not in manifest.metrics
    assert manifest.reference is not None
    assert (manifest.reference.decisions, len(manifest.reference.features)) == (None, len(manifest.feature_names))
    assert "auc" in manifest.metrics


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        ((), 2, "nothing to change"),
        (("--alert-budget", "1%", "--decline-budget", "0.1%"), 2, "give --vectors FILE"),
        (("--review-cost", "EUR 3", "--decline-cost", "EUR 2"), 2, "costs need a calibrated model"),
        (("--alert-budget", "1%"), 2, "--policy budget needs --decline-budget"),
        (("--policy", "fixed", "--alert-budget", "1%"), 2, "--policy fixed: --alert-budget"),
        (("--review-at", "0.3", "--alert-budget", "1%"), 2, "--policy fixed or budget"),
        (("--review-cost", "EUR 3", "--decline-cost", "USD 2"), 2, "EUR, USD: state both"),
        (("--review-at", "0.9", "--decline-at", "0.3"), 2, "must be 0 <= review_at <= decline_at"),
        (("--alert-budget", "lots", "--decline-budget", "1%"), 2, "no number such as '200 a day'"),
    ],
)
def test_options_that_do_not_make_a_policy_are_refused(given: Given, arguments: Any, code: int, why: str) -> None:
    result = given.run(*arguments)
    assert result.exit_code == code
    assert why in " ".join(result.stderr.split())


def test_vectors_that_a_teacher_has_seen_are_refused(given: Given) -> None:
    artifact = given.artifact(given.digest)
    taught = DistilledFrom(scores_file=TeacherScoresFile("d" * 64, labelled(9_000)["occurred_at"][-1]))
    manifest = msgspec.structs.replace(artifact.manifest, distilled=taught)
    student = given.repository.put(write_artifact(msgspec.structs.replace(artifact, manifest=manifest)))
    request = PolicyRequest(model=student, policy=PolicyWish(thresholds=Policy(0.1, 0.2)), vectors=given.vectors)
    with pytest.raises(TrainingDataError, match="and its teachers: compute vectors of later days"):
        derive(request, SETS, given.repository, silent)


def test_rules_about_features_that_the_model_lacks_and_unknown_models_are_refused(given: Given) -> None:
    (given.folder / "other.json").write_text(
        '{"rules":[{"name":"x","action":"block","features":{"nothing":{"above":1}}}]}'
    )
    result = given.run("--rules", str(given.folder / "other.json"))
    assert (result.exit_code, "the model has no feature nothing" in result.stderr) == (1, True)
    request = PolicyRequest(model="f" * 64, policy=PolicyWish(thresholds=Policy(0.1, 0.2)))
    with pytest.raises(UnusableModelError, match="model list"):
        derive(request, SETS, given.repository, silent)


def test_vectors_that_the_model_has_all_seen_are_refused(given: Given, tmp_path: Path) -> None:
    columns = labelled(1_500)
    early = np.array([parse_time_ms(one).epoch_ms for one in columns["occurred_at"]]) <= TRAINED_UNTIL_MS
    kept = {
        name: [one for one, is_early in zip(some, early, strict=True) if is_early] for name, some in columns.items()
    }
    computed(tmp_path / "early.parquet", kept)
    request = PolicyRequest(
        model=given.digest, policy=PolicyWish(thresholds=Policy(0.1, 0.2)), vectors=tmp_path / "early.parquet"
    )
    with pytest.raises(TrainingDataError, match="compute vectors of later days"):
        derive(request, SETS, given.repository, silent)
