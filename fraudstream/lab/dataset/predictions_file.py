"""Reads a file of predictions from storage (parquet, CSV) by the rules of `prediction/1`: for batch work, to publish.

Its columns are `card_id`, `name`, `value` (a number, or nothing), `computed_at` (with zone) and, optional, `model` and
`arrived_at`: when a prediction came, if that is known; else it came when it was computed. A payment sees those that had
come by its own time; that is what the stream shows, unless it was behind.
"""

import hashlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgspec
import numpy as np

from features.history import records
from features.history.predictions import PredictionLog
from features.history.store import Ints
from fraudstream.lab.dataset.columns import ANY_TEXT, IDENTIFIER, NUMBER, TIME
from fraudstream.lab.dataset.database import MEMORY_MB, connect, quoted
from fraudstream.lab.dataset.errors import PredictionsFileError
from fraudstream.lab.dataset.input_table import Column, ColumnCheck, Need, TableLayout, read_table
from fraudstream_client.field_types import LONGEST_MODEL
from models.times import format_time

DATABASE = "predictions.duckdb"
"""Name of the database in its folder; it stays there after `close`."""
CHUNK = 10_000
_LARGEST_SKEW_MS = 86_400_000
"""The most that FRAUDSTREAM_FUTURE_SKEW may be: by so much a prediction may come before it was computed."""
_LAYOUT = TableLayout(
    item="prediction",
    columns=(
        Column("card_id", IDENTIFIER, may_hold_card_numbers=True),
        Column("name", IDENTIFIER, may_hold_card_numbers=True),
        Column("value", NUMBER, Need.COLUMN),
        Column("computed_at", TIME),
        Column("arrived_at", TIME, Need.NOTHING),
        Column("model", ANY_TEXT, Need.NOTHING),
    ),
    checks=(
        ColumnCheck(
            "arrived_at",
            "is more than a day before computed_at",
            f"read_arrived_at < read_computed_at - {_LARGEST_SKEW_MS}",
        ),
        ColumnCheck("model", f"is longer than {LONGEST_MODEL} characters", f"length(read_model) > {LONGEST_MODEL}"),
    ),
)
DEDUPLICATED = """
CREATE TABLE {table} AS SELECT * FROM {source} QUALIFY row_number() OVER (
    PARTITION BY card_id, name, computed_ms, value ORDER BY moment, "offset", partition
) = 1
"""
"""The first of equal predictions, as a card's log has it; `moment` orders the log."""
_CARDS = "SELECT card_id, count(*) AS count FROM {table} GROUP BY card_id ORDER BY card_id"
_LOG = """
SELECT name, value, computed_ms, arrived_ms, partition, "offset" FROM {table}
ORDER BY card_id, moment, "offset", partition
"""
_encode = msgspec.json.Encoder().encode


class PredictionFacts(NamedTuple):
    """How many predictions a file has, about how many cards, of which names, and when they were computed."""

    rows: int
    cards: int
    names: tuple[str, ...]
    first_ms: int
    last_ms: int


class PublishablePrediction(NamedTuple):
    """Key and value of a `prediction/1`, and when it was computed, in ms of the Unix epoch."""

    key: bytes
    value: bytes
    computed_ms: int


class PredictionsFile:
    """A file of predictions that was read and checked; close it, or use it as a context.

    Attributes:
        facts: its size, names and time range.
    """

    def __init__(self, path: Path, folder: Path, threads: int, memory_mb: int = MEMORY_MB) -> None:
        """Read a parquet or CSV file; the database in `folder` may become as large as it.

        Raises:
            MissingExtraError: DuckDB is not installed.
            PredictionsFileError: the file cannot be used, for all the reasons given.
        """
        self._path = path
        self._connection = connect(folder / DATABASE, threads, memory_mb)
        try:
            with read_table(self._connection, path, _LAYOUT, PredictionsFileError):
                self._create_tables()
        except PredictionsFileError:
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

    def log(self, names: Collection[str]) -> PredictionLog:
        """Return the predictions of these names by card, each card's in the order in which they came."""
        return read_log(self._connection, "came", names)

    def require_computed(self, latest_ms: int) -> None:
        """Refuse predictions that a worker would take for ones of the future.

        Raises:
            PredictionsFileError: some were computed after `latest_ms`.
        """
        count, row, computed_ms = self._connection.execute(
            "SELECT count(*), min(row), arg_min(computed_ms, row) FROM predictions WHERE computed_ms > ?", [latest_ms]
        ).fetchall()[0]
        if count:
            check = ColumnCheck("computed_at", "is further ahead of now than FRAUDSTREAM_FUTURE_SKEW allows", "")
            raise PredictionsFileError(str(self._path), (check.problem(count, row, format_time(computed_ms)),))

    @property
    def fingerprint(self) -> str:
        """The SHA-256 over all predictions, in hex."""
        digest = hashlib.sha256()
        query = "SELECT card_id, name, value, computed_ms, arrived_ms FROM came ORDER BY ALL"
        found = self._connection.cursor().execute(query)
        while rows := found.fetchmany(CHUNK):
            digest.update("".join("\t".join(map(repr, row)) + "\n" for row in rows).encode())
        return digest.hexdigest()

    def records(self) -> Iterator[PublishablePrediction]:
        """Yield all predictions as `prediction/1`, by `computed_at`, at one time in the file's order."""
        query = "SELECT card_id, name, value, computed_ms, model FROM predictions ORDER BY computed_ms, row"
        found = self._connection.cursor().execute(query)
        while rows := found.fetchmany(CHUNK):
            for card_id, name, value, computed_ms, model in rows:
                fields = {"schema": "prediction/1", "card_id": card_id, "name": name, "value": value}
                fields |= {"computed_at": format_time(computed_ms)} | ({} if model is None else {"model": model})
                yield PublishablePrediction(card_id.encode(), _encode(fields), computed_ms)

    def _create_tables(self) -> None:
        """Create `predictions`, all rows, and `came`, each prediction once with its order in its card's log."""
        self._connection.execute(
            "CREATE TABLE predictions AS SELECT row, read_card_id AS card_id, read_name AS name, read_value AS value, "
            "read_computed_at AS computed_ms, coalesce(read_arrived_at, read_computed_at) AS arrived_ms, "
            'read_model AS model, 0 AS partition, row AS "offset" FROM read'
        )
        source = "(SELECT *, arrived_ms AS moment FROM predictions)"
        self._connection.execute(DEDUPLICATED.format(table="came", source=source))

    def _read_facts(self) -> PredictionFacts:
        rows, cards, names, first_ms, last_ms = self._connection.execute(
            "SELECT count(*), count(DISTINCT card_id), list_sort(list(DISTINCT name)), min(computed_ms), "
            "max(computed_ms) FROM predictions"
        ).fetchall()[0]
        return PredictionFacts(rows, cards, tuple(names), first_ms, last_ms)


def read_log(connection: Any, table: str, names: Collection[str] = ()) -> PredictionLog:  # noqa: ANN401 - of a module without types
    """Return the predictions in a table as a log: by card, each card's by `moment`; only those of `names`, if given.

    Its columns are `card_id`, `name`, `value`, `computed_ms`, `arrived_ms`, `partition`, `offset` and `moment`.
    """
    chosen = table
    if names:
        chosen = f"(SELECT * FROM {table} WHERE name IN ({', '.join(map(quoted, sorted(names)))}))"  # noqa: S608
    cards = connection.execute(_CARDS.format(table=chosen)).fetchall()
    found = connection.execute(_LOG.format(table=chosen)).fetchnumpy()
    rows = _rows(found)
    hashes = np.array([records.card_hash(card_id) for card_id, _ in cards], np.int64)
    of_rows = np.repeat(hashes, np.array([count for _, count in cards], np.int64))
    order = np.argsort(of_rows, kind="stable")
    return PredictionLog(rows[order], of_rows[order])


def _rows(columns: dict[str, Any]) -> Ints:
    """Return predictions as records of histories, shape (n, 7); their ids, which nothing reads here, are 0."""
    rows = np.zeros((len(columns["name"]), records.PREDICTION_COLUMNS), np.int64)
    values = np.ma.filled(np.ma.asarray(columns["value"], np.float64), np.nan)
    rows[:, records.TIME] = columns["computed_ms"]
    rows[:, records.AMOUNT] = np.where(np.isnan(values), np.nan, values + 0.0).view(np.int64)
    rows[:, records.OTHER] = [records.prediction_name_hash(name) for name in columns["name"].tolist()]
    rows[:, records.OFFSET] = columns["offset"]
    rows[:, records.FLAGS] = np.asarray(columns["partition"], np.int64) << records.PARTITION_SHIFT
    rows[:, records.ARRIVED] = columns["arrived_ms"]
    return rows


def open_needed(
    path: Path | None, names: Collection[str], folder: Path, threads: int, memory_mb: int = MEMORY_MB
) -> PredictionsFile | None:
    """Read the file of the predictions that features read, by name; None if they read none.

    Raises:
        PredictionsFileError: features read predictions of which there is no file, or none of a name in it, or no
            feature reads any.
    """
    wanted = ", ".join(sorted(names))
    if path is None:
        if names:
            raise PredictionsFileError("predictions", (f"the features read {wanted}: give --predictions FILE",))
        return None
    if not names:
        raise PredictionsFileError(
            str(path), ("no feature reads a prediction: leave --predictions out, or name rows in FRAUDSTREAM_FEATURES",)
        )
    opened = PredictionsFile(path, folder, threads, memory_mb)
    absent = sorted(set(names) - set(opened.facts.names))
    if absent:
        opened.close()
        found = ", ".join(opened.facts.names)
        raise PredictionsFileError(str(path), (f"has no prediction named {', '.join(absent)}; it has {found}",))
    return opened
