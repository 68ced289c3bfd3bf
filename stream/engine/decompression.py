"""Decompress record batches with each of Kafka's codecs, up to a limit that holds before the memory is taken.

Some frames state the size of what they hold. It may be wrong, but a frame that states more than the limit is refused
without being unpacked.
"""

import zlib
from collections.abc import Callable
from typing import NamedTuple

import cramjam

from stream.errors import UnpacksToMoreError

LARGEST_UNPACKED_BYTES = 16 * 1024 * 1024
"""A batch that unpacks to more is refused: 1 MiB of a repeated byte unpacks to 1 GiB with gzip.

Producers fill a batch to some MiB before compression; no record of more than half of this is decoded.
"""

_FIRST_GUESS = 8
_BUFFER_FULL = "failed to write whole buffer"
"""What Rust says; after any other error a larger buffer would not help."""
_JAVA_SNAPPY = b"\x82SNAPPY\x00"
_JAVA_SNAPPY_HEADER = 16
_LZ4_FRAME = b"\x04\x22\x4d\x18"
_LZ4_SIZED, _LZ4_SIZE = 0x08, slice(6, 14)
_ZSTD_FRAME = b"\x28\xb5\x2f\xfd"
_ZSTD_SINGLE_SEGMENT = 0x20
_ZSTD_ID_BYTES = (0, 1, 2, 4)


def _gunzip(packed: bytes, most: int) -> bytes:
    decompressor = zlib.decompressobj(wbits=31)
    plain = decompressor.decompress(packed, most + 1)
    if not decompressor.eof and len(plain) <= most:
        raise ValueError("the gzip data ends too early")
    return plain


def _growing(decompress_into: Callable[[bytes, bytearray], int]) -> Callable[[bytes, int], bytes]:
    """Return a decompressor that tries larger and larger buffers, up to the limit, while the one before was full."""

    def decompress(packed: bytes, most: int) -> bytes:
        size = max(1024, _FIRST_GUESS * len(packed))
        while True:
            plain = bytearray(min(size, most))
            try:
                return bytes(memoryview(plain)[: decompress_into(packed, plain)])
            except cramjam.DecompressionError as error:
                if str(error) != _BUFFER_FULL:
                    raise
                if size >= most:
                    raise UnpacksToMoreError(f"it unpacks to more than {most} bytes") from error
            size *= _FIRST_GUESS

    return decompress


def _unsnap(packed: bytes, _most: int) -> bytes:
    """Unpack snappy; each block states its size before its bytes."""
    return b"".join(bytes(cramjam.snappy.decompress_raw(block)) for block in _blocks(packed))


def _blocks(packed: bytes) -> list[bytes]:
    """Return the blocks of Java's client, or the one block of others."""
    if not packed.startswith(_JAVA_SNAPPY):
        return [packed]
    blocks, at = [], _JAVA_SNAPPY_HEADER
    while at < len(packed):
        size = int.from_bytes(packed[at : at + 4], "big")
        blocks.append(packed[at + 4 : at + 4 + size])
        at += 4 + size
    return blocks


def _snapped_size(block: bytes) -> int:
    """Return the unpacked size that a snappy block states, a little-endian number of 7 bits a byte."""
    size = 0
    for position, byte in enumerate(block[:5]):
        size |= (byte & 0x7F) << (7 * position)
        if byte < 0x80:  # noqa: PLR2004 - the last byte of the number
            return size
    raise ValueError("a snappy block states no size")


def _gzip_states(packed: bytes) -> int:
    return int.from_bytes(packed[-4:], "little")


def _snappy_states(packed: bytes) -> int:
    return sum(map(_snapped_size, _blocks(packed)))


def _lz4_states(packed: bytes) -> int:
    sized = packed.startswith(_LZ4_FRAME) and packed[4:5] and packed[4] & _LZ4_SIZED
    return int.from_bytes(packed[_LZ4_SIZE], "little") if sized else 0


def _zstd_states(packed: bytes) -> int:
    """Return the size of the first frame's content, if its header says it."""
    if not packed.startswith(_ZSTD_FRAME) or len(packed) <= len(_ZSTD_FRAME):
        return 0
    descriptor = packed[len(_ZSTD_FRAME)]
    is_single = bool(descriptor & _ZSTD_SINGLE_SEGMENT)
    size_bytes = (int(is_single), 2, 4, 8)[descriptor >> 6]
    at = len(_ZSTD_FRAME) + 1 + (not is_single) + _ZSTD_ID_BYTES[descriptor & 3]
    added = 256 if size_bytes == 2 else 0  # noqa: PLR2004 - two bytes state 256 and more
    return int.from_bytes(packed[at : at + size_bytes], "little") + added if size_bytes else 0


class _Codec(NamedTuple):
    """How to unpack at most so many bytes, and the size that a frame states, 0 if it states none."""

    unpack: Callable[[bytes, int], bytes]
    states: Callable[[bytes], int]


_CODECS = {
    1: _Codec(_gunzip, _gzip_states),
    2: _Codec(_unsnap, _snappy_states),
    3: _Codec(_growing(cramjam.lz4.decompress_into), _lz4_states),
    4: _Codec(_growing(cramjam.zstd.decompress_into), _zstd_states),
}
"""By the codec's number."""


def decompress(codec: int, packed: bytes, most: int = LARGEST_UNPACKED_BYTES) -> bytes:
    """Unpack at most so many bytes.

    Raises:
        UnpacksToMoreError: there are more.
        ValueError: the codec is unknown, or the bytes are not its own; decompressors raise other errors, too.
    """
    found = _CODECS.get(codec)
    if found is None:
        raise ValueError(f"codec {codec} is unknown")
    if found.states(packed) > most:
        raise UnpacksToMoreError(f"it unpacks to more than {most} bytes")
    plain = found.unpack(packed, most)
    if len(plain) > most:
        raise UnpacksToMoreError(f"it unpacks to more than {most} bytes")
    return plain
