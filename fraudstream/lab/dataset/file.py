"""Reads a transactions file: checks all of it, sorts it by time in a database on disk, and returns it in batches.

It accepts the values that the stream would accept in its records, and reports all problems at once.
"""

from collections.abc import Callable, Collection, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from features.declaration import DAY_MS
from features.history.store import Label
from fraudstream.lab.dataset import columns as columns_module
from fraudstream.lab.dataset.database import MEMORY_MB, DatasetBatch, batch_of, connect, import_duckdb, quoted
from fraudstream.lab.dataset.errors import TransactionsFileError
from models.errors import InvalidTimeError
from models.times import parse_time_ms
from stream.contract.iso import CURRENCY_DECIMALS
from stream.redaction import holds_card_number, shown

DATABASE = "transactions.duckdb"
"""Name of the database in its folder; it stays there after `close`."""
LABEL_DELAY_MS = 7 * DAY_MS
"""A label without `labelled_at` counts as known this long after its transaction."""
_REQUIRED = ("transaction_id", "card_id", "merchant_id", "occurred_at", "amount_minor", "currency")
_MOST_NAMED = 30
"""More columns of a file are not listed."""
_NO_PARQUET = "if it is no parquet file, name it .csv"
_NO_CSV = "check that all lines end alike (LF or CRLF) and have as many columns as the first, and that it is UTF-8"
_PARQUET = frozenset({".parquet", ".pq"})
_PARTIES = ("account_id", "customer_id")
"""Optional columns that are not read, but must not hold card numbers."""
_COLUMN_READERS = {
    "transaction_id": columns_module.transaction_id,
    "card_id": columns_module.token,
    "merchant_id": columns_module.token,
    "occurred_at": columns_module.time_ms,
    "amount_minor": columns_module.amount,
    "currency": columns_module.currency,
    "fraud": columns_module.flag,
    "labelled_at": columns_module.time_ms,
    "utc_offset_minutes": columns_module.minutes,
}
TIME_RULE = "is not RFC 3339 with a zone (as 2026-01-31T12:00:00Z), nor epoch milliseconds"
_RULES = {
    "transaction_id": "is not a text of 1 to 64 characters",
    "card_id": "is not a token of 1 to 64 of A-Z a-z 0-9 . _ : @ -",
    "merchant_id": "is not a token of 1 to 64 of A-Z a-z 0-9 . _ : @ -",
    "occurred_at": TIME_RULE,
    "amount_minor": "is not a whole number of minor units from 0 to 10^12 (12.34 EUR is 1234)",
    "currency": "is not an ISO 4217 code such as EUR",
    "fraud": "is not true, false or nothing",
    "labelled_at": TIME_RULE,
    "utc_offset_minutes": "is not whole minutes from -1439 to 1439 (+01:00 is 60)",
}


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


class FileCounts(NamedTuple):
    """How many payments and labels a file has before some time, and when the last of these payments occurred."""

    payments: int
    labels: int
    last_ms: int


class ColumnCheck(NamedTuple):
    """A condition that is true of the rows whose value in a column cannot be used, and what is wrong with it."""

    column: str
    rule: str
    condition: str

    def columns(self, present: Collection[str]) -> str:
        """Return three columns of a query: how many rows there are, the number of the first, and its value."""
        value = f"CAST({self.column} AS VARCHAR)" if self.column in present else "CAST(NULL AS VARCHAR)"
        chosen = f"FILTER ({self.condition})"
        return f"count(*) {chosen}, min(row) {chosen}, arg_min({value}, row) {chosen}"

    def problem(self, count: int, row: int, value: str | None) -> str:
        """Return the problem, with the first row and its value."""
        rows = f"row {row}" if count == 1 else f"{count} rows, first in row {row}"
        text = f"{self.column} {self.rule} in {rows}"
        if value is None:
            return text
        return f"{text}: {shown(value)}{_zone_advice(value) if self.rule is TIME_RULE else ''}"


def _zone_advice(value: str) -> str:
    """Return what to do about a time that only lacks its zone."""
    try:
        parse_time_ms(f"{value}Z")
    except InvalidTimeError:
        return ""
    return ", which names no zone: add +00:00 or another (in pandas, .dt.tz_localize)"


def missing_columns(required: Collection[str], found: Collection[str]) -> list[str]:
    """Return a problem for each required column that a file lacks, with the nearest it has; then all that it has."""
    others = {_letters(name): name for name in found if name not in _COLUMN_READERS}
    problems = []
    for name in required:
        if name not in found:
            near = [shown(others[one]) for one in get_close_matches(_letters(name), others, n=2)]
            problems.append(f"column {name} is missing" + (f", the nearest is {' or '.join(near)}" if near else ""))
    if not problems:
        return []
    named = ", ".join(shown(name) for name in list(found)[:_MOST_NAMED])
    more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
    return [*problems, f"the columns found are {named}{more}: rename or add what is missing"]


def _letters(name: str) -> str:
    """Return a column's name without what its writers differ in."""
    return "".join(filter(str.isalnum, name.lower()))


class TransactionsFile:
    """A file that was read, checked and sorted; close it, or use it as a context.

    Attributes:
        facts: its size and time range.
        dropped: how many optional values were invalid, by column; they are read as absent.
    """

    def __init__(
        self, path: Path, folder: Path, threads: int, memory_mb: int = MEMORY_MB, *, needs_labels: bool = False
    ) -> None:
        """Read a parquet or CSV file; the database in `folder` may become as large as it.

        With `needs_labels` a file without the column `fraud` is refused.

        Raises:
            MissingExtraError: DuckDB is not installed.
            TransactionsFileError: the file cannot be used, for all the reasons given.
        """
        self._path = path
        self._duckdb = import_duckdb()
        self._connection = connect(folder / DATABASE, threads, memory_mb)
        try:
            self._load((*_REQUIRED, "fraud") if needs_labels else _REQUIRED)
        except self._duckdb.Error as error:
            self.close()
            advice = _NO_PARQUET if path.suffix.lower() in _PARQUET else _NO_CSV
            problem = f"cannot be read: {str(error).splitlines()[0].rstrip('.')}; {advice}"
            raise TransactionsFileError(str(path), (problem,)) from error
        except TransactionsFileError:
            self.close()
            raise
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
            columns = self._connection.execute(
                "SELECT * EXCLUDE (row) FROM transactions WHERE rowid >= ? AND rowid < ? ORDER BY rowid",
                [start, end],
            ).fetchnumpy()
            yield batch_of(columns, start)
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

    def counts_before(self, until_ms: int) -> FileCounts:
        """Count the payments that occurred before a time, and the labels that were known before it."""
        found = self._connection.execute(
            "SELECT count(*) FILTER (occurred_ms < $1), count(*) FILTER (fraud >= 0 AND labelled_ms < $1), "
            "coalesce(max(occurred_ms) FILTER (occurred_ms < $1), 0) FROM transactions",
            [until_ms],
        ).fetchall()[0]
        return FileCounts(*found)

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

    def _load(self, required: Collection[str]) -> None:
        self._connection.execute("CREATE TABLE currencies (code VARCHAR, exponent BIGINT)")
        self._connection.executemany("INSERT INTO currencies VALUES (?, ?)", list(CURRENCY_DECIMALS.items()))
        source = source_of(self._path)
        described = self._connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()  # noqa: S608 - quoted
        kinds = {str(name): str(kind) for name, kind, *_ in described}
        self._raise_if(missing_columns(required, tuple(kinds)))
        readings = {name: reader(name, kinds[name]) for name, reader in _COLUMN_READERS.items() if name in kinds}
        self._raise_if([reading.problem for reading in readings.values() if reading.problem is not None])
        self._create_views(source, readings, kinds)
        self._raise_if(self._find_bad_values(tuple(readings)))
        self._raise_if(self._find_card_numbers(kinds))
        self.dropped = self._count_dropped(kinds)
        self._create_tables()

    def _create_views(
        self, source: str, readings: dict[str, columns_module.ColumnExpression], kinds: dict[str, str]
    ) -> None:
        """Create two views: `given` has the columns as they are, `read` their values, NULL if invalid or absent."""
        present = "kind" in kinds
        extra = [name for name in ("kind", *_PARTIES, *columns_module.READERS) if name in kinds]
        given = ", ".join([*readings, *extra])
        self._connection.execute(
            f"CREATE VIEW given AS SELECT row_number() OVER () AS row, {given} FROM {source}"  # noqa: S608 - our own
        )
        columns = [f"{reading.expression} AS read_{name}" for name, reading in readings.items()]
        columns += [f"NULL AS read_{name}" for name in ("fraud", "labelled_at") if name not in readings]
        columns.append(f"{columns_module.clock_minutes(kinds)} AS clock_minutes")
        columns += [
            f"{expression} AS read_{name}" for name, expression in columns_module.optional_expressions(kinds).items()
        ]
        columns += extra if present else [*extra, "NULL AS kind"]
        self._connection.execute(
            f"CREATE VIEW read AS SELECT row, {', '.join(columns)}, {', '.join(readings)} FROM given"  # noqa: S608
        )

    def _find_bad_values(self, names: tuple[str, ...]) -> list[str]:
        checks = [
            *(ColumnCheck(name, "is missing", f"{name} IS NULL") for name in _REQUIRED),
            *(ColumnCheck(name, _RULES[name], f"{name} IS NOT NULL AND read_{name} IS NULL") for name in names),
            ColumnCheck("labelled_at", "is before occurred_at", "read_labelled_at < read_occurred_at"),
            ColumnCheck("kind", "is not 'authorization', the only kind that is supported", "kind <> 'authorization'"),
        ]
        columns = {*names, "kind"}
        found = self._connection.execute(
            f"SELECT {', '.join(check.columns(columns) for check in checks)}, count(*) FROM read"  # noqa: S608 - our own
        ).fetchall()[0]
        problems = [check.problem(*found[3 * at : 3 * at + 3]) for at, check in enumerate(checks) if found[3 * at]]
        return problems if found[-1] else ["holds no transaction"]

    def _find_card_numbers(self, kinds: dict[str, str]) -> list[str]:
        """Return problems that name columns with card numbers, never the numbers."""
        problems = []
        for name in ("card_id", "merchant_id", *(party for party in _PARTIES if party in kinds)):
            text = f"CAST({name} AS VARCHAR)"
            digits = f"regexp_replace({text}, '[^0-9]', '', 'g')"
            found = self._connection.execute(
                f"SELECT {text}, min(row) FROM read WHERE length({digits}) >= 14 GROUP BY 1 ORDER BY 2"  # noqa: S608
            ).fetchall()
            row = next((row for value, row in found if holds_card_number(value)), None)
            if row is not None:
                problems.append(f"{name} holds a card number in row {row}: replace card numbers by tokens first")
        return problems

    def _count_dropped(self, kinds: dict[str, str]) -> dict[str, int]:
        """Count the invalid optional values, by column."""
        conditions = columns_module.dropped_conditions(kinds)
        counts = ", ".join(["0", *(f"count(*) FILTER ({test})" for test in conditions.values())])
        found = self._connection.execute(f"SELECT {counts} FROM read").fetchall()[0]  # noqa: S608 - our own
        return {name: count for name, count in zip(conditions, found[1:], strict=True) if count}

    def _create_tables(self) -> None:
        self._connection.execute(
            "CREATE TABLE transactions AS SELECT row, read_transaction_id AS transaction_id, read_card_id AS card_id, "  # noqa: S608 - a number
            "read_merchant_id AS merchant_id, read_occurred_at AS occurred_ms, clock_minutes AS utc_offset_minutes, "
            "read_amount_minor AS amount_minor, currencies.exponent AS exponent, read_currency AS currency, "
            f"read_device_id AS device_id, {columns_module.PLACE} AS place, {columns_module.TRAITS} AS traits, "
            "CASE WHEN read_fraud IS NULL THEN -1 WHEN read_fraud THEN 1 ELSE 0 END AS fraud, "
            f"coalesce(read_labelled_at, read_occurred_at + {LABEL_DELAY_MS}) AS labelled_ms "
            "FROM read JOIN currencies ON read_currency = currencies.code ORDER BY read_occurred_at, row"
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

    def _raise_if(self, problems: list[str]) -> None:
        if problems:
            raise TransactionsFileError(str(self._path), tuple(problems))


def source_of(path: Path) -> str:
    """Return what SQL selects from to read a file.

    Raises:
        TransactionsFileError: its name has another ending.
    """
    match path.suffix.lower():
        case ending if ending in _PARQUET:
            return f"read_parquet({quoted(path)})"
        case ".csv" | ".gz" | ".tsv":
            return f"read_csv({quoted(path)}, all_varchar = true, header = true)"
        case other:
            raise TransactionsFileError(str(path), (f"ends in {other!r}: use .parquet or .csv",))
