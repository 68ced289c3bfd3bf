"""Decompress record batches with each of Kafka's codecs, up to a limit that holds before the memory is taken."""

import zlib
from collections.abc import Callable

import cramjam

LARGEST_UNPACKED_BYTES = 64 * 1024 * 1024
"""A batch that unpacks to more is unreadable: 1 MiB of a repeated byte unpacks to 1 GiB with gzip."""

_FIRST_GUESS = 8
_BUFFER_FULL = "failed to write whole buffer"
"""What Rust says; after any other error a larger buffer, of which the last costs 0.1 s, would not help."""
_JAVA_SNAPPY = b"\x82SNAPPY\x00"
_JAVA_SNAPPY_HEADER = 16


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


DECOMPRESSORS: dict[int, Callable[[bytes], bytes]] = {
    1: _gunzip,
    2: _unsnap,
    3: _growing(cramjam.lz4.decompress_into),
    4: _growing(cramjam.zstd.decompress_into),
}
"""By the codec's number."""
