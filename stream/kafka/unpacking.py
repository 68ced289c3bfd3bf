"""Unpack fetched record batches, so that one damaged record or header costs only itself.

aiokafka's own unpacking raises in the middle of a batch. Here a whole batch takes the fast way through aiokafka's
compiled code; if that raises, the batch is read record by record: a header whose key is not UTF-8 is left out, a record
that is damaged but has a known length is returned as damaged, and only the rest of a batch in which records cannot be
told apart is unreadable. The format is that of KIP-98 (`RecordBatch`, magic 2).
"""

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, cast

import cramjam
import msgspec
from aiokafka import TopicPartition
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.legacy_records import LegacyRecordBatch
from aiokafka.record.util import decode_varint

LARGEST_UNPACKED_BYTES = 64 * 1024 * 1024
"""A batch that unpacks to more is unreadable: 1 MiB of a repeated byte unpacks to 1 GiB with gzip."""

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
_FIRST_GUESS = 8
_BUFFER_FULL = "failed to write whole buffer"
"""What Rust says; after any other error a larger buffer, of which the last costs 0.1 s, would not help."""
_LONGEST_NAME = 64
_JAVA_SNAPPY = b"\x82SNAPPY\x00"
_JAVA_SNAPPY_HEADER = 16

Headers = Sequence[tuple[str, bytes | None]]


class FetchedRecord(msgspec.Struct):
    """A record as the consumer returns it; `timestamp` is in epoch milliseconds.

    `left_out` names headers that were not read, and `left_out_more` counts those that it does not name. `damage` says
    why the record cannot be read; its value is then the record's bytes as they came, and it has neither key nor
    headers.
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


class RecordBatch:
    """One batch of a fetch response: its header, and its records once they are unpacked."""

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

    def unpack(self, tp: TopicPartition) -> list[FetchedRecord | Unreadable]:
        """Return all records in log order; damaged ones, and what is unreadable, in their places."""
        try:
            if not DefaultRecordBatch(self._buffer).validate_crc():
                return [self._unreadable(self.base_offset, "its checksum is wrong")]
            plain = self._plain()
        except Exception as error:  # noqa: BLE001 - every decompressor raises errors of its own
            return [self._unreadable(self.base_offset, f"it cannot be unpacked: {error!r}"[:300])]
        try:
            records = [_record(tp, one) for one in DefaultRecordBatch(plain)]
        except Exception:  # noqa: BLE001 - whatever is wrong is found again, record by record
            records = []
        if self._are_all(records):
            return cast("list[FetchedRecord | Unreadable]", records)
        return list(self._one_by_one(tp, plain[_HEADER.size :]))

    def _are_all(self, records: Sequence[FetchedRecord]) -> bool:
        """Tell whether each offset has its record; the header may claim two thousand million of them."""
        if len(records) != self.next_offset - self.base_offset:
            return False
        return all(one.offset == offset for offset, one in enumerate(records, self.base_offset))

    def _unreadable(self, first: int, why: str) -> Unreadable:
        return Unreadable(first, self.next_offset, why)

    def _plain(self) -> bytes:
        """Return the batch without compression."""
        codec = self._attributes & _CODEC_MASK
        if not codec:
            return self._buffer
        plain = _DECOMPRESSORS[codec](self._buffer[_HEADER.size :])
        if len(plain) > LARGEST_UNPACKED_BYTES:
            raise ValueError(f"it unpacks to more than {LARGEST_UNPACKED_BYTES} bytes")
        head = bytearray(self._buffer[: _HEADER.size])
        struct.pack_into(">h", head, _ATTRIBUTES_AT, self._attributes & ~_CODEC_MASK)
        return bytes(head) + plain

    def _one_by_one(self, tp: TopicPartition, body: bytes) -> Iterator[FetchedRecord | Unreadable]:
        at, next_offset = 0, self.base_offset
        for _ in range(self._count):
            if next_offset >= self.next_offset:
                return
            try:
                length, start = decode_varint(bytearray(body[at : at + 10]), 0)
            except (ValueError, IndexError):
                length, start = -1, 0
            start, end = at + start, at + start + length
            if length < 0 or end > len(body):
                yield self._unreadable(next_offset, "a record's length is invalid")
                return
            record = self._lenient(tp, body[start:end], next_offset)
            yield record
            at, next_offset = end, record.offset + 1

    def _lenient(self, tp: TopicPartition, body: bytes, expected_offset: int) -> FetchedRecord:
        """Read one record; leave out headers whose keys are not UTF-8, and say what else is wrong with it."""
        reader = _FieldReader(body)
        offset, timestamp = expected_offset, self._max_timestamp
        kind = int(bool(self._attributes & _APPEND_TIME))
        try:
            reader.number()  # attributes, unused
            delta = reader.number()
            timestamp = self._max_timestamp if kind else self._first_timestamp + delta
            offset = self._offset(reader.number(), expected_offset)
            key, value = reader.nullable(), reader.nullable()
            headers, left_out = reader.headers()
        except (ValueError, IndexError) as error:
            damage = f"the record's structure is invalid: {error}"
            return FetchedRecord(tp.topic, tp.partition, offset, timestamp, kind, None, body, (), damage=damage)
        return FetchedRecord(tp.topic, tp.partition, offset, timestamp, kind, key, value, headers, left_out)

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

    def __init__(self, buffer: bytes) -> None:
        self._buffer = buffer
        self.base_offset = _LENGTH_FIELD.unpack_from(buffer)[0]
        self.next_offset = self.base_offset + 1

    @property
    def size(self) -> int:
        """Its size in bytes, as it came."""
        return len(self._buffer)

    def unpack(self, tp: TopicPartition) -> list[FetchedRecord | Unreadable]:
        """Return all records in log order, or one unreadable range."""
        try:
            batch = LegacyRecordBatch(self._buffer, min(1, self._buffer[_MAGIC_AT]))
            if not batch.validate_crc():
                return [Unreadable(self.base_offset, self.next_offset, "its checksum is wrong")]
            self._check_unpacked()
            return [_record(tp, one) for one in batch]
        except Exception as error:  # noqa: BLE001 - every decompressor raises errors of its own
            return [Unreadable(self.base_offset, self.next_offset, f"it cannot be unpacked: {error!r}"[:300])]

    def _check_unpacked(self) -> None:
        """Check the size and the structure of what aiokafka unpacks: it has no limits of its own."""
        codec = self._buffer[_OLD_ATTRIBUTES_AT] & _CODEC_MASK
        if codec:
            key_at = _OLD_KEY_AT[min(1, self._buffer[_MAGIC_AT])]
            value_at = key_at + _INT.size + max(0, _INT.unpack_from(self._buffer, key_at)[0])
            plain = _DECOMPRESSORS[codec](self._buffer[value_at + _INT.size :])
            if len(plain) > LARGEST_UNPACKED_BYTES:
                raise ValueError(f"it unpacks to more than {LARGEST_UNPACKED_BYTES} bytes")
            at = 0
            while at < len(plain):
                length = _LENGTH_FIELD.unpack_from(plain, at)[1]
                if length < 0:
                    raise ValueError("a record's length is invalid")
                at += _LENGTH_FIELD.size + length


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
    """Reads a record's fields in order, each within the record's bounds."""

    def __init__(self, body: bytes) -> None:
        self._body = bytearray(body)
        self._at = 0

    def number(self) -> int:
        value, self._at = decode_varint(self._body, self._at)
        return int(value)

    def nullable(self) -> bytes | None:
        length = self.number()
        return None if length < 0 else self._bytes(length)

    def headers(self) -> tuple[Headers, Sequence[str]]:
        headers: list[tuple[str, bytes | None]] = []
        left_out: list[str] = []
        for _ in range(self._header_count()):
            name, value = self._bytes(self.number()), self.nullable()
            try:
                headers.append((name.decode(), value))
            except UnicodeDecodeError:
                left_out.append(name.decode("utf-8", "backslashreplace")[:_LONGEST_NAME])
        if self._at != len(self._body):
            raise ValueError(f"{len(self._body) - self._at} bytes follow its headers")
        return tuple(headers), tuple(left_out)

    def _header_count(self) -> int:
        count = self.number()
        if not 0 <= count <= len(self._body):
            raise ValueError(f"{count} headers")
        return count

    def _bytes(self, length: int) -> bytes:
        start, self._at = self._at, self._at + length
        if length < 0 or self._at > len(self._body):
            raise ValueError(f"a field of {length} bytes exceeds it")
        return bytes(self._body[start : self._at])


def _record(tp: TopicPartition, record: Any) -> FetchedRecord:  # noqa: ANN401 - one of aiokafka's compiled records
    return FetchedRecord(
        tp.topic,
        tp.partition,
        record.offset,
        -1 if record.timestamp is None else record.timestamp,
        record.timestamp_type or 0,
        record.key,
        record.value,
        tuple(record.headers),
    )


def _gunzip(packed: bytes) -> bytes:
    decompressor = zlib.decompressobj(wbits=31)
    plain = decompressor.decompress(packed, LARGEST_UNPACKED_BYTES + 1)
    if not decompressor.eof and len(plain) <= LARGEST_UNPACKED_BYTES:
        raise ValueError("the gzip data ends too early")
    return plain


def _growing(decompress_into: Callable[[bytes, bytearray], int]) -> Callable[[bytes], bytes]:
    """Return a decompressor that tries larger and larger buffers, up to the limit, while the one before was full."""

    def decompress(packed: bytes) -> bytes:
        size = max(1024, _FIRST_GUESS * len(packed))
        while True:
            plain = bytearray(min(size, LARGEST_UNPACKED_BYTES))
            try:
                return bytes(plain[: decompress_into(packed, plain)])
            except cramjam.DecompressionError as error:
                if str(error) != _BUFFER_FULL or size >= LARGEST_UNPACKED_BYTES:
                    raise
            size *= _FIRST_GUESS

    return decompress


def _unsnap(packed: bytes) -> bytes:
    """Unpack snappy, in the blocks of Java's client or as one block; each block states its size before its bytes."""
    blocks = [packed]
    if packed.startswith(_JAVA_SNAPPY):
        blocks, at = [], _JAVA_SNAPPY_HEADER
        while at < len(packed):
            size = int.from_bytes(packed[at : at + 4], "big")
            blocks.append(packed[at + 4 : at + 4 + size])
            at += 4 + size
    if sum(map(_snapped_size, blocks)) > LARGEST_UNPACKED_BYTES:
        raise ValueError(f"it unpacks to more than {LARGEST_UNPACKED_BYTES} bytes")
    return b"".join(bytes(cramjam.snappy.decompress_raw(block)) for block in blocks)


def _snapped_size(block: bytes) -> int:
    """Return the unpacked size that a snappy block states, a little-endian number of 7 bits a byte."""
    size = 0
    for position, byte in enumerate(block[:5]):
        size |= (byte & 0x7F) << (7 * position)
        if byte < 0x80:  # noqa: PLR2004 - the last byte of the number
            return size
    raise ValueError("a snappy block states no size")


_DECOMPRESSORS: dict[int, Callable[[bytes], bytes]] = {
    1: _gunzip,
    2: _unsnap,
    3: _growing(cramjam.lz4.decompress_into),
    4: _growing(cramjam.zstd.decompress_into),
}
"""By the codec's number."""
