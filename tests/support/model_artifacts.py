"""Small, real artifacts for tests: LightGBM trains them in milliseconds."""

from typing import Any

import lightgbm
import msgspec
import numpy as np

from models.artifact import Artifact, Manifest, ProbeHistories, ProbeRows, TrainingData, vectors_of, write_artifact
from models.booster import text_of
from models.calibration import Calibration, Calibrator
from models.policy import Policy

NAMES = ("a", "b", "c")
FINGERPRINT = "fingerprint-1"
CALIBRATION = Calibration(margins=(-30.0, -1.0, 0.0, 2.0, 30.0), probabilities=(0.0, 0.2, 0.4, 0.9, 1.0))


def rows(count: int, *, seed: int = 0, width: int = len(NAMES)) -> np.ndarray:
    """Make a matrix with a tenth of NaN."""
    random = np.random.default_rng(seed)
    matrix = random.normal(size=(count, width))
    matrix[random.random(matrix.shape) < 0.1] = np.nan
    return matrix


def train(names: tuple[str, ...] = NAMES, *, seed: int = 0, trees: int = 5) -> lightgbm.Booster:
    """Train a small model on rows whose first column determines the label."""
    matrix = rows(400, seed=seed, width=len(names))
    frauds = (np.nan_to_num(matrix[:, 0]) + seed / 7 > 1).astype(int)
    parameters = {"objective": "binary", "verbosity": -1, "num_leaves": 6, "num_threads": 1, "seed": seed}
    return lightgbm.train(parameters, lightgbm.Dataset(matrix, frauds, feature_name=list(names)), trees)


def history_vectors(histories: list[bytes], width: int = len(NAMES)) -> np.ndarray:
    """Compute stand-in features: a history is {"x": number}, its vector x, 2x, 3x, ... with NaN where x is null."""
    values = [msgspec.json.decode(history)["x"] for history in histories]
    column = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    return column[:, np.newaxis] * np.arange(1.0, width + 1)


def artifact(names: tuple[str, ...] = NAMES, *, seed: int = 0, **overrides: Any) -> dict[str, bytes]:
    """Make the files of an artifact; `overrides` go to the manifest."""
    booster = train(names, seed=seed)
    matrix = rows(20, seed=seed + 1, width=len(names))
    scores = Calibrator.of(CALIBRATION).probabilities(np.asarray(booster.predict(matrix, raw_score=True)))
    histories = [b'{"x":0.1}', b'{"x":null}', b'{"x":3}']
    manifest: dict[str, Any] = {
        "name": "card",
        "version": "1",
        "fingerprint": FINGERPRINT,
        "feature_names": names,
        "training": TrainingData(
            since="2026-01-01T00:00:00.000Z",
            until="2026-02-01T00:00:00.000Z",
            rows=400,
            frauds=60,
            fingerprint="0" * 64,
        ),
        "code_version": "0.1.0",
        "parameters": {"num_leaves": 6},
        "seed": seed,
        "metrics": {"auc": 0.9},
        "calibration": CALIBRATION,
        "policy": Policy(review_at=0.5, decline_at=0.8),
    }
    return write_artifact(
        Artifact(
            manifest=Manifest(**(manifest | overrides)),
            model_text=text_of(booster),
            probe_rows=ProbeRows(vectors_of(matrix), tuple(scores.tolist())),
            probe_histories=ProbeHistories(
                tuple(msgspec.Raw(history) for history in histories),
                vectors_of(history_vectors(histories, len(names))),
            ),
        )
    )
