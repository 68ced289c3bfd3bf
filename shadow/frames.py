"""Frames: a mark, a length and so many bytes, one behind the other on a pipe.

The mark is there to notice at once that something else was printed into the pipe. Nothing here knows what the bytes
mean.
"""

import struct
from collections.abc import Callable

from shadow.errors import FrameError

MARK = b"FSh1"
LARGEST_BYTES = 64 * 1024 * 1024
_HEAD = struct.Struct(">4sI")
HEAD_BYTES = _HEAD.size


def frame(payload: bytes) -> bytes:
    """Return the payload as it travels.

    Raises:
        FrameError: it is larger than a frame may be.
    """
    if len(payload) > LARGEST_BYTES:
        raise FrameError(f"a frame of {len(payload)} bytes is more than {LARGEST_BYTES}")
    return _HEAD.pack(MARK, len(payload)) + payload


def payload_bytes(head: bytes) -> int:
    """Read how many bytes follow a head of `HEAD_BYTES` bytes.

    Raises:
        FrameError: it is no head of ours.
    """
    if len(head) != HEAD_BYTES:
        raise FrameError(f"a frame's head was cut off after {len(head)} of {HEAD_BYTES} bytes")
    mark, length = _HEAD.unpack(head)
    if mark != MARK:
        raise FrameError(f"a frame begins with {MARK!r}, this with {mark!r}: something printed into the pipe")
    if length > LARGEST_BYTES:
        raise FrameError(f"a frame promises {length} bytes, at most {LARGEST_BYTES} are taken")
    return int(length)


def read_frame(read: Callable[[int], bytes]) -> bytes | None:
    """Read one payload; None where the pipe was closed between two frames.

    `read` returns as many bytes as asked for, fewer only at the end, as a buffered file's does.

    Raises:
        FrameError: the pipe holds something else, or was closed within a frame.
    """
    head = read(HEAD_BYTES)
    if not head:
        return None
    length = payload_bytes(head)
    payload = read(length)
    if len(payload) != length:
        raise FrameError(f"a frame was cut off after {len(payload)} of {length} bytes")
    return payload
