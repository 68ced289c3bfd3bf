"""A model is trained on five weeks of the public handbook stream; no server takes part, but it takes long."""

from pathlib import Path

import duckdb
import pytest

from features.declaration import load
from fraudstream.lab.training.request import TrainingRequest
from fraudstream.lab.training.run import train
from models.repository import Repository
from support.handbook import TRANSACTIONS, needs_handbook


@pytest.mark.acceptance
@needs_handbook
@pytest.mark.integration
def test_five_weeks_of_the_handbook_train_a_model_with_the_expected_metrics(tmp_path: Path) -> None:
    wanted = (
        "CAST(TRANSACTION_ID AS VARCHAR) AS transaction_id, 'c' || CUSTOMER_ID AS card_id, "
        "'m' || TERMINAL_ID AS merchant_id, CAST(round(TX_AMOUNT * 100) AS BIGINT) AS amount_minor, 'EUR' AS currency, "
        "strftime(CAST(TX_DATETIME AS TIMESTAMP), '%Y-%m-%dT%H:%M:%SZ') AS occurred_at, TX_FRAUD = 1 AS fraud"
    )
    weeks = f"SELECT {wanted} FROM '{TRANSACTIONS}' WHERE TX_TIME_DAYS < 35 ORDER BY TRANSACTION_ID"  # noqa: S608
    file = tmp_path / "weeks.parquet"
    duckdb.connect().sql(weeks).write_parquet(str(file))
    request = TrainingRequest(file=file, name="card", feature_set=load(None), trees=60, threads=1)
    report = train(request, Repository(str(tmp_path / "models")), lambda _stage, _done, _total: None)
    assert report.rows > 330_000
    assert 0.5 < report.metrics["average_precision"] < 0.8
    assert 0.8 < report.metrics["auc"] < 0.95
    assert 0.0025 < report.metrics["alert_rate"] < 0.01  # its thresholds are of earlier weeks, where it was 0.005
