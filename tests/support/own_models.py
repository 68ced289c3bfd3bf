"""What a data scientist does outside of fraudstream: read a vectors file, train with plain LightGBM, save the model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from features.declaration import FeatureSet, load
from features.vector.sets import DEFAULT_MODULES, FeatureSets
from fraudstream.lab.training.compute import compute_vectors
from fraudstream.lab.training.request import ImportRequest, VectorsReport, VectorsRequest
from models.times import format_time, parse_time_ms
from support.training_files import DAY_MS, START_MS, silent, transactions, write

SET = "support.features.small_set"
FEATURES = load(SET)
NEWEST = load(DEFAULT_MODULES[-1])
"""The set that commands compute by default."""
SETS = FeatureSets((FEATURES,))
TRAINED_UNTIL_MS = START_MS + 30 * DAY_MS
PARAMETERS = {"objective": "binary", "verbosity": -1, "num_leaves": 8, "min_data_in_leaf": 20, "num_threads": 1}


def labelled(rows: int = 6_000) -> dict[str, list[Any]]:
    """Make a transactions file of 60 days, whose labels are known a day later."""
    columns = transactions(rows)
    known = [format_time(parse_time_ms(time).epoch_ms + DAY_MS) for time in columns["occurred_at"]]
    return columns | {"labelled_at": known}


def computed(out: Path, columns: dict[str, Any], features: FeatureSet = FEATURES) -> VectorsReport:
    """Compute the vectors of columns, with a file of them beside the output."""
    file = write(out.with_name(f"{out.stem}-transactions.parquet"), columns)
    return compute_vectors(VectorsRequest(file, out, features, 1), silent)


def rows_of(
    vectors: Path, until_ms: int = TRAINED_UNTIL_MS, names: Sequence[str] = FEATURES.names
) -> tuple[np.ndarray, np.ndarray]:
    """Return the matrix of some features and the labels of a vectors file up to a time."""
    table = pq.read_table(vectors)
    before = table.column("occurred_at").cast(pa.int64()).to_numpy() // 1_000 <= until_ms
    matrix = np.column_stack([table.column(name).to_numpy() for name in names])
    return matrix[before], table.column("fraud").to_numpy()[before].astype(int)


def saved(
    path: Path,
    rows: tuple[np.ndarray, np.ndarray],
    names: Sequence[str] | None = FEATURES.names,
    dataset: dict[str, Any] | None = None,
    **parameters: Any,
) -> lightgbm.Booster:
    """Train a model and save it, as LightGBM saves models."""
    data = lightgbm.Dataset(*rows, feature_name="auto" if names is None else list(names), **(dataset or {}))
    booster = lightgbm.train(PARAMETERS | parameters, data, 12)
    booster.save_model(path)
    return booster


def request_for(folder: Path, **changes: Any) -> ImportRequest:
    """Ask for the import of `model.txt` in a folder, on its `vectors.parquet`."""
    given: dict[str, Any] = {
        "file": folder / "model.txt",
        "vectors": folder / "vectors.parquet",
        "name": "theirs",
        "sets": SETS,
        "trained_until_ms": TRAINED_UNTIL_MS,
        "review_share": 0.05,
        "decline_share": 0.01,
        "threads": 1,
    }
    return ImportRequest(**(given | changes))
