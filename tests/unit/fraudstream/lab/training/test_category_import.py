"""Models that were trained elsewhere with categories: a data frame's columns, or whole numbers as they are."""

import json
import re
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.vector.sets import FeatureSets
from fraudstream.lab.training.compute import compute_vectors
from fraudstream.lab.training.import_run import import_model
from fraudstream.lab.training.model_file import read_model_file
from fraudstream.lab.training.request import ImportRequest, ModelFileError, VectorsRequest
from models.artifact import matrix_of, read_artifact, same_bits
from models.booster import Booster, without_odd_categories
from models.categories import Categories
from models.loading import Model, load
from models.policy import Floats
from models.repository import Repository
from models.times import format_time
from stream.control.probes import probe_vectorisers
from support.features.own_fields_set import fields_of, is_fraud
from support.own_fields_file import SET, file_of
from support.paths import SUPPORT
from support.training_files import DAY_MS, START_MS, silent

FIXTURE = SUPPORT.parent / "data" / "pandas_categories"
"""What pandas 3.1 and LightGBM 4.7 saved, with the columns `country` and `hour` as categories, and margins."""
NAMES = ("amount", "country", "hour", "gap")
UNTIL_MS = START_MS + 30 * DAY_MS


def test_treelite_342_a_data_frames_model_has_the_margins_that_its_own_frame_gets() -> None:
    given = json.loads((FIXTURE / "rows.json").read_text())
    model = read_model_file(FIXTURE / "model.txt", NAMES, by_position=False, categories={"country"})
    assert set(model.categories) == {"country", "hour"}
    assert model.categories["hour"] == tuple(range(24))
    booster = Booster(model.text, NAMES, Categories.of(model.categories, NAMES))
    found = booster.margins(matrix_of(tuple(map(tuple, given["rows"])), len(NAMES)))
    assert same_bits(found, np.array(given["margins"]))
    assert len(np.unique(found)) > 10


def changed(path: Path, *changes: tuple[str, str]) -> Path:
    text = (FIXTURE / "model.txt").read_text()
    for pattern, replacement in changes:
        text, count = re.subn(pattern, replacement, text)
        assert count
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([(r"pandas_categorical:.*", "pandas_categorical:null")], "splits 'country' by codes, which have no order"),
        ([(r"pandas_categorical:.*", "pandas_categorical:[[1")], "categories cannot be read"),
        ([(r"pandas_categorical:.*", "pandas_categorical:[[1]]")], "1 columns of categories, and the training took 2"),
        ([(r"categorical_feature: 1,2", "categorical_feature: 1,9")], "had 2 columns of categories, and the training"),
        ([(r"\[0, 1, 2,", '["0", "1", "2",')], "'hour': its categories are not the numbers that vectors have"),
        ([(r"\[0, 1, 2,", "[0.5, 1, 2,")], "'hour': its categories are not the numbers"),
        ([(r"\[0, 1, 2,", "[-1, 1, 2,")], "'hour': its categories are not the numbers"),
        ([(r"\[0, 1,", f"[{', '.join(map(str, range(100, 10_100)))}, 0, 1,")], "'hour': has 10,024 categories"),
    ],
)
def test_tables_that_cannot_be_used_are_refused_with_what_to_do(
    tmp_path: Path, changes: list[tuple[str, str]], message: str
) -> None:
    path = changed(tmp_path / "model.txt", *changes)
    with pytest.raises(ModelFileError) as caught:
        read_model_file(path, NAMES, by_position=False, categories={"country"})
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")


def test_whole_numbers_that_no_data_frame_made_categories_are_looked_up_as_they_are(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    matrix = np.column_stack([random.normal(size=2_000), random.integers(0, 9, 2_000) * 70.0])
    frauds = ((matrix[:, 1] % 4 == 2) + random.normal(size=2_000) > 1).astype(int)
    parameters = {"objective": "binary", "verbosity": -1, "min_data_per_group": 10, "num_threads": 1}
    data = lightgbm.Dataset(matrix, frauds, feature_name=["amount", "mcc"], categorical_feature=["mcc"])
    trees = lightgbm.train(parameters, data, 9)
    trees.save_model(tmp_path / "model.txt")
    model = read_model_file(tmp_path / "model.txt", ("amount", "mcc"), by_position=False)
    assert not model.categories
    rows = np.concatenate((matrix[:300], [[0.0, 70.5], [0.0, -70.0], [0.0, np.nan], [0.0, 2.0**31], [0.0, 71.0]]))
    expected = trees.predict(without_odd_categories(rows, [1]), raw_score=True, num_threads=1)
    assert same_bits(Booster(model.text, ("amount", "mcc")).margins(rows), np.asarray(expected))


def as_data_frame_saves(path: Path, matrix: Floats, frauds: Any, columns: list[int]) -> list[list[float]]:
    """Train on a matrix of which some columns are a data frame's categories, and save as LightGBM does for one."""
    tables = [np.unique(matrix[~np.isnan(matrix[:, at]), at]) for at in columns]
    places = matrix.copy()
    for at, table in zip(columns, tables, strict=True):
        places[:, at] = np.where(np.isnan(matrix[:, at]), np.nan, np.searchsorted(table, matrix[:, at]))
    parameters = {"objective": "binary", "verbosity": -1, "num_leaves": 8, "min_data_in_leaf": 20, "num_threads": 1}
    data = lightgbm.Dataset(places, frauds, feature_name=list(SET.names), categorical_feature=columns)
    lightgbm.train(parameters, data, 12).save_model(path)
    lists = [table.tolist() for table in tables]
    path.write_text(path.read_text().replace("pandas_categorical:null", f"pandas_categorical:{json.dumps(lists)}"))
    return lists


def test_a_model_of_categories_is_imported_and_served_with_their_table(tmp_path: Path) -> None:
    rows = 4_000
    file = file_of(tmp_path / "payments.parquet", rows)
    table = pq.read_table(file)
    frauds = [is_fraud(fields_of(at)) for at in range(rows)]
    pq.write_table(table.set_column(table.column_names.index("fraud"), "fraud", pa.array(frauds)), file)
    vectors = tmp_path / "vectors.parquet"
    compute_vectors(VectorsRequest(file, vectors, SET, 1), silent)
    computed = pq.read_table(vectors)
    before = computed.column("occurred_at").cast(pa.int64()).to_numpy() // 1_000 <= UNTIL_MS
    matrix = np.column_stack([computed.column(name).to_numpy() for name in SET.names])[before]
    columns = [SET.names.index(name) for name in SET.categories]
    as_data_frame_saves(
        tmp_path / "model.txt", matrix, computed.column("fraud").to_numpy()[before].astype(int), columns
    )

    repository = Repository(str(tmp_path / "models"))
    sets = FeatureSets((SET,))
    wanted = ImportRequest(
        file=tmp_path / "model.txt", vectors=vectors, name="card", sets=sets, trained_until_ms=UNTIL_MS, threads=1
    )
    report = import_model(wanted, repository, silent)
    model = load(repository, report.digest, probe_vectorisers(sets))
    assert isinstance(model, Model), model
    manifest = read_artifact(repository.fetch(report.digest)).manifest
    assert set(manifest.categories) == set(SET.categories)
    assert manifest.imported is not None
    assert manifest.imported.trained_until == format_time(UNTIL_MS)
    assert report.metrics["auc"] > 0.9
