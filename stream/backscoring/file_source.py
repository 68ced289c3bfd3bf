"""A transactions file as the tables that back-scoring works on: the order of time is the order of every log.

A label comes before the first transaction that occurred when it was known, or later.
"""

from pathlib import Path
from typing import Any

from stream.transactions_file.database import connect
from stream.transactions_file.reading import CONTENT, DATABASE, Facts, TransactionsFile

BASE = (
    "transaction_id, card_id, merchant_id, make_timestamptz(occurred_ms * 1000) AS occurred_at, amount_minor, currency"
)
ROWS = f"""
CREATE TEMP VIEW rows AS SELECT *, number AS row, hash({", ".join(CONTENT)}) AS content, 0 AS partition,
    number AS "offset", occurred_ms AS card_key, 1 AS card_tie, occurred_ms AS merchant_key, 1 AS merchant_tie
FROM (SELECT * EXCLUDE (row), rowid AS number FROM transactions)
"""
# A label that never says fraud, nor takes it back, changes no feature.
LABELS = """
CREATE TEMP VIEW labels AS SELECT rowid AS number, transaction_id, card_id, merchant_id, fraud = 1 AS fraud, labelled_ms,
    'chargeback' AS reported_by, occurred_ms, 0 AS partition, rowid AS "offset",
    labelled_ms AS card_key, 0 AS card_tie, labelled_ms AS merchant_key, 0 AS merchant_tie
FROM transactions SEMI JOIN frauds USING (card_id, transaction_id)
WHERE fraud >= 0
"""


def read_file(file: Path, folder: Path, threads: int) -> Facts:
    """Read and check a file, and leave it in the folder's database.

    Raises:
        MissingExtraError: DuckDB is not installed.
        TransactionsFileError: the file cannot be used, for all the reasons given.
    """
    with TransactionsFile(file, folder, threads) as source:
        return source.facts


def open_tables(folder: Path, threads: int) -> Any:  # noqa: ANN401 - a connection of a module without types
    """Open the database of a file that was read."""
    connection = connect(folder / DATABASE, threads)
    connection.execute(ROWS)
    connection.execute(LABELS)
    return connection
