"""Reads a transactions file: checks all of it, sorts it by time in a database on disk, and returns it in batches.

It accepts the values that the stream would accept in its records, and reports all problems at once.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from features.declaration import DAY_MS
from features.history.store import Label
from fraudstream.lab.dataset import columns
from fraudstream.lab.dataset.database import MEMORY_MB, DatasetBatch, batch_of, connect
from fraudstream.lab.dataset.errors import TransactionsFileError
from fraudstream.lab.dataset.input_table import Column, ColumnCheck, Need, TableLayout, read_table
from fraudstream.lab.dataset.own_columns import NO_OWN_COLUMNS, OwnColumns, count_out_of_bounds
from stream.contract.iso import CURRENCY_DECIMALS

DATABASE = "transactions.duckdb"
"""Name of the database in its folder; it stays there after `close`."""
LABEL_DELAY_MS = 7 * DAY_MS
"""A label without `labelled_at` counts as known this long after its transaction."""


def transactions_layout(*extra: Column, needs_labels: bool) -> TableLayout:
    """Return what a transactions file must have, and `extra` columns; with `needs_labels`, the column `fraud`."""
    return TableLayout(
        item="transaction",
        columns=(
            Column("transaction_id", columns.TRANSACTION_ID),
            Column("card_id", columns.IDENTIFIER, may_hold_card_numbers=True),
            Column("merchant_id", columns.IDENTIFIER, may_hold_card_numbers=True),
            Column("occurred_at", columns.TIME),
            Column("amount_minor", columns.AMOUNT),
            Column("currency", columns.CURRENCY),
            Column("fraud", columns.FLAG, Need.COLUMN if needs_labels else Need.NOTHING),
            Column("labelled_at", columns.TIME, Need.NOTHING),
            Column("utc_offset_minutes", columns.UTC_OFFSET, Need.NOTHING),
            Column("kind", columns.ANY, Need.NOTHING),
            Column("account_id", columns.ANY, Need.NOTHING, may_hold_card_numbers=True),
            Column("customer_id", columns.ANY, Need.NOTHING, may_hold_card_numbers=True),
            *(Column(name, kind, Need.DROPPED) for name, kind in columns.OPTIONAL_TYPES.items()),
            *extra,
        ),
        checks=(
            ColumnCheck("labelled_at", "is before occurred_at", "read_labelled_at < read_occurred_at"),
            ColumnCheck("kind", "is not 'authorization', the only kind that is supported", "kind <> 'authorization'"),
        ),
    )


class FileFacts(NamedTuple):
    """The size and time range of a file; `usable` labels are those known at the time of its last transaction."""

    rows: int
    first_ms: int
    last_ms: int
    labelled: int
    usable: int


class FileLabels(NamedTuple):
    """The times and the outcomes of a file's n payments by time, each of shape (n,); `fraud` is -1 without a label."""

    occurred_ms: NDArray[np.int64]
    labelled_ms: NDArray[np.int64]
    fraud: NDArray[np.int8]


class TransactionsFile:
    """A file that was read, checked and sorted; close it, or use it as a context.

    Attributes:
        facts: its size and time range.
        dropped: how many optional values were invalid, by column; they are read as absent.
    """

    def __init__(
        self,
        path: Path,
        folder: Path,
        threads: int,
        memory_mb: int = MEMORY_MB,
        *,
        own: OwnColumns = NO_OWN_COLUMNS,
        needs_labels: bool = False,
    ) -> None:
        """Read a parquet or CSV file; the database in `folder` may become as large as it.

        `own` are the fields of one's own that are read, if the file has them. With `needs_labels` a file without the
        column `fraud` is refused.

        Raises:
            MissingExtraError: DuckDB is not installed.
            TransactionsFileError: the file cannot be used, for all the reasons given.
        """
        self._connection = connect(folder / DATABASE, threads, memory_mb)
        self._own = own
        try:
            layout = transactions_layout(*own.columns(), needs_labels=needs_labels)
            with read_table(self._connection, path, layout, TransactionsFileError) as table:
                outside = count_out_of_bounds(self._connection, own)
                self._create_tables(columns.clock_minutes(table.kinds))
        except TransactionsFileError:
            self.close()
            raise
        self.dropped = {
            **table.dropped,
            **{name: count + table.dropped.get(name, 0) for name, count in outside.items()},
        }
        self.facts = self._read_facts()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database; its file stays in the folder."""
        self._connection.close()

    def batches(self, size: Callable[[], int]) -> Iterator[DatasetBatch]:
        """Yield all transactions by time, at one time in the file's order; `size` is called before each batch."""
        start = 0
        while start < self.facts.rows:
            end = start + size()
            found = self._connection.execute(
                "SELECT * EXCLUDE (row) FROM transactions WHERE rowid >= ? AND rowid < ? ORDER BY rowid",
                [start, end],
            ).fetchnumpy()
            yield batch_of(found, start, self._own.values_of(found["attributes"].tolist()))
            start = end

    def labels(self) -> FileLabels:
        """Return when each payment occurred, and what is known of its outcome since when."""
        found = self._connection.execute(
            "SELECT occurred_ms, labelled_ms, fraud FROM transactions ORDER BY rowid"
        ).fetchnumpy()
        return FileLabels(
            np.asarray(found["occurred_ms"], np.int64),
            np.asarray(found["labelled_ms"], np.int64),
            np.asarray(found["fraud"], np.int8),
        )

    def frauds_known(self, after_ms: int, until_ms: int) -> list[Label]:
        """Return the labels that say fraud and become known in (after_ms, until_ms], in that order.

        A file has one label of a transaction, so a label that says no fraud corrects nothing and is left out.
        """
        found = self._connection.execute(
            "SELECT transaction_id, card_id, merchant_id, occurred_ms, labelled_ms, position FROM frauds "
            "WHERE labelled_ms > ? AND labelled_ms <= ? ORDER BY rowid",
            [after_ms, until_ms],
        ).fetchall()
        return [
            Label(
                transaction_id=transaction_id,
                card_id=card_id,
                fraud=True,
                labelled_ms=labelled_ms,
                reported_by="chargeback",
                merchant_id=merchant_id,
                occurred_ms=occurred_ms,
                partition=0,
                offset=position,
            )
            for transaction_id, card_id, merchant_id, occurred_ms, labelled_ms, position in found
        ]

    def _create_tables(self, clock_minutes: str) -> None:
        """Sort the rows by time; `clock_minutes` is the expression of their clock's offset from UTC."""
        self._connection.execute("CREATE TEMP TABLE currencies (code VARCHAR, exponent BIGINT)")
        self._connection.executemany("INSERT INTO currencies VALUES (?, ?)", list(CURRENCY_DECIMALS.items()))
        self._connection.execute(
            "CREATE TABLE transactions AS SELECT row, read_transaction_id AS transaction_id, read_card_id AS card_id, "  # noqa: S608 - a number
            "read_merchant_id AS merchant_id, read_occurred_at AS occurred_ms, clock_minutes AS utc_offset_minutes, "
            "read_amount_minor AS amount_minor, currencies.exponent AS exponent, read_currency AS currency, "
            f"read_device_id AS device_id, {columns.PLACE} AS place, {columns.TRAITS} AS traits, "
            f"{self._own.expression()} AS attributes, "
            "CASE WHEN read_fraud IS NULL THEN -1 WHEN read_fraud THEN 1 ELSE 0 END AS fraud, "
            f"coalesce(read_labelled_at, read_occurred_at + {LABEL_DELAY_MS}) AS labelled_ms "
            f"FROM (SELECT *, {clock_minutes} AS clock_minutes FROM read) "
            "JOIN currencies ON read_currency = currencies.code ORDER BY read_occurred_at, row"
        )
        self._connection.execute(
            "CREATE TABLE frauds AS SELECT transaction_id, card_id, merchant_id, occurred_ms, labelled_ms, "
            "rowid AS position FROM transactions WHERE fraud = 1 ORDER BY labelled_ms, rowid"
        )

    def _read_facts(self) -> FileFacts:
        found = self._connection.execute(
            "SELECT count(*), min(occurred_ms), max(occurred_ms), count(*) FILTER (fraud >= 0), "
            "count(*) FILTER (fraud >= 0 AND labelled_ms <= (SELECT max(occurred_ms) FROM transactions)) "
            "FROM transactions"
        ).fetchall()[0]
        return FileFacts(*found)
