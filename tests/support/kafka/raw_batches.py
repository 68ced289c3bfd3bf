"""Record batches made byte by byte and sent by a Produce request of our own: what no client library would send.

The layout is that of message format 2. The checksum of a batch is always right, so that the broker looks at what is
inside.
"""

import socket
import struct
from collections.abc import Sequence
from typing import NamedTuple

import cramjam
from aiokafka.codec import gzip_encode, lz4_encode, snappy_encode, zstd_encode
from aiokafka.record.util import calc_crc32c

PRODUCE, FETCH, VERSION, VERSION_OF_FETCH, CORRELATION = 0, 1, 7, 11, 11
ALL_REPLICAS, TIMEOUT_MS = -1, 10_000
MAGIC, ATTRIBUTES_AT, CODEC_BITS = 2, 21, 7
FETCHED_BYTES = 8 * 1024 * 1024
CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
ENCODE = {"none": bytes, "gzip": gzip_encode, "snappy": snappy_encode, "lz4": lz4_encode, "zstd": zstd_encode}
Headers = Sequence[tuple[bytes, bytes | None]]


class RawRecord(NamedTuple):
    """A record; the names of headers are bytes, since Kafka itself does not look at them."""

    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class ProduceRefused(Exception):  # noqa: N818 - an answer
    """The broker's error code."""


def varint(number: int) -> bytes:
    """Encode a number as Kafka does: zigzag, then seven bits a byte."""
    rest, out = (number << 1) ^ (number >> 63), bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([*out, rest])


def _nullable(content: bytes | None) -> bytes:
    return varint(-1) if content is None else varint(len(content)) + content


def records_section(records: Sequence[RawRecord], first: int = 0) -> bytes:
    """Encode the records of a batch, the part that is compressed; the first is at offset 0 of the batch, or claims so.

    Apache Kafka checks the offsets within compressed batches only.
    """
    section = b""
    for at, one in enumerate(records, first):
        headers = b"".join(_nullable(name) + _nullable(value) for name, value in one.headers)
        body = b"\0" + varint(0) + varint(at) + _nullable(one.key) + _nullable(one.value)
        body += varint(len(one.headers)) + headers
        section += varint(len(body)) + body
    return section


def record_batch(section: bytes, count: int, timestamp_ms: int, codec: str = "none") -> bytes:
    """Frame the (compressed) records of a batch; its checksum is right whatever they are."""
    no_producer = (-1, -1, -1)
    checked = struct.pack(">hiqqqhii", CODECS[codec], count - 1, timestamp_ms, timestamp_ms, *no_producer, count)
    checked += section
    framed = struct.pack(">ibI", -1, MAGIC, calc_crc32c(checked)) + checked
    return struct.pack(">qi", 0, len(framed)) + framed


def lz4_with_wrong_checksum(section: bytes) -> bytes:
    """Compress with a checksum of the content, and change it: brokers pass over it, clients do not."""
    compressor = cramjam.lz4.Compressor(content_checksum=True, block_linked=False)
    compressor.compress(section)
    frame = bytes(compressor.finish())
    return frame[:-1] + bytes([frame[-1] ^ 1])


def produce(port: int, topic: str, partition: int, batch: bytes) -> int:
    """Send one batch to a broker on loopback and return its first offset.

    Raises:
        OSError: the broker does not answer.
        ProduceRefused: with the error code.
    """
    name = topic.encode()
    data = struct.pack(">ii", partition, len(batch)) + batch
    request = struct.pack(">hhih", PRODUCE, VERSION, CORRELATION, -1)
    request += struct.pack(">hhii", -1, ALL_REPLICAS, TIMEOUT_MS, 1)
    request += struct.pack(">h", len(name)) + name + struct.pack(">i", 1) + data
    answer = _ask(port, request)
    code, offset = struct.unpack_from(">hq", answer, 4 + 4 + 2 + len(name) + 4 + 4)
    if code:
        raise ProduceRefused(code)
    return int(offset)


def fetch_codecs(port: int, topic: str, partition: int) -> list[str]:
    """Return the codec of each batch that a partition has, as a broker on loopback has stored it.

    Raises:
        OSError: the broker does not answer.
    """
    name, codecs, offset = topic.encode(), list[str](), 0
    while True:
        request = struct.pack(">hhih", FETCH, VERSION_OF_FETCH, CORRELATION, -1)
        request += struct.pack(">iiiibiii", -1, 100, 1, FETCHED_BYTES, 0, 0, -1, 1)
        request += struct.pack(">h", len(name)) + name
        request += struct.pack(">iiiqqi", 1, partition, -1, offset, -1, FETCHED_BYTES) + struct.pack(">ih", 0, 0)
        records = _records_of(_ask(port, request), len(name))
        if not records:
            return codecs
        while records:
            base, length = struct.unpack_from(">qi", records)
            attributes, last = struct.unpack_from(">hi", records, ATTRIBUTES_AT)
            codecs.append(next(codec for codec, number in CODECS.items() if number == attributes & CODEC_BITS))
            offset, records = base + last + 1, records[12 + length :]


def _records_of(answer: bytes, name_bytes: int) -> bytes:
    """Return the record batches of the one partition of a Fetch response, version 11."""
    at = 4 + 4 + 2 + 4 + 4 + 2 + name_bytes + 4 + 4
    code, _, _, _, aborted = struct.unpack_from(">hqqqi", answer, at)
    if code:
        raise ConnectionError(f"the broker refuses the fetch with {code}")
    at += struct.calcsize(">hqqqi") + max(0, aborted) * 16 + 4
    (size,) = struct.unpack_from(">i", answer, at)
    return answer[at + 4 : at + 4 + max(0, size)]


def _ask(port: int, request: bytes) -> bytes:
    """Send a request to a broker on loopback and return its answer, which begins with the correlation id."""
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_MS / 1000) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        stream = connection.makefile("rb")
        head = stream.read(4)
        if len(head) < 4:
            raise ConnectionResetError("the broker has closed the connection")
        return stream.read(struct.unpack(">i", head)[0])
