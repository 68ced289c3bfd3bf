"""The model of the measurement: 400 trees of 31 leaves on all features of simulated payments, always the same one."""

from collections.abc import Sequence

import numpy as np

from benchmarks.contenders.scorers import Payment, decoded
from features.declaration import FeatureSet
from features.memory_store import MemoryStore
from features.vector.vectorise import vectorise
from fraudstream.lab.training.assembly import assemble
from models.artifact import Manifest, TrainingData, write_artifact
from models.booster import FitRows, fit
from models.calibration import Calibration
from models.policy import Policy
from models.repository import Repository
from models.times import format_time

TREES, LEAVES = 400, 31
_SHARE = 0.2
"""Of the payments are called fraud: those with the highest of a made-up risk."""
_SEED = 3


def make_model(repository: Repository, feature_set: FeatureSet, payments: Sequence[Payment]) -> str:
    """Train the model, store it, and return its digest; what it predicts means nothing, what it costs does."""
    columns = decoded(payments)
    observed = MemoryStore(feature_set).observe_now(columns)
    matrix = vectorise(feature_set, columns, observed)
    noise = np.random.default_rng(_SEED).normal(size=matrix.shape)
    risk = (np.nan_to_num(np.sign(matrix) * np.log1p(np.abs(matrix))) * noise[0] + noise).sum(axis=1)
    frauds = (risk >= np.quantile(risk, 1 - _SHARE)).astype(np.int8)
    parameters: dict[str, bool | int | float | str] = {
        "objective": "binary",
        "num_iterations": TREES,
        "num_leaves": LEAVES,
        "learning_rate": 0.02,
        "seed": _SEED,
        "deterministic": True,
        "num_threads": 1,
        "verbosity": -1,
    }
    rows = FitRows(matrix, np.arange(len(matrix)), frauds)
    trees = fit(rows, feature_set.names, parameters, lambda _trees: None)
    manifest = Manifest(
        name="contenders",
        version="1",
        fingerprint=feature_set.fingerprint,
        feature_names=feature_set.names,
        training=TrainingData(
            since=format_time(int(columns.occurred_ms[0])),
            until=format_time(int(columns.occurred_ms[-1])),
            rows=len(matrix),
            frauds=int(frauds.sum()),
            fingerprint="0" * 64,
        ),
        code_version="0",
        parameters=parameters,
        seed=_SEED,
        metrics={},
        calibration=Calibration(margins=(-30.0, 30.0), probabilities=(0.0, 1.0)),
        policy=Policy(review_at=0.5, decline_at=0.8),
    )
    return repository.put(write_artifact(assemble(manifest, trees.text, feature_set)))
