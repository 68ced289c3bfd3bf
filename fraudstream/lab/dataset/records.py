"""Converts a transactions file to the records of its transactions and labels: `transaction/1` and `label/1`.

The file is checked first, and its columns read, as in `file` and `columns`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import msgspec

from fraudstream.lab.dataset import columns as columns_module
from fraudstream.lab.dataset.database import MEMORY_MB, connect
from fraudstream.lab.dataset.file import LABEL_DELAY_MS, TransactionsFile, source_of
from models.times import format_time

CHUNK = 10_000
_MEMORY_MB = MEMORY_MB // 2
"""A file is checked in a database of its own, beside that of the records."""
_TOKENS = ("transaction_id", "card_id", "merchant_id", "currency")
_TEXTS = ("account_id", "customer_id", "device_id", "channel", "merchant_country", "card_country", "merchant_currency")
_DEGREES = ("latitude", "longitude")
_REQUIRED = {
    **dict.fromkeys(_TOKENS, "VARCHAR"),
    "occurred_ms": "BIGINT",
    "amount_minor": "BIGINT",
    "offset_minutes": "BIGINT",
    "fraud": "BOOLEAN",
}
_OPTIONAL = {
    **dict.fromkeys((*_TEXTS, "mcc"), "VARCHAR"),
    **dict.fromkeys(_DEGREES, "DOUBLE"),
    "merchant_amount_minor": "BIGINT",
}
_COLUMNS = {"file": "BIGINT", "row": "BIGINT", "payment_ms": "BIGINT", "label_ms": "BIGINT", **_REQUIRED, **_OPTIONAL}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LAST_TIME_MS = 253_402_300_800_000
"""All times of the contract are before the year 10000."""

_encode = msgspec.json.Encoder().encode


class RecordKind(StrEnum):
    """The two kinds of records of a file."""

    TRANSACTION = "transaction"
    LABEL = "label"


class TimedRecord(NamedTuple):
    """Key and value of a record, its time in epoch milliseconds (`occurred_at`, else `labelled_at`), and where it is.

    `place` is a row of `source`, from 1, or an offset.
    """

    at_ms: int
    kind: RecordKind
    key: bytes
    value: bytes
    source: str = ""
    place: int = 0


class RecordsDatabase:
    """Transactions files that passed all checks, as records, in one database: many files need no more memory than one.

    Args:
        folder: where the database goes, which may become as large as the files.

    Attributes:
        last_ms: when the last payment of all files occurred, in epoch milliseconds; 0 if there is none.

    Raises:
        MissingExtraError: DuckDB is not installed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._connection = connect(folder / "records.duckdb", 2, _MEMORY_MB)
        columns = ", ".join(f"{name} {kind}" for name, kind in _COLUMNS.items())
        self._connection.execute(f"CREATE TABLE records ({columns})")
        self._files: list[str] = []
        self._optional: set[str] = set()
        self._counts: Counter[RecordKind] = Counter()
        self.last_ms = 0

    def add(
        self, path: Path, kinds: Collection[RecordKind] = tuple(RecordKind), *, until_ms: int = LAST_TIME_MS
    ) -> None:
        """Add the records of some kinds of a parquet or CSV file that are earlier than a time.

        A file without the column `fraud` has no labels, and is refused if only labels are asked for.

        Raises:
            TransactionsFileError: the file cannot be used, for all the reasons given.
        """
        with TemporaryDirectory(dir=self._folder) as folder:
            needs_labels = RecordKind.TRANSACTION not in kinds
            with TransactionsFile(path, Path(folder), 2, _MEMORY_MB, needs_labels=needs_labels) as checked:
                counts = checked.counts_before(until_ms)
        found = {RecordKind.TRANSACTION: counts.payments, RecordKind.LABEL: counts.labels}
        self._counts.update({kind: found[kind] for kind in kinds})
        if not needs_labels:
            self.last_ms = max(self.last_ms, counts.last_ms)
        self._insert(path, kinds, until_ms)

    def _insert(self, path: Path, kinds: Collection[RecordKind], until_ms: int) -> None:
        source = source_of(path)
        described = self._connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()  # noqa: S608 - quoted
        types = {str(name): str(kind) for name, kind, *_ in described}
        optional = _optional_columns(types)
        columns = {"file": str(len(self._files)), "row": "row_number() OVER ()"} | _required_columns(types) | optional
        due = {
            RecordKind.TRANSACTION: ("payment_ms", columns["occurred_ms"]),
            RecordKind.LABEL: ("label_ms", _labelled_ms(types)),
        }
        for name, moment in (due[kind] for kind in kinds):
            columns[name] = f"CASE WHEN {moment} < {until_ms} THEN {moment} END"
        chosen = ", ".join(f"{expression} AS {name}" for name, expression in columns.items())
        self._connection.execute(f"INSERT INTO records BY NAME SELECT {chosen} FROM {source}")  # noqa: S608 - our own
        self._optional |= optional.keys()
        self._files.append(f"{path} row")

    def count(self, kind: RecordKind) -> int:
        """Return the number of records of a kind."""
        return self._counts[kind]

    def records(self) -> Iterator[TimedRecord]:
        """Yield all records by time; at one time payments before labels, and those of a file that was added earlier."""
        names = [name for name in (*_REQUIRED, *_OPTIONAL) if name in _REQUIRED or name in self._optional]
        chosen = ", ".join(("file", "row", *names))
        query = (
            f"SELECT payment_ms AS at_ms, false AS is_label, {chosen} FROM records WHERE payment_ms IS NOT NULL "  # noqa: S608 - our own
            f"UNION ALL SELECT label_ms, true, {chosen} FROM records WHERE label_ms IS NOT NULL "
            "ORDER BY at_ms, is_label, file, row"
        )
        found = self._connection.cursor().execute(query)
        while rows := found.fetchmany(CHUNK):
            for at_ms, is_label, file, row, *rest in rows:
                values = dict(zip(names, rest, strict=True))
                kind = RecordKind.LABEL if is_label else RecordKind.TRANSACTION
                value = _encode(_label(values, at_ms) if is_label else _payment(values))
                yield TimedRecord(at_ms, kind, values["card_id"].encode(), value, self._files[file], row)


def _required_columns(types: Mapping[str, str]) -> dict[str, str]:
    """Return the expressions of the columns that every file has, or that follow from these."""
    columns = {name: f"CAST({name} AS VARCHAR)" for name in _TOKENS}
    columns["occurred_ms"] = columns_module.time_ms("occurred_at", types["occurred_at"]).expression
    columns["amount_minor"] = columns_module.amount("amount_minor", types["amount_minor"]).expression
    columns["offset_minutes"] = columns_module.clock_minutes(types)
    columns["fraud"] = _fraud(types)
    return columns


def _optional_columns(types: Mapping[str, str]) -> dict[str, str]:
    """Return the expressions of the optional columns that a file has; a worker drops an invalid text, not we."""
    columns = {name: f"CAST({name} AS VARCHAR)" for name in _TEXTS if name in types}
    columns |= {name: columns_module.number(name, types[name]) for name in _DEGREES if name in types}
    if (amount := "merchant_amount_minor") in types:
        columns[amount] = columns_module.amount(amount, types[amount]).expression
    if "mcc" in types:
        columns["mcc"] = f"coalesce({columns_module.category('mcc', types['mcc'])}, CAST(mcc AS VARCHAR))"
    return columns


def _fraud(types: Mapping[str, str]) -> str:
    return columns_module.flag("fraud", types["fraud"]).expression if "fraud" in types else "NULL"


def _labelled_ms(types: Mapping[str, str]) -> str:
    """Return an expression of when a row's label became known; NULL if it has none."""
    given, occurred = (
        columns_module.time_ms(name, types[name]).expression if name in types else "NULL"
        for name in ("labelled_at", "occurred_at")
    )
    return f"(CASE WHEN {_fraud(types)} IS NOT NULL THEN coalesce({given}, {occurred} + {LABEL_DELAY_MS}) END)"


def _payment(values: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of `transaction/1`; empty values are left out, and `occurred_at` keeps its UTC offset."""
    del values["fraud"]
    zone = timezone(timedelta(minutes=values.pop("offset_minutes")))
    at = (EPOCH + timedelta(milliseconds=values.pop("occurred_ms"))).astimezone(zone)
    given = {name: value for name, value in values.items() if value is not None and value != ""}
    return {"schema": "transaction/1", "occurred_at": at.isoformat(timespec="milliseconds"), **given}


def _label(values: dict[str, Any], labelled_ms: int) -> dict[str, Any]:
    """Return the fields of `label/1`; a file has no `reported_by`, so it is "chargeback"."""
    names = ("transaction_id", "card_id", "merchant_id", "fraud")
    times = {"occurred_at": format_time(values["occurred_ms"]), "labelled_at": format_time(labelled_ms)}
    return {"schema": "label/1", **{name: values[name] for name in names}, **times, "reported_by": "chargeback"}
