"""Converts a transactions file to the records of its transactions and labels: `transaction/1` and `label/1`.

The file is checked first, and its columns read, as in `file` and `columns`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from heapq import merge
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from models.times import format_time
from stream.dataset import columns as columns_module
from stream.dataset.database import connect
from stream.dataset.errors import TransactionsFileError
from stream.dataset.file import LABEL_DELAY_MS, TransactionsFile, source_of

CHUNK = 10_000
REQUIRED = ("transaction_id", "card_id", "merchant_id", "currency")
TEXTS = ("account_id", "customer_id", "device_id", "channel", "merchant_country", "card_country", "merchant_currency")
DEGREES = ("latitude", "longitude")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LAST_TIME_MS = 253_402_300_800_000
"""All times of the contract are before the year 10000."""

_encode = msgspec.json.Encoder().encode


class RecordKind(StrEnum):
    """The two kinds of records of a file."""

    TRANSACTION = "transaction"
    LABEL = "label"


class TimedRecord(NamedTuple):
    """Key and value of a record, and its time in epoch milliseconds: `occurred_at` of a payment, else `labelled_at`."""

    at_ms: int
    kind: RecordKind
    key: bytes
    value: bytes


def interleaved(sources: Iterable[Iterable[TimedRecord]]) -> Iterator[TimedRecord]:
    """Merge records that are each in the order of their times; at one time, those of an earlier source come first."""
    return merge(*sources, key=lambda record: record.at_ms)


class RecordsFile:
    """A transactions file that passed all checks, as records.

    Args:
        path: parquet or CSV.
        folder: where the database goes, which may become as large as the file.
        needs_labels: a file without the column `fraud` is refused.
        until_ms: records of this time or later are left out.

    Attributes:
        has_labels: whether there is a column `fraud`.
        first_ms, last_ms: when its first and its last payment occurred, in epoch milliseconds.

    Raises:
        MissingExtraError: DuckDB is not installed.
        TransactionsFileError: the file cannot be used, for all the reasons given.
    """

    def __init__(self, path: Path, folder: Path, *, needs_labels: bool = False, until_ms: int = LAST_TIME_MS) -> None:
        self._path = path
        self._until_ms = until_ms
        with TransactionsFile(path, folder, threads=2, needs_labels=needs_labels) as checked:
            counts = checked.counts_before(until_ms)
            self._counts = {RecordKind.TRANSACTION: counts.payments, RecordKind.LABEL: counts.labels}
            self.first_ms, self.last_ms = checked.facts.first_ms, counts.last_ms
        self._connection = connect(folder / "records.duckdb", threads=2)
        reader = source_of(path)
        described = self._connection.execute(f"DESCRIBE SELECT * FROM {reader}").fetchall()  # noqa: S608 - quoted
        self._source = reader
        self._kinds = {str(name): str(kind) for name, kind, *_ in described}
        self.has_labels = "fraud" in self._kinds

    def count(self, kind: RecordKind) -> int:
        """Return the number of records of a kind."""
        return self._counts[kind]

    def records(self, kind: RecordKind) -> Iterator[TimedRecord]:
        """Yield each record: transactions in the order of `occurred_at`, labels of `labelled_at`.

        Raises:
            TransactionsFileError: labels are asked for and the file has no column `fraud`.
        """
        if kind is RecordKind.LABEL and not self.has_labels:
            raise TransactionsFileError(str(self._path), ("column fraud is missing: it has no labels to send",))
        columns, condition, order = self._labels() if kind is RecordKind.LABEL else self._transactions()
        chosen = ", ".join(f"{expression} AS given_{name}" for name, expression in columns.items())
        query = (
            f"SELECT * EXCLUDE (place) FROM (SELECT row_number() OVER () AS place, {chosen} FROM {self._source}) "  # noqa: S608 - our own
            f"WHERE {condition} AND given_{order} < {self._until_ms} ORDER BY given_{order}, place"
        )
        found = self._connection.cursor().execute(query)  # of its own: both kinds may be read side by side
        while rows := found.fetchmany(CHUNK):
            for row in rows:
                values = dict(zip(columns, row, strict=True))
                at_ms, key = values[order], str(values["card_id"]).encode()
                value = _encode(_label(values) if kind is RecordKind.LABEL else _payment(values))
                yield TimedRecord(at_ms, kind, key, value)

    def _transactions(self) -> tuple[dict[str, str], str, str]:
        columns = {name: f"CAST({name} AS VARCHAR)" for name in (*REQUIRED, *self._present(TEXTS))}
        columns |= {"occurred_at": self._time("occurred_at"), "amount_minor": self._amount("amount_minor")}
        columns["offset_minutes"] = columns_module.clock_minutes(self._kinds)
        columns |= {name: columns_module.number(name, self._kinds[name]) for name in self._present(DEGREES)}
        columns |= {name: self._amount(name) for name in self._present(("merchant_amount_minor",))}
        for name in self._present(("mcc",)):  # an invalid one is sent as it is; the worker drops it
            columns[name] = f"coalesce({columns_module.category(name, self._kinds[name])}, CAST({name} AS VARCHAR))"
        return columns, "true", "occurred_at"

    def _labels(self) -> tuple[dict[str, str], str, str]:
        columns = {name: f"CAST({name} AS VARCHAR)" for name in ("transaction_id", "card_id", "merchant_id")}
        columns["occurred_at"] = self._time("occurred_at")
        columns["fraud"] = columns_module.flag("fraud", self._kinds["fraud"]).expression
        labelled_at = self._time("labelled_at") if "labelled_at" in self._kinds else "NULL"
        columns["labelled_at"] = f"coalesce({labelled_at}, {columns['occurred_at']} + {LABEL_DELAY_MS})"
        return columns, "given_fraud IS NOT NULL", "labelled_at"

    def _present(self, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in names if name in self._kinds)

    def _time(self, name: str) -> str:
        return columns_module.time_ms(name, self._kinds[name]).expression

    def _amount(self, name: str) -> str:
        return columns_module.amount(name, self._kinds[name]).expression


def _payment(values: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of `transaction/1`; empty values are left out, and `occurred_at` keeps its UTC offset."""
    zone = timezone(timedelta(minutes=values.pop("offset_minutes")))
    at = (EPOCH + timedelta(milliseconds=values.pop("occurred_at"))).astimezone(zone)
    given = {name: value for name, value in values.items() if value is not None and value != ""}
    return {"schema": "transaction/1", "occurred_at": at.isoformat(timespec="milliseconds"), **given}


def _label(values: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of `label/1`; a file has no `reported_by`, so it is "chargeback"."""
    times = {name: format_time(values[name]) for name in ("occurred_at", "labelled_at")}
    return {"schema": "label/1", **values, **times, "reported_by": "chargeback"}
