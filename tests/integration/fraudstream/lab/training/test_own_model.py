"""The notebook's model, trained outside of fraudstream, is promoted on a fleet and decides its payments."""

from pathlib import Path
from typing import Any

import duckdb
import pytest

from fraudstream_client.outputs import Score
from models.repository import Repository
from support.fleet.fleet import Fleet, until
from support.notebook import run_notebook
from support.own_models import NEWEST
from support.paths import HOUSE

NOTEBOOK = HOUSE / "examples" / "notebooks" / "own-model.ipynb"
PAYMENTS = 3_000
NAMES = NEWEST.names


def vectors_by_transaction(path: Path) -> dict[str, dict[str, float | None]]:
    chosen = ", ".join(NAMES)
    rows = duckdb.sql(f"SELECT transaction_id, {chosen} FROM '{path}'").fetchall()  # noqa: S608 - our own names
    return {name: dict(zip(NAMES, values, strict=True)) for name, *values in rows}


def deciding(score: Score) -> Any:
    return score.model and score.model.digest, score.arm, score.decided_by, score.degraded


def decided_in_halves(fleet: Fleet, payments: Path) -> list[Score]:
    """Publish a file's payments, each half of it once the other is decided.

    A half lasts less than the delay of the merchants' features, so that no partition is ahead of another by more.
    """
    for half in range(2):
        part = payments.with_name(f"half-{half}.parquet")
        duckdb.sql(
            f"SELECT * FROM '{payments}' ORDER BY occurred_at, transaction_id "  # noqa: S608 - our own file
            f"LIMIT {PAYMENTS // 2} OFFSET {half * PAYMENTS // 2}"
        ).write_parquet(str(part))
        done = fleet.cli("publish", str(part))
        assert done.returncode == 0, done.stderr
        scores = fleet.await_scores((half + 1) * PAYMENTS // 2)
    return scores


@pytest.mark.acceptance
def test_the_notebooks_model_decides_payments_with_the_vectors_that_features_compute_gives(
    fleet: Fleet, tmp_path: Path
) -> None:
    printed = run_notebook(NOTEBOOK, tmp_path / "notebook", FRAUDSTREAM_MODELS=fleet.models)
    (digest,) = Repository(fleet.models).digests()
    assert f"model {digest}" in printed
    assert "scores are those of the notebook's model" in printed

    worker = fleet.worker()
    until(lambda: worker.has_joined, "the group is joined")
    fleet.promote(digest)
    worker.await_ready()
    payments, vectors = tmp_path / "payments.parquet", tmp_path / "vectors.parquet"
    duckdb.sql(
        f"SELECT * EXCLUDE (fraud, labelled_at) FROM '{tmp_path / 'notebook' / 'payments.parquet'}' "  # noqa: S608
        f"ORDER BY occurred_at, transaction_id LIMIT {PAYMENTS}"
    ).write_parquet(str(payments))
    done = fleet.cli("features", "compute", str(payments), "--out", str(vectors))
    assert done.returncode == 0, done.stderr
    scores = decided_in_halves(fleet, payments)
    assert {deciding(score) for score in scores} == {(digest, "live", "model", ())}
    assert {score.transaction_id: score.features for score in scores} == vectors_by_transaction(vectors)
    assert len({score.decision for score in scores}) > 1
    shown = fleet.cli("model", "show", digest)
    assert "imported       trained elsewhere, until 2026-02-10T00:00:00.000Z" in shown.stdout
    assert "role           live" in shown.stdout
    assert worker.terminate() == 0
