"""Frames: a mark, a length and so many bytes, one behind the other on a pipe.

The mark is there to notice at once that something else was printed into the pipe. Nothing here knows what the bytes
mean.

What a worker and its challenger's process say to each other, as MessagePack in frames.

The worker asks one thing at a time. `Setup` comes first; it and `KeepOnly` get no answer. Nothing here does anything.
"""

import struct
from collections.abc import Callable

import msgspec

from models.policy import Decision
from models.problems import Problem
from shadow.errors import FrameError

MAGIC = b"FSh1"
LARGEST_BYTES = 64 * 1024 * 1024
_HEAD = struct.Struct(">4sI")
HEADER_BYTES = _HEAD.size


class Setup(msgspec.Struct, frozen=True, tag=True):
    """Where models are, which table of features counts, and how much memory may be taken; no password is in it."""

    models: str
    features: str
    memory_mb: int


class Load(msgspec.Struct, frozen=True, tag=True):
    """Load and probe a model."""

    digest: str


class KeepOnly(msgspec.Struct, frozen=True, tag=True):
    """Let go of all models but these."""

    digests: tuple[str, ...]


class Compare(msgspec.Struct, frozen=True, tag=True):
    """Score n decisions: their float64 matrix of shape (n, width), row by row, and their `score/1` records."""

    digest: str
    width: int
    matrix: bytes
    scores: tuple[bytes, ...]


class Loaded(msgspec.Struct, frozen=True, tag=True):
    """The model's probe hash and the fingerprint of its features, or why it is not loaded."""

    probe_hash: str | None
    fingerprint: str = ""
    problems: tuple[Problem, ...] = ()


class CompareResult(msgspec.Struct, frozen=True, tag=True):
    """What n decisions came to, each None where the challenger gave no score: `comparison/1`, score, decision.

    `start_ns` and `end_ns` are nanoseconds of the Unix epoch, `why` says what the first row without a score failed at.
    """

    records: tuple[bytes | None, ...]
    scores: tuple[float | None, ...]
    decisions: tuple[Decision | None, ...]
    start_ns: int
    end_ns: int
    why: str | None = None


Request = Setup | Load | KeepOnly | Compare
Reply = Loaded | CompareResult

encode = msgspec.msgpack.Encoder().encode
decode_request: Callable[[bytes], Request] = msgspec.msgpack.Decoder(Request).decode
decode_reply: Callable[[bytes], Reply] = msgspec.msgpack.Decoder(Reply).decode


def frame(payload: bytes) -> bytes:
    """Return the payload as it travels.

    Raises:
        FrameError: it is larger than a frame may be.
    """
    if len(payload) > LARGEST_BYTES:
        raise FrameError(f"a frame of {len(payload)} bytes is more than {LARGEST_BYTES}")
    return _HEAD.pack(MAGIC, len(payload)) + payload


def payload_length(head: bytes) -> int:
    """Read how many bytes follow a head of `HEADER_BYTES` bytes.

    Raises:
        FrameError: it is no head of ours.
    """
    if len(head) != HEADER_BYTES:
        raise FrameError(f"a frame's head was cut off after {len(head)} of {HEADER_BYTES} bytes")
    mark, length = _HEAD.unpack(head)
    if mark != MAGIC:
        raise FrameError(f"a frame begins with {MAGIC!r}, this with {mark!r}: something printed into the pipe")
    if length > LARGEST_BYTES:
        raise FrameError(f"a frame promises {length} bytes, at most {LARGEST_BYTES} are taken")
    return int(length)


def read_frame(read: Callable[[int], bytes]) -> bytes | None:
    """Read one payload; None where the pipe was closed between two frames.

    `read` returns as many bytes as asked for, fewer only at the end, as a buffered file's does.

    Raises:
        FrameError: the pipe holds something else, or was closed within a frame.
    """
    head = read(HEADER_BYTES)
    if not head:
        return None
    length = payload_length(head)
    payload = read(length)
    if len(payload) != length:
        raise FrameError(f"a frame was cut off after {len(payload)} of {length} bytes")
    return payload
