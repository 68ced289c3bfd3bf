"""The protocol between a worker and its challenger's process: MessagePack messages in frames on two pipes.

The worker sends one request at a time. `Setup` comes first; it and `KeepOnly` have no reply. A frame is a magic number,
a length and a payload; the magic number detects output that something else wrote to the pipe.
"""

import struct
from collections.abc import Callable
from typing import TypeVar

import msgspec

from fraudstream_client.outputs import Decision
from models.expected import without_pattern
from models.problems import Problem
from shadow.errors import FrameError

MAGIC = b"FSh1"
LARGEST_BYTES = 64 * 1024 * 1024
_HEADER = struct.Struct(">4sI")
HEADER_BYTES = _HEADER.size


class Setup(msgspec.Struct, frozen=True, tag=True):
    """The model repository, whose URL may hold a login, the module of feature rows, and the memory limit.

    `model_keys` is the file of the keys that may sign models; empty: models need no signature.
    """

    models: str
    features: str
    memory_mb: int
    model_keys: str = ""


class Load(msgspec.Struct, frozen=True, tag=True):
    """Load and probe a model."""

    digest: str


class KeepOnly(msgspec.Struct, frozen=True, tag=True):
    """Unload all models except these."""

    digests: tuple[str, ...]


class Compare(msgspec.Struct, frozen=True, tag=True):
    """Score n decisions: their float64 matrix of shape (n, width) in row order, and their `score/1` records.

    `countries` are those of their merchants, as far as the payments state them: rules may look at them. Without any,
    none is stated.
    """

    digest: str
    width: int
    matrix: bytes
    scores: tuple[bytes, ...]
    countries: tuple[str | None, ...] = ()


class Loaded(msgspec.Struct, frozen=True, tag=True):
    """The model's probe hash and the fingerprint of its features, or why it could not be loaded."""

    probe_hash: str | None
    fingerprint: str = ""
    problems: tuple[Problem, ...] = ()


class CompareResult(msgspec.Struct, frozen=True, tag=True):
    """`comparison/1`, score and decision of n decisions, each None where the challenger gave no score.

    `start_ns` and `end_ns` are epoch nanoseconds; `why` is the error of the first row without a score.
    """

    records: tuple[bytes | None, ...]
    scores: tuple[float | None, ...]
    decisions: tuple[Decision | None, ...]
    start_ns: int
    end_ns: int
    why: str | None = None


Request = Setup | Load | KeepOnly | Compare
Reply = Loaded | CompareResult

_encoder = msgspec.msgpack.Encoder()
encode = _encoder.encode
_Message = TypeVar("_Message")
_requests: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_replies: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)


def decode_request(payload: bytes) -> Request:
    """Decode the payload of a worker's frame.

    Raises:
        FrameError: it is no request.
    """
    return _decoded(_requests, payload, "request")


def decode_reply(payload: bytes) -> Reply:
    """Decode the payload of a frame of the challenger's process.

    Raises:
        FrameError: it is no reply.
    """
    return _decoded(_replies, payload, "reply")


def _decoded(decoder: "msgspec.msgpack.Decoder[_Message]", payload: bytes, what: str) -> _Message:
    try:
        return decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FrameError(f"a frame holds no {what}: {without_pattern(error)}") from error


def frame(payload: bytes) -> bytes:
    """Return the payload as a frame.

    Raises:
        FrameError: the payload is too large.
    """
    return _HEADER.pack(MAGIC, _checked(len(payload))) + payload


def framed(message: Request | Reply) -> bytearray:
    """Return a message as a frame; its vectors and records are copied once.

    Raises:
        FrameError: the message is too large.
    """
    whole = bytearray(HEADER_BYTES)
    _encoder.encode_into(message, whole, HEADER_BYTES)
    _HEADER.pack_into(whole, 0, MAGIC, _checked(len(whole) - HEADER_BYTES))
    return whole


def _checked(length: int) -> int:
    """Return the length of a payload.

    Raises:
        FrameError: it is too large.
    """
    if length > LARGEST_BYTES:
        raise FrameError(f"the payload has {length} bytes, the limit is {LARGEST_BYTES}")
    return length


def payload_length(header: bytes) -> int:
    """Return the payload's length from a header of `HEADER_BYTES` bytes.

    Raises:
        FrameError: the header is not valid.
    """
    if len(header) != HEADER_BYTES:
        raise FrameError(f"a frame's header was cut off after {len(header)} of {HEADER_BYTES} bytes")
    magic, length = _HEADER.unpack(header)
    if magic != MAGIC:
        raise FrameError(f"a frame begins with {MAGIC!r}, not {magic!r}: something else was printed to the pipe")
    if length > LARGEST_BYTES:
        raise FrameError(f"a frame announces {length} bytes, the limit is {LARGEST_BYTES}")
    return int(length)


def read_frame(read: Callable[[int], bytes]) -> bytes | None:
    """Read one payload; None if the pipe was closed between two frames.

    `read` returns the requested number of bytes, fewer only at the end of the input, like a buffered file's `read`.

    Raises:
        FrameError: the pipe holds something else, or was closed within a frame.
    """
    header = read(HEADER_BYTES)
    if not header:
        return None
    length = payload_length(header)
    payload = read(length)
    if len(payload) != length:
        raise FrameError(f"a frame was cut off after {len(payload)} of {length} bytes")
    return payload
