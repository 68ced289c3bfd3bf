"""`fraudstream score FILE` on seven weeks of the handbook computes its published feature table, row by row."""

from pathlib import Path

import duckdb
import pytest

from features.vector.sets import load_sets
from fraudstream.lab.rescoring.file_run import score_file
from fraudstream.lab.rescoring.request import FileRequest
from support.fleet.payments import put_model
from support.handbook import PUBLISHED, TRANSACTIONS, needs_handbook
from support.paths import HANDBOOK

FROM = "2018-06-10"  # 38 days before the first published row: the default horizons
PRINTED = 1e-9
"""The published means are rolling float sums, whose errors show from the eleventh decimal on."""
FILE = f"""
SELECT 'h-' || TRANSACTION_ID AS transaction_id, 'c-' || CUSTOMER_ID AS card_id, 'm-' || TERMINAL_ID AS merchant_id,
    strftime(CAST(TX_DATETIME AS TIMESTAMP), '%Y-%m-%dT%H:%M:%SZ') AS occurred_at,
    CAST(round(TX_AMOUNT * 100) AS BIGINT) AS amount_minor, 'EUR' AS currency, TX_FRAUD = 1 AS fraud
FROM '{TRANSACTIONS}' WHERE TX_DATETIME >= '{FROM}' ORDER BY TRANSACTION_ID
"""  # noqa: S608 - our own

pytestmark = [pytest.mark.integration, needs_handbook]


@pytest.mark.acceptance
def test_scoring_a_file_computes_the_published_feature_table_row_by_row(tmp_path: Path) -> None:
    database = duckdb.connect()
    database.execute(f"COPY ({FILE}) TO '{tmp_path}/in.parquet' (FORMAT parquet)")
    models = str(tmp_path / "models")
    request = FileRequest(
        file=tmp_path / "in.parquet",
        model=put_model(models),
        out=tmp_path / "out.parquet",
        models=models,
        sets=load_sets(""),
        threads=2,
    )
    report = score_file(request, lambda _stage, _done, _total: None)
    assert report.fates == {"decide": report.rows}
    ties = (HANDBOOK / "tie-transaction-ids.txt").read_text().split()
    published = f"'{HANDBOOK}/features-2018-07-18_2018-07-31.parquet'"
    off = ", ".join(
        f"count(*) FILTER (WHERE abs(ours.{name} - theirs.{theirs}) > {PRINTED} OR ours.{name} IS NULL)"
        for name, theirs in PUBLISHED.items()
    )
    compared, *different = database.execute(
        f"SELECT count(*), {off} FROM {published} AS theirs JOIN '{request.out}' AS ours "  # noqa: S608 - our own
        f"ON ours.transaction_id = 'h-' || theirs.TRANSACTION_ID WHERE theirs.TRANSACTION_ID NOT IN ({', '.join(ties)})"
    ).fetchall()[0]
    assert compared > 134_000
    assert dict(zip(PUBLISHED, different, strict=True)) == dict.fromkeys(PUBLISHED, 0)
