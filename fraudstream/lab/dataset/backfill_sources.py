"""Where a backfill's payments and labels come from: transactions files, or topics of your own.

A source yields them in the order of their times, the same ones in the same order each time: a backfill that was cut off
is recognised by its source's identity, and goes on by the numbers of its records.
"""

import hashlib
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec
import numpy as np
from aiokafka import TopicPartition

from features.own_fields import NO_FIELDS, DeclaredFields
from fraudstream.lab.dataset.database import connect
from fraudstream.lab.dataset.errors import BackfillError
from fraudstream.lab.dataset.records import CHUNK, LAST_TIME_MS, RecordKind, RecordsDatabase, TimedRecord
from models.times import format_time
from stream.contract.codes import DeadLetterCode, Rejection
from stream.contract.label import read_label
from stream.contract.transaction import read_accepted_transaction, read_transaction
from stream.id_rules import NO_SHAPES, IdRules, declared_ids
from stream.readers import UNREADABLE
from stream.recovery.replayed_input import ReplayedInput
from stream.scan import Record, TopicScan, Unreadable, scan_topic
from stream.settings import Settings

_IDENTITY_BYTES = 8
_RULE = b"1"
"""Rises when the same source would yield its records in another order: a backfill begins anew then."""
_KINDS = (RecordKind.TRANSACTION, RecordKind.LABEL)


class BackfillSource(Protocol):
    """Payments and labels to fill histories with."""

    @property
    def name(self) -> str:
        """Return what messages call it."""
        ...

    @property
    def identity(self) -> str:
        """Return 16 hexadecimal digits that are another backfill's if one record is another one."""
        ...

    @property
    def first_ms(self) -> int:
        """Return when the first payment occurred, in epoch milliseconds."""
        ...

    @property
    def last_ms(self) -> int:
        """Return when the last payment occurred, in epoch milliseconds."""
        ...

    def count(self, kind: RecordKind) -> int:
        """Return how many records of a kind there are."""
        ...

    def records(self) -> Iterator[TimedRecord]:
        """Yield all records in the order of their times, payments before labels of the same time."""
        ...


def identity_of(parts: Iterable[str]) -> str:
    """Return 16 hexadecimal digits that are others if one of these parts is another."""
    text = _RULE + b"\0" + "\0".join(parts).encode()
    return hashlib.blake2b(text, digest_size=_IDENTITY_BYTES).hexdigest()


class FilesSource:
    """Transactions files; a file without the column `fraud` has no labels.

    Args:
        paths: parquet or CSV files, in any order.
        folder: where the database goes, which may become as large as the files.
        until_ms: payments and labels of this time or later are left out.
        declared: fields of one's own, which go into `attributes`.

    Raises:
        MissingExtraError: DuckDB is not installed.
        TransactionsFileError: a file cannot be used, for all the reasons given.
        BackfillError: no payment is left.
    """

    def __init__(
        self, paths: Sequence[Path], folder: Path, until_ms: int | None = None, declared: DeclaredFields = NO_FIELDS
    ) -> None:
        end_ms = LAST_TIME_MS if until_ms is None else until_ms
        by_digest = {_digest(path): path for path in paths}
        self.identity = identity_of([*sorted(by_digest), str(end_ms)])
        self.name = ", ".join(str(path) for path in paths)
        self._database = RecordsDatabase(folder, declared)
        for digest in sorted(by_digest):
            self._database.add(by_digest[digest], until_ms=end_ms)
        self.first_ms, self.last_ms = self._database.first_ms, self._database.last_ms
        _require_payments(self, until_ms)

    def count(self, kind: RecordKind) -> int:
        """Return how many records of a kind there are in all files."""
        return self._database.count(kind)

    def records(self) -> Iterator[TimedRecord]:
        """Yield the records of all files in the order of their times."""
        return self._database.records()


class LeftOut(NamedTuple):
    """Records of a topic that a backfill leaves out: a code, how many, and where the first one is."""

    code: str
    records: int
    first: str


ERASED = "erased"
"""What is left out since its card was erased, with the labels about it."""
_ERASED_PAYMENTS = """
CREATE TABLE erased_payments AS SELECT records.key, transaction_id FROM records
JOIN (SELECT key, max(erased_ms) AS erased_ms FROM erasures GROUP BY key) AS erased
    ON records.key = erased.key AND records.at_ms <= erased.erased_ms
WHERE NOT is_label
"""
_LEAVE_ERASED = """
DELETE FROM records USING erased_payments AS erased
WHERE records.key = erased.key AND records.transaction_id = erased.transaction_id
RETURNING is_label, partition, place
"""
REFUSED = "refused"
"""What is left out since workers refused it, as its dead letter says, or since it was accepted as lost."""


class _Card(msgspec.Struct):
    card_id: str


_read_card = msgspec.json.Decoder(_Card).decode


class TopicsSource:
    """A topic with `transaction/1` and, maybe, one with `label/1`, from their beginnings to their ends.

    Make one with `read_topics`. Keys are those of the contract, whatever they are in the topics.

    Attributes:
        left_out: what cannot be read as a payment or a label.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        until_ms: int | None,
        replayed: ReplayedInput | None = None,
        ids: IdRules = NO_SHAPES,
    ) -> None:
        self.name = name
        self._ids = ids
        self._replayed = replayed
        self._until_ms = LAST_TIME_MS if until_ms is None else until_ms
        self._connection = connect(folder / "topics.duckdb", threads=2)
        self._connection.execute(
            "CREATE TABLE records (at_ms BIGINT, is_label BOOLEAN, partition BIGINT, place BIGINT, "
            "transaction_id VARCHAR, key BLOB, value BLOB)"
        )
        self._connection.execute("CREATE TABLE erasures (key BLOB, erased_ms BIGINT)")
        self._topics: dict[RecordKind, str] = {}
        self._sum = 0
        self._counts: Counter[RecordKind] = Counter()
        self._left_out: Counter[str] = Counter()
        self._first_left_out: dict[str, str] = {}
        self.first_ms, self.last_ms = LAST_TIME_MS, 0

    @property
    def identity(self) -> str:
        """Return the identity of all that was added."""
        return identity_of([self._sum.to_bytes(_IDENTITY_BYTES, "big").hex(), str(self._counts.total())])

    @property
    def left_out(self) -> Sequence[LeftOut]:
        """Return what was left out, by code."""
        return [LeftOut(code, count, self._first_left_out[code]) for code, count in self._left_out.most_common()]

    def count(self, kind: RecordKind) -> int:
        """Return how many records of a kind there are."""
        return self._counts[kind]

    def add(self, kind: RecordKind, records: Iterable[Record]) -> None:
        """Add the records of a topic that can be read and come before the end."""
        kept = list[_SourceRecord]()
        for record in records:
            self._topics[kind] = record.topic
            if self._replayed is not None and self._replayed.is_left_out(record):
                self._leave_out(REFUSED, TopicPartition(record.topic, record.partition), record.offset, 1)
                continue
            accepted = self._replayed is not None and self._replayed.is_accepted(record)
            read = _read(kind, record, self._ids, accepted=accepted)
            if isinstance(read, Rejection):
                self._leave_out(read.code, TopicPartition(record.topic, record.partition), record.offset, 1)
            elif read.erases:
                self._connection.execute("INSERT INTO erasures VALUES (?, ?)", [read.timed.key, read.timed.at_ms])
            elif read.timed.at_ms < self._until_ms:
                kept.append(read)
        self._keep(kind, kept)

    def leave_out_erased(self) -> None:
        """Leave out the payments that an erasure among the records erases, and the labels about them."""
        self._connection.execute(_ERASED_PAYMENTS)
        for is_label, partition, place in self._connection.execute(_LEAVE_ERASED).fetchall():
            kind = _KINDS[is_label]
            self._counts[kind] -= 1
            self._leave_out(ERASED, TopicPartition(self._topics[kind], partition), place, 1)

    def leave_out(self, unreadable: Iterable[tuple[TopicPartition, Unreadable]]) -> None:
        """Count ranges of a topic that cannot be unpacked: each may hold as many records as it has offsets."""
        for tp, found in unreadable:
            self._leave_out(DeadLetterCode.UNREADABLE_RECORD, tp, found.first, found.end - found.first)

    def _leave_out(self, code: str, tp: TopicPartition, offset: int, records: int) -> None:
        self._left_out[code] += records
        self._first_left_out.setdefault(code, f"{tp.topic} partition {tp.partition} offset {offset}")

    def _keep(self, kind: RecordKind, kept: Sequence["_SourceRecord"]) -> None:
        if not kept:
            return
        for _, one, _, _ in kept:
            text = one.kind.encode() + b"\0" + one.key + b"\0" + one.value
            self._sum += int.from_bytes(hashlib.blake2b(text, digest_size=_IDENTITY_BYTES).digest(), "big")
        self._sum %= 1 << (8 * _IDENTITY_BYTES)
        self._counts[kind] += len(kept)
        if kind is RecordKind.TRANSACTION:
            times = [one.timed.at_ms for one in kept]
            self.first_ms, self.last_ms = min(self.first_ms, *times), max(self.last_ms, *times)
        columns: Mapping[str, Any] = {
            "at_ms": np.array([one.timed.at_ms for one in kept], np.int64),
            "is_label": np.full(len(kept), kind is RecordKind.LABEL),
            "partition": np.array([one.record.partition for one in kept], np.int64),
            "place": np.array([one.record.offset for one in kept], np.int64),
            "transaction_id": np.array([one.transaction_id for one in kept], object),
            "key": np.array([one.timed.key for one in kept], object),
            "value": np.array([one.timed.value for one in kept], object),
        }
        self._connection.register("batch", columns)
        self._connection.execute("INSERT INTO records BY NAME SELECT * FROM batch")
        self._connection.unregister("batch")

    def records(self) -> Iterator[TimedRecord]:
        """Yield all records in the order of their times."""
        found = self._connection.cursor().execute(
            "SELECT at_ms, is_label, partition, place, key, value FROM records ORDER BY 1, 2, 3, 4"
        )
        while rows := found.fetchmany(CHUNK):
            for at_ms, is_label, partition, place, key, value in rows:
                kind = _KINDS[is_label]
                source = f"{self._topics[kind]} partition {partition} offset"
                yield TimedRecord(at_ms, kind, bytes(key), bytes(value), source, place)


async def read_topics(
    settings: Settings,
    topics: Mapping[RecordKind, str],
    folder: Path,
    until_ms: int | None,
    *,
    replayed: ReplayedInput | None = None,
) -> TopicsSource:
    """Read topics, by the kind of their records, from their beginnings to their ends.

    `replayed` says what workers have accepted and refused, where these are the topics that they read.

    Raises:
        MissingExtraError: DuckDB is not installed.
        BackfillError: no payment is left, or an open transaction holds records back.
        aiokafka.errors.KafkaError: the broker does not respond, or a topic does not exist.
    """
    ids = declared_ids(settings.id_shapes)
    source = TopicsSource(", ".join(topics.values()), folder, until_ms, replayed, ids)
    for kind, topic in topics.items():
        async with scan_topic(settings, topic, 0) as scan:
            async for records, _ in scan.read_all():
                source.add(kind, records)
            require_all_read(scan)
            source.leave_out(scan.unreadable)
    source.leave_out_erased()
    _require_payments(source, until_ms)
    return source


def require_all_read(scan: TopicScan) -> None:
    """Refuse to go on without records that lie behind an open transaction.

    Raises:
        BackfillError: there are such records.
    """
    now = time.monotonic()
    found = [(tp, one.reason(now - one.since)) for tp, one in sorted(scan.held_back.items())]
    if found:
        where = "; ".join(f"{tp.topic} partition {tp.partition}: {why}" for tp, why in found)
        raise BackfillError(f"{where}. Run the same command again after that: these records cannot be read before")


class _SourceRecord(NamedTuple):
    """A record that can be read, the transaction that it is or is about, and whether it erases its card instead."""

    record: Record
    timed: TimedRecord
    transaction_id: str
    erases: bool = False


def _read(kind: RecordKind, record: Record, ids: IdRules, *, accepted: bool = False) -> _SourceRecord | Rejection:
    """Return a record with its card as key, or why it is no payment or label; no rule refuses one that was accepted."""
    if record.damage:
        return Rejection(DeadLetterCode.UNREADABLE_RECORD, record.damage)
    try:
        key = _read_card(record.value or b"").card_id.encode()
    except UNREADABLE:
        key = b""  # the contract's reader says what is wrong
    value = record.value or b""
    if kind is RecordKind.TRANSACTION:
        payment = read_accepted_transaction(value) if accepted else read_transaction(value, key, LAST_TIME_MS, ids)
        if isinstance(payment, Rejection):
            return payment
        timed = TimedRecord(payment.occurred_ms, kind, key, value)
        return _SourceRecord(record, timed, payment.transaction.transaction_id, payment.erases)
    label = read_label(value, key, (record.partition, record.offset), ids, accepted=accepted)
    if isinstance(label, Rejection):
        return label
    return _SourceRecord(record, TimedRecord(label.label.labelled_ms, kind, key, value), label.label.transaction_id)


def _require_payments(source: BackfillSource, until_ms: int | None) -> None:
    """Refuse a source without payments.

    Raises:
        BackfillError: it has none.
    """
    if not source.count(RecordKind.TRANSACTION):
        end = "" if until_ms is None else f" before {format_time(until_ms)}: give a later --until"
        raise BackfillError(f"{source.name}: there is no payment{end}")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
