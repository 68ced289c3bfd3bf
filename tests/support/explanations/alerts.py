"""Scores of small models, made as a worker makes them: features, score and digest belong together."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from fraudstream_client.outputs import DecidedBy, Decision, ModelName, Positions, Score, Source
from models.loading import Model, load_for_replay
from models.repository import Repository
from stream.engine.unpacking import FetchedRecord
from support.model_artifacts import artifact, rows

NAMES = (
    "card_count_10m",
    "card_count_1h",
    "card_amount_sum_1d",
    "is_night",
    "merchant_fraud_share_delayed_30d",
    "mine",
)


def model_in(folder: Path, names: tuple[str, ...] = NAMES, *, seed: int = 0) -> Model:
    """Store a small model of these features, and load it."""
    repository = Repository(str(folder))
    found = load_for_replay(repository, repository.put(artifact(names, seed=seed)))
    assert isinstance(found, Model)
    return found


def vectors(count: int, width: int = len(NAMES), *, seed: int = 0) -> np.ndarray:
    return rows(count, seed=seed, width=width)


def scored(model: Model | None, offset: int, vector: Sequence[float] | None = None, **changes: Any) -> Score:
    """Return the score of a payment at an offset; by rules if there is no model."""
    made: dict[str, Any] = {"score": None, "features": None, "model": None, "decided_by": DecidedBy.RULES}
    if model is not None:
        row = np.array([vectors(1, len(model.manifest.feature_names), seed=offset)[0] if vector is None else vector])
        named = zip(model.manifest.feature_names, row[0].tolist(), strict=True)
        made = {
            "score": float(model.score(row)[0]),
            "features": {name: None if value != value else value for name, value in named},  # noqa: PLR0124 - NaN
            "model": ModelName(model.name, model.version, model.digest),
            "decided_by": DecidedBy.MODEL,
        }
    whole = {
        "transaction_id": f"payment-{offset}",
        "card_id": f"card-{offset % 7}",
        "merchant_id": "shop",
        "occurred_at": "2026-03-01T10:00:00.000Z",
        "amount_minor": 12_345,
        "currency": "EUR",
        "band": None,
        "decision": Decision.REVIEW,
        "arm": "live",
        "deployment": "default",
        "revision": 3,
        "fingerprint": "fingerprint-1",
        "code_version": "0.1.0",
        "positions": Positions(1, 5, 9),
        "degraded": (),
        "dropped": (),
        "epoch": 4,
        "source": Source("transactions", 0, offset),
        "scored_at": "2026-03-01T10:00:00.010Z",
        "latency_ms": 10,
    }
    return Score(**(whole | made | changes))


def record(score: Score, offset: int, partition: int = 0) -> FetchedRecord:
    """Return a score as a record of `scores`."""
    key, value = score.card_id.encode(), msgspec.json.encode(score)
    return FetchedRecord("scores", partition, offset, 1_772_359_200_020 + offset, 0, key, value, ())
