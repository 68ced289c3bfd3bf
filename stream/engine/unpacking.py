"""Unpack fetched record batches, so that one damaged record or header costs only itself.

aiokafka's own unpacking raises in the middle of a batch. Here a batch takes the fast way through aiokafka's compiled
code, piece by piece; from where that raises, it is read record by record: a header whose key is not UTF-8 is left out,
and a record that is damaged but has a known length is returned as damaged. Where records cannot be told apart, each
offset that the batch's header counts is returned as a damaged record without its bytes; only what has a wrong checksum,
or a header that contradicts itself, is unreadable. The format is that of KIP-98 (`RecordBatch`, magic 2).
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, repeat
from typing import Any, NamedTuple

import msgspec
from aiokafka import TopicPartition
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.legacy_records import LegacyRecordBatch
from aiokafka.record.util import decode_varint

from stream.engine.decompression import LARGEST_UNPACKED_BYTES, decompress
from stream.errors import UnpacksToMoreError

LARGEST_HEADER_COUNT = 1_000
"""So many headers of a record are read, the first ones; the others are counted."""
LARGEST_NAMED = 20
"""So many of the headers that are left out are named."""
OBJECT_BYTES = 64
"""About what a header or a record takes besides its bytes; an empty header has two bytes in a batch."""

_HEADER = struct.Struct(">qiibIhiqqqhii")
_LENGTH_FIELD = struct.Struct(">qi")
_INT = struct.Struct(">i")
_MAGIC_AT = 16
_OLD_ATTRIBUTES_AT = 17
_OLD_KEY_AT = (18, 26)
"""Of the formats 0 and 1."""
_ATTRIBUTES_AT = 21
_CODEC_MASK, _APPEND_TIME, _TRANSACTIONAL, _CONTROL = 0x07, 0x08, 0x10, 0x20
_NEWEST_MAGIC = 2
_LONGEST_NAME = 1024
"""So much is kept of the name of a header that is left out; what is shown of it is redacted first."""
_PIECE = 128
"""So many records are unpacked at once."""
_LONG_BYTES = 256 * 1024
"""aiokafka builds all headers of a record before any can be left out, up to 10 MiB of objects for one of this size."""
_MOST_TOLD = 10_000
"""So many records that cannot be told apart are returned one by one; a header may claim two thousand million."""
_MOST_OLD_RECORDS = 100_000
"""A batch of the old formats is unpacked as a whole."""
Headers = Sequence[tuple[str, bytes | None]]


class FetchedRecord(msgspec.Struct):
    """A record as the consumer returns it; `timestamp` is in epoch milliseconds.

    `left_out` names headers that were not read, and `left_out_more` counts those that it does not name. `damage` says
    why the record cannot be read; its value is then the record's bytes as they came, where it is known which these are,
    and it has neither key nor headers.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    left_out: Sequence[str] = ()
    left_out_more: int = 0
    damage: str = ""


class Unreadable(NamedTuple):
    """The offsets from `first` up to (not including) `end`, in which records cannot be told apart."""

    first: int
    end: int
    reason: str


Piece = Sequence[FetchedRecord | Unreadable]
"""Some of what a batch holds, in log order; each is unpacked when it is asked for."""


class RecordBatch:
    """One batch of a fetch response: its header, and its records once they are unpacked."""

    unpacked_size = 0
    """Its size in bytes without compression, once it is being unpacked."""

    def __init__(self, buffer: bytes) -> None:
        header = _HEADER.unpack_from(buffer)
        self._buffer = buffer
        self._attributes, last_delta = header[5:7]
        self._first_timestamp, self._max_timestamp = header[7:9]
        self._count: int = header[12]
        self.producer_id: int = header[9]
        self.base_offset: int = header[0]
        self.next_offset: int = self.base_offset + max(0, last_delta) + 1

    @property
    def size(self) -> int:
        """Its size in bytes, as it came."""
        return len(self._buffer)

    @property
    def is_transactional(self) -> bool:
        """Whether a transactional producer wrote it."""
        return bool(self._attributes & _TRANSACTIONAL)

    @property
    def is_control(self) -> bool:
        """Whether it holds a transaction's marker and no records."""
        return bool(self._attributes & _CONTROL)

    def unpack(self, tp: TopicPartition, most: int = LARGEST_UNPACKED_BYTES) -> Iterable[Piece]:
        """Return all records in log order; damaged ones, and what is unreadable, in their places.

        Raises:
            UnpacksToMoreError: it is larger without compression than `most`, which is below the largest that is read.
        """
        try:
            if not DefaultRecordBatch(self._buffer).validate_crc():
                return [[Unreadable(self.base_offset, self.next_offset, "its checksum is wrong")]]
            plain = self._plain(most)
        except Exception as error:  # every decompressor raises errors of its own
            if isinstance(error, UnpacksToMoreError) and most < LARGEST_UNPACKED_BYTES:
                raise
            return [list(self._rest(tp, 0, self.base_offset, f"its batch cannot be unpacked: {error}"[:300]))]
        self.unpacked_size = len(plain)
        if len(plain) <= _LONG_BYTES:
            try:
                records = [_record(tp, one) for one in DefaultRecordBatch(plain)]
            except Exception:  # noqa: BLE001 - whatever is wrong is found again, record by record
                records = []
            offsets = range(self.base_offset, self.next_offset)
            if len(records) == len(offsets) and [one.offset for one in records] == list(offsets):
                return [records]
        return self._pieces(tp, plain)

    def _pieces(self, tp: TopicPartition, plain: bytes) -> Iterator[Piece]:
        """Yield pieces while aiokafka can read them and each offset has its record, then what is read one by one."""
        records = map(_record, repeat(tp), DefaultRecordBatch(plain))
        done, at = 0, _HEADER.size
        while (behind := _behind(plain, at, _PIECE)) is not None:
            try:
                piece = list(islice(records, _PIECE))
            except Exception:  # noqa: BLE001 - whatever is wrong is found again, record by record
                break
            if not piece or not self._are_next(piece, self.base_offset + done):
                break
            yield piece
            done, at = done + len(piece), behind
        rest = self._one_by_one(tp, plain, done, at)
        while some := list(islice(rest, _PIECE)):
            yield some

    def _are_next(self, records: Sequence[FetchedRecord], first: int) -> bool:
        """Tell whether each offset has its record; the header may claim two thousand million of them."""
        end = first + len(records)
        return end <= self.next_offset and [one.offset for one in records] == list(range(first, end))

    def _rest(self, tp: TopicPartition, done: int, first: int, why: str) -> Iterator[FetchedRecord | Unreadable]:
        """Yield what is left behind `done` records, from an offset on: records cannot be told apart there."""
        offsets = range(first, self.next_offset)
        if len(offsets) != self._count - done or len(offsets) > _MOST_TOLD:
            yield Unreadable(first, self.next_offset, why)
            return
        kind = int(bool(self._attributes & _APPEND_TIME))
        for offset in offsets:
            yield FetchedRecord(tp.topic, tp.partition, offset, self._max_timestamp, kind, None, None, (), damage=why)

    def _plain(self, most: int) -> bytes:
        """Return the batch without compression."""
        codec = self._attributes & _CODEC_MASK
        if not codec:
            if len(self._buffer) > most:
                raise UnpacksToMoreError(f"it unpacks to more than {most} bytes")
            return self._buffer
        plain = decompress(codec, self._buffer[_HEADER.size :], most)
        head = bytearray(self._buffer[: _HEADER.size])
        struct.pack_into(">h", head, _ATTRIBUTES_AT, self._attributes & ~_CODEC_MASK)
        return bytes(head) + plain

    def _one_by_one(self, tp: TopicPartition, plain: bytes, done: int, at: int) -> Iterator[FetchedRecord | Unreadable]:
        """Yield what is left after `done` records, the next of which begins at `at`."""
        next_offset = self.base_offset + done
        for number in range(done, self._count):
            if next_offset >= self.next_offset:
                return
            try:
                length, start = decode_varint(plain[at : at + 10], 0)
            except (ValueError, IndexError):
                length, start = -1, 0
            start, end = at + start, at + start + length
            if length < 0 or end > len(plain):
                yield from self._rest(tp, number, next_offset, "a record's length is invalid")
                return
            record = self._lenient(tp, _FieldReader(plain, start, end), next_offset)
            yield record
            at, next_offset = end, record.offset + 1

    def _lenient(self, tp: TopicPartition, reader: "_FieldReader", expected_offset: int) -> FetchedRecord:
        """Read one record; leave out headers whose keys are not UTF-8, and say what else is wrong with it."""
        offset, timestamp = expected_offset, self._max_timestamp
        kind = int(bool(self._attributes & _APPEND_TIME))
        try:
            reader.number()  # attributes, unused
            delta = reader.number()
            timestamp = self._max_timestamp if kind else self._first_timestamp + delta
            offset = self._offset(reader.number(), expected_offset)
            key, value = reader.nullable(), reader.nullable()
            headers, left_out, more = reader.headers()
        except (ValueError, IndexError) as error:
            damage = f"the record's structure is invalid: {error}"
            return FetchedRecord(tp.topic, tp.partition, offset, timestamp, kind, None, reader.whole, (), damage=damage)
        return FetchedRecord(tp.topic, tp.partition, offset, timestamp, kind, key, value, headers, left_out, more)

    def _offset(self, delta: int, expected: int) -> int:
        """Return the offset at `delta`; it must lie in this batch and not before the expected one."""
        offset = self.base_offset + delta
        if not expected <= offset < self.next_offset:
            raise ValueError(f"offset {offset} is out of its batch's order")
        return offset


class OldRecordBatch:
    """A batch of the formats before KIP-98, which old logs may still hold."""

    is_transactional = is_control = False
    producer_id = -1
    unpacked_size = 0

    def __init__(self, buffer: bytes) -> None:
        self._buffer = buffer
        self.base_offset = _LENGTH_FIELD.unpack_from(buffer)[0]
        self.next_offset = self.base_offset + 1

    @property
    def size(self) -> int:
        """Its size in bytes, as it came."""
        return len(self._buffer)

    def unpack(self, tp: TopicPartition, most: int = LARGEST_UNPACKED_BYTES) -> Iterable[Piece]:
        """Return all records in log order, or one unreadable range.

        Raises:
            UnpacksToMoreError: as of a batch of today.
        """
        return [self._whole(tp, most)]

    def _whole(self, tp: TopicPartition, most: int) -> Piece:
        try:
            batch = LegacyRecordBatch(self._buffer, min(1, self._buffer[_MAGIC_AT]))
            if not batch.validate_crc():
                return [Unreadable(self.base_offset, self.next_offset, "its checksum is wrong")]
            self._check_unpacked(most)
            return [_record(tp, one) for one in batch]
        except Exception as error:  # every decompressor raises errors of its own
            if isinstance(error, UnpacksToMoreError) and most < LARGEST_UNPACKED_BYTES:
                raise
            return [Unreadable(self.base_offset, self.next_offset, f"it cannot be unpacked: {error!r}"[:300])]

    def _check_unpacked(self, most: int) -> None:
        """Check the size and the structure of what aiokafka unpacks: it has no limits of its own."""
        codec = self._buffer[_OLD_ATTRIBUTES_AT] & _CODEC_MASK
        if codec:
            key_at = _OLD_KEY_AT[min(1, self._buffer[_MAGIC_AT])]
            value_at = key_at + _INT.size + max(0, _INT.unpack_from(self._buffer, key_at)[0])
            plain = decompress(codec, self._buffer[value_at + _INT.size :], most)
            self.unpacked_size = len(plain)
            at = count = 0
            while at < len(plain):
                length = _LENGTH_FIELD.unpack_from(plain, at)[1]
                if length < 0:
                    raise ValueError("a record's length is invalid")
                at, count = at + _LENGTH_FIELD.size + length, count + 1
            if count > _MOST_OLD_RECORDS:
                raise ValueError(f"it holds {count} records")


AnyBatch = RecordBatch | OldRecordBatch


def split_batches(message_set: bytes) -> list[AnyBatch]:
    """Return the complete batches of a fetch response's partition; the last may be cut off and is then left out."""
    batches: list[AnyBatch] = []
    at, size = 0, len(message_set)
    while at + _MAGIC_AT < size:
        end = at + _LENGTH_FIELD.size + _LENGTH_FIELD.unpack_from(message_set, at)[1]
        if end > size or end <= at + _MAGIC_AT:
            break
        piece = bytes(message_set[at:end])
        new = len(piece) >= _HEADER.size and piece[_MAGIC_AT] >= _NEWEST_MAGIC
        batches.append(RecordBatch(piece) if new else OldRecordBatch(piece))
        at = end
    return batches


def committed(batches: Iterable[AnyBatch], aborted: Iterable[tuple[int, int]] | None) -> Iterator[AnyBatch]:
    """Leave out control batches, and the batches of aborted transactions.

    `aborted` are the (producer id, first offset) of the aborted transactions, as the broker lists them with the
    response; each ends at its producer's next marker, which is not read: it may be damaged.
    """
    pending, open_aborted = sorted(aborted or (), key=lambda one: one[1]), set[int]()
    for batch in batches:
        while pending and pending[0][1] <= batch.base_offset:
            open_aborted.add(pending.pop(0)[0])
        if batch.is_control:
            open_aborted.discard(batch.producer_id)
        elif not (batch.is_transactional and batch.producer_id in open_aborted):
            yield batch


class _FieldReader:
    """Reads the fields of the record between two places of a batch in order, each within the record's bounds."""

    def __init__(self, plain: bytes, start: int, end: int) -> None:
        self._plain, self._start, self._at, self._end = plain, start, start, end

    @property
    def whole(self) -> bytes:
        """The bytes of the record."""
        return self._plain[self._start : self._end]

    def number(self) -> int:
        value, self._at = decode_varint(self._plain, self._at)
        if self._at > self._end:
            raise ValueError("a number exceeds it")
        return int(value)

    def nullable(self) -> bytes | None:
        length = self.number()
        return None if length < 0 else self._bytes(length)

    def headers(self) -> tuple[Headers, Sequence[str], int]:
        """Return the headers, the names of some that are left out, and how many more are."""
        headers: list[tuple[str, bytes | None]] = []
        left_out: list[str] = []
        count = self._header_count()
        looked_at = min(count, LARGEST_HEADER_COUNT + LARGEST_NAMED)
        for at in range(looked_at):
            name, value = self._bytes(self.number()), self.nullable()
            try:
                headers.append((name.decode(), value))
            except UnicodeDecodeError:
                left_out.append(name.decode("utf-8", "backslashreplace")[:_LONGEST_NAME])
            else:
                if at >= LARGEST_HEADER_COUNT:
                    left_out.append(headers.pop()[0][:_LONGEST_NAME])
        if looked_at == count and self._at != self._end:
            raise ValueError(f"{self._end - self._at} bytes follow its headers")
        named = tuple(left_out[:LARGEST_NAMED])
        return tuple(headers), named, count - len(headers) - len(named)

    def _header_count(self) -> int:
        count = self.number()
        if not 0 <= count <= (self._end - self._at) // 2:
            raise ValueError(f"{count} headers")
        return count

    def _bytes(self, length: int) -> bytes:
        start, self._at = self._at, self._at + length
        if length < 0 or self._at > self._end:
            raise ValueError(f"a field of {length} bytes exceeds it")
        return self._plain[start : self._at]


def _behind(plain: bytes, at: int, count: int) -> int | None:
    """Return where `count` records that begin at `at` end, or all; None if one is very long or has no length."""
    try:
        for _ in range(count):
            if at >= len(plain):
                break
            length, start = decode_varint(plain, at)
            if not 0 <= length <= _LONG_BYTES:
                return None
            at = start + length
    except (ValueError, IndexError):
        return None
    return at


def _record(tp: TopicPartition, record: Any) -> FetchedRecord:  # noqa: ANN401 - one of aiokafka's compiled records
    headers = tuple(record.headers)
    fetched = FetchedRecord(
        tp.topic,
        tp.partition,
        record.offset,
        -1 if record.timestamp is None else record.timestamp,
        record.timestamp_type or 0,
        record.key,
        record.value,
        headers,
    )
    if len(headers) <= LARGEST_HEADER_COUNT:
        return fetched
    unread = headers[LARGEST_HEADER_COUNT:]
    names = tuple(name[:_LONGEST_NAME] for name, _ in unread[:LARGEST_NAMED])
    first, more = headers[:LARGEST_HEADER_COUNT], len(unread) - len(names)
    return msgspec.structs.replace(fetched, headers=first, left_out=names, left_out_more=more)
