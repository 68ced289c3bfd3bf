"""An artifact holds no record of the payments that it was made from, however it was made."""

import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from features.declaration import FeatureSet
from features.declaration import load as features_of
from features.history import records
from features.vector.sets import FeatureSets
from fraudstream.lab.training.import_run import import_model
from fraudstream.lab.training.policy_run import PolicyRequest, derive
from fraudstream.lab.training.request import PolicyWish, TrainingRequest
from fraudstream.lab.training.run import train
from models.artifact import FILES, MODEL, matrix_of, read_artifact
from models.loading import Model, load, load_for_replay
from models.policy import Policy
from models.problems import ProblemCode
from models.repository import Repository
from stream.control.probes import probe_vectorisers, vectorise_probe
from support.invented import assert_invented
from support.own_models import computed, labelled, request_for, rows_of, saved
from support.paths import HOUSE
from support.training_files import silent, write

FEATURES = features_of(None)
SETS = FeatureSets((FEATURES,))
OLD = HOUSE / "tests/data/artifacts/2026-11-26-83d9843.zip"
DEVICES = 40


def telling() -> dict[str, list[Any]]:
    """Make a transactions file in which each amount occurs once, and is like no invented one."""
    columns = labelled()
    count = len(columns["amount_minor"])
    scale = np.array(columns["amount_minor"]) // 100 * 100_003 + 7 * np.arange(count) + 20_000_003
    devices = [f"d{number % DEVICES}" for number in range(count)]
    return columns | {"amount_minor": scale.tolist(), "device_id": devices}


class Trained:
    """A model that was trained on such a file."""

    def __init__(self, folder: Path) -> None:
        self.columns = telling()
        self.file = write(folder / "train.parquet", self.columns)
        self.repository = Repository(str(folder / "models"))
        wanted = TrainingRequest(file=self.file, name="card", feature_set=FEATURES, trees=20, threads=1, patience=0)
        self.digest = train(replace(wanted, accept_weak=True), self.repository, silent).digest
        self.contents = self.repository.fetch(self.digest)
        computed(folder / "vectors.parquet", self.columns, FEATURES)
        self.matrix = rows_of(folder / "vectors.parquet", 1 << 60, FEATURES.names)[0]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(tmp_path_factory.mktemp("trained"))


def numbers_in(value: Any) -> Iterator[float]:
    """Yield all numbers of plain values."""
    if isinstance(value, dict | list | tuple):
        for one in value.values() if isinstance(value, dict) else value:
            yield from numbers_in(one)
    elif isinstance(value, int | float):
        yield value


def test_no_amount_time_or_hash_of_a_training_payment_is_in_the_probe_histories(trained: Trained) -> None:
    columns = trained.columns
    artifact = read_artifact(trained.contents)
    found = set(numbers_in([msgspec.json.decode(bytes(one)) for one in artifact.probe_histories.histories]))
    hashes = [
        *map(records.card_hash, set(columns["card_id"])),
        *map(records.merchant_hash, set(columns["merchant_id"])),
        *map(records.device_hash, set(columns["device_id"])),
        *map(records.transaction_hash, columns["card_id"], columns["transaction_id"]),
    ]
    times = [int(np.datetime64(time.removesuffix("Z"), "ms").astype(np.int64)) for time in columns["occurred_at"]]
    assert found & {*hashes, *times, *columns["amount_minor"]} == set()
    assert max(times) in numbers_in([times]), "the search finds what is there"


def test_no_vector_of_a_training_payment_is_among_the_probes_not_even_one_of_its_own_values(trained: Trained) -> None:
    artifact = read_artifact(trained.contents)
    probes = (artifact.probe_rows.vectors, artifact.probe_histories.vectors)
    invented = np.concatenate([matrix_of(vectors, len(FEATURES)) for vectors in probes])
    own = 0
    for number, column in enumerate(trained.matrix.T):
        values, times = np.unique(column[~np.isnan(column)], return_counts=True)
        if len(values) < len(column) / 4:
            continue  # counts, shares and flags, which many payments share
        own += 1
        common = set(values[times == 1].tolist()) & set(invented[:, number].tolist())
        assert common == set(), FEATURES.names[number]
    assert own >= 10


def test_no_range_of_a_feature_is_in_the_models_text(trained: Trained) -> None:
    text = trained.contents[MODEL].decode()
    largest = np.nanmax(trained.matrix[:, FEATURES.names.index("card_amount_max_30d")])
    assert repr(float(largest)) not in text
    assert "feature_infos=none none" in text


def test_what_is_trained_imported_and_derived_has_probes_of_its_own_trees_and_manifest(
    trained: Trained, tmp_path: Path
) -> None:
    assert_invented(trained.contents, FEATURES)
    computed(tmp_path / "vectors.parquet", labelled(), FEATURES)
    saved(tmp_path / "model.txt", rows_of(tmp_path / "vectors.parquet", names=FEATURES.names), FEATURES.names, seed=3)
    repository = Repository(str(tmp_path / "models"))
    imported = import_model(request_for(tmp_path, sets=SETS), repository, silent).digest
    assert_invented(repository.fetch(imported), FEATURES)
    request = PolicyRequest(model=imported, policy=PolicyWish(thresholds=Policy(0.1, 0.2)))
    assert_invented(repository.fetch(derive(request, SETS, repository, silent).digest), FEATURES)


def test_what_is_derived_from_an_artifact_with_probes_of_payments_has_none_of_them(tmp_path: Path) -> None:
    with zipfile.ZipFile(OLD) as kept:
        old = {name: kept.read(name) for name in FILES}
    before = read_artifact(old)
    repository = Repository(str(tmp_path))
    digest = repository.put(old)
    request = PolicyRequest(model=digest, policy=PolicyWish(thresholds=Policy(0.1, 0.2)))
    contents = repository.fetch(derive(request, SETS, repository, silent).digest)
    assert_invented(contents, FEATURES)
    after = read_artifact(contents)
    assert set(map(bytes, before.probe_histories.histories)).isdisjoint(map(bytes, after.probe_histories.histories))
    assert set(before.probe_rows.vectors).isdisjoint(after.probe_rows.vectors)
    assert isinstance(load(repository, digest, probe_vectorisers(SETS)), Model), "the old one loads as before"


@pytest.mark.parametrize("name", ["card_amount_sum_7d", "merchant_fraud_share_delayed_30d", "card_speed_from_last_7d"])
def test_a_worker_whose_feature_is_wrong_does_not_load_the_model(trained: Trained, name: str) -> None:
    """The set says that it computes the model's features, and one of them looks back a second less."""
    at = FEATURES.names.index(name)
    row = FEATURES.rows[at]
    other = FeatureSet(
        (*FEATURES.rows[:at], replace(row, window_ms=(row.window_ms or 0) - 1_000), *FEATURES.rows[at + 1 :])
    )
    found = load(trained.repository, trained.digest, {FEATURES.fingerprint: vectorise_probe(other)})
    assert isinstance(found, tuple)
    assert {problem.code for problem in found} == {ProblemCode.PROBE_MISMATCH}
    assert isinstance(load(trained.repository, trained.digest, probe_vectorisers(FeatureSets((FEATURES,)))), Model)


def test_a_changed_leaf_is_noticed_wherever_it_is(trained: Trained, tmp_path: Path) -> None:
    lines = trained.contents[MODEL].decode().split("\n")
    places = [at for at, line in enumerate(lines) if line.startswith("leaf_value=")]
    noticed, tried = 0, 0
    random = np.random.default_rng(0)
    for at in places:
        values = lines[at].removeprefix("leaf_value=").split(" ")
        place = int(random.integers(len(values)))
        digit = values[place].index(".") + 2
        other = values[place][:digit] + str((int(values[place][digit]) + 5) % 10) + values[place][digit + 1 :]
        changed = "leaf_value=" + " ".join([*values[:place], other, *values[place + 1 :]])
        text = "\n".join([*lines[:at], changed, *lines[at + 1 :]]).encode()
        assert len(text) == len(trained.contents[MODEL])
        repository = Repository(str(tmp_path))
        found = load_for_replay(repository, repository.put(trained.contents | {MODEL: text}))
        noticed += isinstance(found, tuple) and found[0].code is ProblemCode.PROBE_MISMATCH
        tried += 1
    assert tried == 20
    assert noticed >= 19
