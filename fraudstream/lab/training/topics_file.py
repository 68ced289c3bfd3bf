"""Writes the payments and labels of the deployment's topics as a transactions file, so that `train` needs no export.

The file has the columns that a transactions file has, and one label for each payment: the one with the latest
`labelled_at`. One that was given before its payment, by another clock, counts from the payment on: a transactions file
has none that is earlier. What cannot be read as a payment or a label is left out and counted, as by a worker.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from features.own_fields import NO_FIELDS, DeclaredFields, FieldKind
from fraudstream.lab.dataset.backfill_sources import BackfillSource, LeftOut, read_topics
from fraudstream.lab.dataset.database import connect_memory, quoted
from fraudstream.lab.dataset.output import Columns, read_parts, write_part
from fraudstream.lab.dataset.records import RecordKind, TimedRecord
from stream.contract.codes import Rejection
from stream.contract.label import read_label
from stream.contract.transaction import ParsedTransaction, read_accepted_transaction
from stream.kafka.topics import LABELS, TRANSACTIONS
from stream.recovery.replayed_input import read_input_from_outside
from stream.settings import Settings

PART_ROWS = 65_536
_MEMORY_MB = 1_024
_TEXTS = (
    "transaction_id", "card_id", "merchant_id", "currency", "device_id", "mcc", "channel", "merchant_country",
    "card_country",
)  # fmt: skip
_DEGREES = ("latitude", "longitude")


class TopicsFile(NamedTuple):
    """A transactions file that was written from topics: where, how many records of each kind, and what was left out."""

    path: Path
    payments: int
    labels: int
    left_out: tuple[LeftOut, ...]


async def read_topics_file(
    settings: Settings, folder: Path, until_ms: int | None, declared: DeclaredFields = NO_FIELDS
) -> TopicsFile:
    """Read the deployment's topics of transactions and labels from their beginnings to their ends, into a file.

    Args:
        settings: names the brokers and the topics.
        folder: where the file goes; there has to be room for the records as well.
        until_ms: payments and labels of this time or later are left out.
        declared: fields of one's own that become columns.

    Raises:
        MissingExtraError: DuckDB is not installed.
        BackfillError: there is no payment, or an open transaction holds records back.
        aiokafka.errors.KafkaError: the broker does not respond, or a topic does not exist.
    """
    topics = {
        RecordKind.TRANSACTION: settings.topic(TRANSACTIONS.name),
        RecordKind.LABEL: settings.topic(LABELS.name),
    }
    replayed = await read_input_from_outside(settings)
    source = await read_topics(settings, topics, folder, until_ms, replayed=replayed)
    write_file(source, folder / "topics.parquet", declared)
    return TopicsFile(
        folder / "topics.parquet",
        source.count(RecordKind.TRANSACTION),
        source.count(RecordKind.LABEL),
        tuple(source.left_out),
    )


def write_file(source: BackfillSource, out: Path, declared: DeclaredFields = NO_FIELDS) -> None:
    """Write the records of a source as a transactions file, by time; `out` ends in .parquet."""
    parts = _Parts(out.with_suffix(""))
    number = 0
    records = source.records()
    while chunk := list(islice(records, PART_ROWS)):
        parts.add(RecordKind.TRANSACTION, _payments(_of(chunk, RecordKind.TRANSACTION, number), declared))
        parts.add(RecordKind.LABEL, _labels(_of(chunk, RecordKind.LABEL, number)))
        number += len(chunk)
    with connect_memory(out.parent, _MEMORY_MB) as connection:
        labelled = (
            f"SELECT card_id, transaction_id, arg_max(fraud, number) AS fraud, arg_max(labelled_at, number) AS "
            f"labelled_at FROM {read_parts(parts.of(RecordKind.LABEL))} GROUP BY card_id, transaction_id"
        )
        connection.execute(
            "COPY (SELECT payments.* EXCLUDE (number), fraud, "
            "CASE WHEN labelled_at < occurred_at THEN occurred_at ELSE labelled_at END AS labelled_at "
            f"FROM {read_parts(parts.of(RecordKind.TRANSACTION))} AS payments "
            f"LEFT JOIN ({labelled}) AS labels USING (card_id, transaction_id) ORDER BY number) "
            f"TO {quoted(out)} (FORMAT parquet, COMPRESSION zstd)"
        )


class _Parts:
    """The parts of both kinds that were written so far; there is one of each kind at least, so that columns exist."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._paths: dict[RecordKind, list[Path]] = {kind: [] for kind in RecordKind}

    def add(self, kind: RecordKind, columns: Columns) -> None:
        """Write columns as the next part of a kind."""
        if len(columns["number"]) or not self._paths[kind]:
            path = self._folder / f"{kind}-{len(self._paths[kind]):05}.parquet"
            write_part(columns, path, _MEMORY_MB)
            self._paths[kind].append(path)

    def of(self, kind: RecordKind) -> Sequence[Path]:
        """Return the parts of a kind."""
        return self._paths[kind]


def _of(chunk: Sequence[TimedRecord], kind: RecordKind, number: int) -> Iterator[tuple[int, TimedRecord]]:
    """Yield the records of a kind with their numbers, which give their order."""
    return ((number + at, one) for at, one in enumerate(chunk) if one.kind is kind)


def _payments(numbered: Iterable[tuple[int, TimedRecord]], declared: DeclaredFields) -> Columns:
    numbers, parsed = list[int](), list[ParsedTransaction]()
    for number, record in numbered:
        read = read_accepted_transaction(record.value)  # what today's rules refuse is not in the source
        if not isinstance(read, Rejection):
            numbers.append(number)
            parsed.append(read)
    columns: Columns = {
        "number": np.array(numbers, np.int64),
        "occurred_at": np.array([one.occurred_ms for one in parsed], np.int64),
        "utc_offset_minutes": np.array([one.utc_offset_minutes for one in parsed], np.int64),
        "amount_minor": np.array([one.transaction.amount_minor for one in parsed], np.int64),
    }
    for name in _TEXTS:
        columns[name] = _texts(getattr(one.transaction, name) for one in parsed)
    for name in _DEGREES:
        found = [getattr(one.transaction, name) for one in parsed]
        columns[name] = np.array([np.nan if value is None else value for value in found], np.float64)
    kept = [declared.kept(one.transaction.attributes or {}) for one in parsed]
    for field in declared.fields:
        shown = [None if (value := one.get(field.name)) is None else field.shown(value) for one in kept]
        if field.kind is FieldKind.NUMBER:
            columns[field.name] = np.array([np.nan if value is None else value for value in shown], np.float64)
        else:
            columns[field.name] = _texts(shown)
    return columns


def _labels(numbered: Iterable[tuple[int, TimedRecord]]) -> Columns:
    numbers, labels = list[int](), list[Any]()
    for number, record in numbered:
        read = read_label(record.value, record.key, (0, record.place), accepted=True)
        if not isinstance(read, Rejection):
            numbers.append(number)
            labels.append(read.label)
    return {
        "number": np.array(numbers, np.int64),
        "transaction_id": _texts(one.transaction_id for one in labels),
        "card_id": _texts(one.card_id for one in labels),
        "fraud": np.array([one.fraud for one in labels], np.bool_),
        "labelled_at": np.array([one.labelled_ms for one in labels], np.int64),
    }


def _texts(values: Iterable[object]) -> Any:  # noqa: ANN401 - an array of objects
    found = list(values)
    result = np.empty(len(found), object)
    result[:] = found
    return result
