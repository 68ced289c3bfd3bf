"""Transactions files for tests: some weeks of a few cards, with frauds that a model can learn."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from features.declaration import load
from fraudstream.lab.training.request import TrainingRequest
from fraudstream.lab.training.run import train
from models.repository import Repository
from models.times import format_time

START_MS = 1_767_225_600_000  # 2026-01-01
DAY_MS = 86_400_000


def silent(_stage: str, _done: int, _total: int) -> None:
    """Show no progress."""


def transactions(rows: int = 6_000, days: int = 60, seed: int = 0) -> dict[str, list[Any]]:
    """Make columns in order of time: 60% of one merchant's transactions are frauds, with higher amounts."""
    random = np.random.default_rng(seed)
    times = np.sort(random.integers(0, days * DAY_MS, rows)) + START_MS
    merchants = random.integers(0, 20, rows)
    fraud = (merchants == 7) & (random.random(rows) < 0.6)
    amounts = random.integers(100, 10_000, rows) * np.where(fraud, 4, 1)
    return {
        "transaction_id": [f"t{number}" for number in range(rows)],
        "card_id": [f"c{card}" for card in random.integers(0, 150, rows).tolist()],
        "merchant_id": [f"m{merchant}" for merchant in merchants.tolist()],
        "occurred_at": [format_time(time) for time in times.tolist()],
        "amount_minor": amounts.tolist(),
        "currency": ["EUR"] * rows,
        "fraud": fraud.tolist(),
    }


def write(path: Path, columns: dict[str, Any]) -> Path:
    """Write columns as CSV or Parquet, by the file's suffix."""
    table = pa.table(columns)
    if path.suffix == ".csv":
        pyarrow.csv.write_csv(table, path)
    else:
        pyarrow.parquet.write_table(table, path)
    return path


def trained(folder: Path, features: str | None = None, file: Path | None = None) -> dict[str, bytes]:
    """Train a model on such a file, or another one, whose scores depend on many features; return the model's files."""
    wanted = TrainingRequest(
        file=write(folder / "train.parquet", transactions()) if file is None else file,
        name="card",
        feature_set=load(features),
        trees=20,
        threads=1,
        patience=0,
        review_share=0.1,
        accept_weak=True,
    )
    repository = Repository(str(folder / "models"))
    return repository.fetch(train(wanted, repository, lambda _stage, _done, _total: None).digest)
