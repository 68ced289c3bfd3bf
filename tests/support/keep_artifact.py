"""Make an artifact with the code on the import path, for `tests/data/artifacts`; see the README there.

Run it with the checkout of the version as PYTHONPATH. It uses only what every version since the first has had:
`fraudstream.lab.training.run.train` and, with --imported, what `features compute` and `model import` run.
"""

import argparse
import json
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from features.declaration import load
from fraudstream.lab.training.request import TrainingRequest
from fraudstream.lab.training.run import train
from models.artifact import read_artifact
from models.booster import Booster
from models.calibration import Calibrator
from models.policy import bands
from models.repository import Repository
from models.times import format_time

START_MS = 1_767_225_600_000  # 2026-01-01
DAY_MS = 86_400_000
ROWS, DAYS, SEED = 6_000, 120, 7
NAMED: dict[str, Any] = {"name": "kept", "review_share": 0.05, "threads": 1, "code_version": "0.1.0"}
CASES = 64
"""Rows of which the version's own scores are kept, beside the artifact's probes."""


def silent(_stage: str, _done: int, _total: int) -> None:
    """Show no progress."""


def transactions() -> dict[str, list[Any]]:
    """Return the columns of a file whose frauds a model can learn."""
    random = np.random.default_rng(SEED)
    times = np.sort(random.integers(0, DAYS * DAY_MS, ROWS)) + START_MS
    merchants = random.integers(0, 20, ROWS)
    fraud = (merchants == 7) & (random.random(ROWS) < 0.6)
    amounts = random.integers(100, 10_000, ROWS) * np.where(fraud, 4, 1)
    return {
        "transaction_id": [f"t{number}" for number in range(ROWS)],
        "card_id": [f"c{card}" for card in random.integers(0, 100, ROWS).tolist()],
        "merchant_id": [f"m{merchant}" for merchant in merchants.tolist()],
        "occurred_at": [format_time(time) for time in times.tolist()],
        "amount_minor": amounts.tolist(),
        "currency": ["EUR"] * ROWS,
        "fraud": fraud.tolist(),
    }


def trained(file: Path, repository: Repository, _folder: Path) -> str:
    """Train as `fraudstream train` does."""
    request = TrainingRequest(file=file, feature_set=load(None), trees=8, leaves=8, **NAMED)
    return train(request, repository, silent).digest


def imported(file: Path, repository: Repository, folder: Path) -> str:
    """Train with LightGBM on computed vectors, and import that."""
    import lightgbm  # noqa: PLC0415 - only here

    from features.vector.sets import load_sets  # noqa: PLC0415 - likewise
    from fraudstream.lab.training.compute import compute_vectors  # noqa: PLC0415 - earlier versions have none
    from fraudstream.lab.training.import_run import import_model  # noqa: PLC0415 - likewise
    from fraudstream.lab.training.request import ImportRequest, VectorsRequest  # noqa: PLC0415 - likewise

    sets, vectors, model = load_sets(""), folder / "vectors.parquet", folder / "model.txt"
    compute_vectors(VectorsRequest(file=file, out=vectors, feature_set=sets.newest, threads=1), silent)
    table = pyarrow.parquet.read_table(vectors)
    names = list(sets.newest.names)
    matrix = np.column_stack([table[name].to_numpy() for name in names])
    labels = np.array([value is True for value in table["fraud"].to_pylist()], dtype=int)
    half = len(labels) // 2
    parameters = {"objective": "binary", "num_leaves": 8, "verbosity": -1, "num_threads": 1, "seed": 1}
    data = lightgbm.Dataset(matrix[:half], labels[:half], feature_name=names)
    lightgbm.train(parameters, data, 8).save_model(str(model))
    until = int(table["occurred_at"][half - 1].as_py().timestamp() * 1000)
    request = ImportRequest(file=model, vectors=vectors, sets=sets, trained_until_ms=until, **NAMED)
    return import_model(request, repository, silent).digest


def cases(contents: dict[str, bytes]) -> dict[str, Any]:
    """Return rows with missing, huge and tiny values, and what this version says of them; floats as hex."""
    artifact = read_artifact(contents)
    manifest = artifact.manifest
    random = np.random.default_rng(SEED)
    probes = np.array(artifact.probe_rows.vectors, dtype=float)
    matrix = probes[random.integers(0, len(probes), CASES)] * random.choice([0.5, 1.0, 1.0, 3.0], (CASES, 1))
    matrix[random.random(matrix.shape) < 0.1] = np.nan
    matrix[0], matrix[1] = np.nan, 1e300
    margins = Booster(artifact.model_text, manifest.feature_names).margins(matrix)
    scores = Calibrator.of(manifest.calibration).probabilities(margins)
    return {
        "vectors": [[None if value != value else value.hex() for value in row] for row in matrix.tolist()],  # noqa: PLR0124
        "scores": [value.hex() for value in scores.tolist()],
        "decisions": [str(one) for one in manifest.policy.decide(scores)],
        "bands": [int(one) for one in bands(scores)],
    }


def keep(out: Path, commit: str, make: Callable[[Path, Repository, Path], str]) -> str:
    """Write a zip file with an artifact and the cases, and return the artifact's digest."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = folder / "train.parquet"
        pyarrow.parquet.write_table(pa.table(transactions()), file)
        repository = Repository(str(folder / "models"))
        digest = make(file, repository, folder)
        contents = dict(repository.fetch(digest))
    facts = {"commit": commit, "digest": digest, **cases(contents)}
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as written:
        for path, value in sorted({**contents, "cases.json": json.dumps(facts).encode()}.items()):
            written.writestr(zipfile.ZipInfo(path, (2026, 1, 1, 0, 0, 0)), value, zipfile.ZIP_DEFLATED, 9)
    return digest


def main() -> None:
    """Read the arguments, and keep an artifact."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--commit", required=True)
    parser.add_argument("--imported", action="store_true")
    arguments = parser.parse_args()
    print(keep(arguments.out, arguments.commit, imported if arguments.imported else trained))  # noqa: T201 - a program


if __name__ == "__main__":
    main()
