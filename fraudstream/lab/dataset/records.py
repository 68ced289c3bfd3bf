"""Converts a transactions file to the records of its transactions and labels: `transaction/1` and `label/1`.

The file is checked, and its columns read, as in `file`; what a worker drops from a record is left in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from features.own_fields import NO_FIELDS, DeclaredFields
from fraudstream.lab.dataset import columns as columns_module
from fraudstream.lab.dataset.database import connect
from fraudstream.lab.dataset.errors import TransactionsFileError
from fraudstream.lab.dataset.file import LABEL_DELAY_MS, transactions_layout
from fraudstream.lab.dataset.input_table import Column, Need, read_table
from fraudstream.lab.dataset.own_columns import OwnColumns, count_out_of_bounds
from models.times import format_time

CHUNK = 10_000
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
    "attributes": "VARCHAR",
}
_EXTRA = (
    *(Column(name, columns_module.ANY, Need.NOTHING) for name in ("card_country", "merchant_currency")),
    Column("merchant_amount_minor", columns_module.AMOUNT, Need.DROPPED),
)
"""Columns of a transactions file that are read for records alone."""
_COLUMNS = {"file": "BIGINT", "row": "BIGINT", "payment_ms": "BIGINT", "label_ms": "BIGINT", **_REQUIRED, **_OPTIONAL}
_LABELLED_MS = (
    f"(CASE WHEN read_fraud IS NOT NULL THEN coalesce(read_labelled_at, read_occurred_at + {LABEL_DELAY_MS}) END)"
)
"""When a row's label became known, as SQL; NULL if it has none."""
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
        declared: fields of one's own, which go into `attributes` where a file has them.

    Attributes:
        dropped: how many optional values are invalid, by column: workers read them as absent.
        first_ms, last_ms: when the first and the last payment of all files occurred, in epoch milliseconds; without
            payments the latest time that there is, and 0.

    Raises:
        MissingExtraError: DuckDB is not installed.
    """

    def __init__(self, folder: Path, declared: DeclaredFields = NO_FIELDS) -> None:
        self._connection = connect(folder / "records.duckdb", 2)
        self._own = OwnColumns(declared)
        columns = ", ".join(f"{name} {kind}" for name, kind in _COLUMNS.items())
        self._connection.execute(f"CREATE TABLE records ({columns})")
        self._files: list[str] = []
        self._optional: set[str] = set()
        self._counts: Counter[RecordKind] = Counter()
        self.dropped: Counter[str] = Counter()
        self.first_ms, self.last_ms = LAST_TIME_MS, 0

    def add(
        self, path: Path, kinds: Collection[RecordKind] = tuple(RecordKind), *, until_ms: int = LAST_TIME_MS
    ) -> None:
        """Add the records of some kinds of a parquet or CSV file that are earlier than a time.

        A file without the column `fraud` has no labels, and is refused if only labels are asked for.

        Raises:
            TransactionsFileError: the file cannot be used, for all the reasons given.
        """
        needs_labels = RecordKind.TRANSACTION not in kinds
        layout = transactions_layout(*_EXTRA, *self._own.columns(), needs_labels=needs_labels)
        with read_table(self._connection, path, layout, TransactionsFileError) as table:
            optional = _optional_columns(table.kinds)
            if self._own.names:
                optional["attributes"] = self._own.expression()
                self.dropped.update(count_out_of_bounds(self._connection, self._own))
            self._insert(_required_columns(table.kinds) | optional, kinds, until_ms)
        self._optional |= optional.keys()
        self.dropped.update(table.dropped)
        payments, labels, first_ms, last_ms = self._connection.execute(
            f"SELECT count(payment_ms), count(label_ms), coalesce(min(payment_ms), {LAST_TIME_MS}), "  # noqa: S608 - our own
            "coalesce(max(payment_ms), 0) FROM records WHERE file = ?",
            [len(self._files)],
        ).fetchall()[0]
        self._counts += Counter({RecordKind.TRANSACTION: payments, RecordKind.LABEL: labels})
        self.first_ms, self.last_ms = min(self.first_ms, first_ms), max(self.last_ms, last_ms)
        self._files.append(f"{path} row")

    def _insert(self, expressions: Mapping[str, str], kinds: Collection[RecordKind], until_ms: int) -> None:
        columns = {"file": str(len(self._files)), "row": "row", **expressions}
        due = {RecordKind.TRANSACTION: ("payment_ms", "read_occurred_at"), RecordKind.LABEL: ("label_ms", _LABELLED_MS)}
        for name, moment in (due[kind] for kind in kinds):
            columns[name] = f"CASE WHEN {moment} < {until_ms} THEN {moment} END"
        chosen = ", ".join(f"{expression} AS {name}" for name, expression in columns.items())
        self._connection.execute(f"INSERT INTO records BY NAME SELECT {chosen} FROM read")  # noqa: S608 - our own

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
                value = _encode(_label(values, at_ms) if is_label else self._payment(values))
                yield TimedRecord(at_ms, kind, values["card_id"].encode(), value, self._files[file], row)

    def _payment(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return the fields of `transaction/1`; empty values are left out, and `occurred_at` keeps its UTC offset."""
        own = self._own.values_of([values.pop("attributes", None)])
        del values["fraud"]
        zone = timezone(timedelta(minutes=values.pop("offset_minutes")))
        at = (EPOCH + timedelta(milliseconds=values.pop("occurred_ms"))).astimezone(zone)
        given = {name: value for name, value in values.items() if value is not None and value != ""}
        if own is not None and own[0]:
            given["attributes"] = self._own.shown(own[0])
        return {"schema": "transaction/1", "occurred_at": at.isoformat(timespec="milliseconds"), **given}


def _required_columns(types: Mapping[str, str]) -> dict[str, str]:
    """Return the expressions of the columns that every file has, or that follow from these."""
    return {
        **{name: f"read_{name}" for name in (*_TOKENS, "amount_minor", "fraud")},
        "occurred_ms": "read_occurred_at",
        "offset_minutes": columns_module.clock_minutes(types),
    }


def _optional_columns(types: Mapping[str, str]) -> dict[str, str]:
    """Return the expressions of the optional columns that a file has; a worker drops an invalid text, not we."""
    columns = {name: f"CAST({name} AS VARCHAR)" for name in _TEXTS if name in types}
    columns |= {name: columns_module.number(name, types[name]) for name in _DEGREES if name in types}
    if "merchant_amount_minor" in types:
        columns["merchant_amount_minor"] = "read_merchant_amount_minor"
    if "mcc" in types:
        columns["mcc"] = "coalesce(read_mcc, CAST(mcc AS VARCHAR))"
    return columns


def _label(values: dict[str, Any], labelled_ms: int) -> dict[str, Any]:
    """Return the fields of `label/1`; a file has no `reported_by`, so it is "chargeback"."""
    names = ("transaction_id", "card_id", "merchant_id", "fraud")
    times = {"occurred_at": format_time(values["occurred_ms"]), "labelled_at": format_time(labelled_ms)}
    return {"schema": "label/1", **{name: values[name] for name in names}, **times, "reported_by": "chargeback"}
