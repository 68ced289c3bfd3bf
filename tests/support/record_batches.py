"""Record batches as producers and brokers make them, byte by byte: for batches that no client library would send."""

import struct
from collections.abc import Sequence

from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
HEADER_BYTES, CRC_AT, ATTRIBUTES_AT, LAST_DELTA_AT = 61, 17, 21, 23
TRANSACTIONAL, CONTROL = 0x10, 0x20

Row = tuple[bytes | None, bytes | None, Sequence[tuple[str, bytes | None]]]


def packed(rows: Sequence[Row], codec: int = 0, base: int = 0, attributes: int = 0, producer: int = -1) -> bytes:
    """Pack rows as a producer does, at the offsets that a broker assigns."""
    builder = DefaultRecordBatchBuilder(2, codec, 0, producer, 0, 0, 1 << 26)
    for number, (key, value, headers) in enumerate(rows):
        builder.append(number, 1_000 + number, key, value, list(headers))
    batch = bytearray(builder.build())
    struct.pack_into(">q", batch, 0, base)
    struct.pack_into(">h", batch, ATTRIBUTES_AT, codec | attributes)
    return signed(batch)


def signed(batch: bytearray) -> bytes:
    """Correct the checksum of a batch that was changed."""
    struct.pack_into(">I", batch, CRC_AT, calc_crc32c(bytes(batch[ATTRIBUTES_AT:])))
    return bytes(batch)


def with_body(body: bytes, codec: int, count: int) -> bytes:
    """Return a batch of `count` records with these bytes in place of its records."""
    head = bytearray(packed([(None, b"x", ())] * count)[:HEADER_BYTES])
    struct.pack_into(">i", head, 8, HEADER_BYTES - 12 + len(body))
    struct.pack_into(">h", head, ATTRIBUTES_AT, codec)
    return signed(head + body)


def marker(base: int, producer: int, *, abort: bool) -> bytes:
    return packed([(struct.pack(">hh", 0, int(not abort)), b"", ())], 0, base, TRANSACTIONAL | CONTROL, producer)


def sent(base: int, producer: int = -1, *, transactional: bool = True) -> bytes:
    return packed([(None, b"x", ())], 0, base, TRANSACTIONAL if transactional else 0, producer)
