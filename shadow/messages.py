"""What a worker and its challenger's process say to each other, as MessagePack in frames.

The worker asks one thing at a time. `Setup` comes first; it and `Keep` get no answer. Nothing here does anything.
"""

from collections.abc import Callable

import msgspec

from models.policy import Decision
from models.problems import Problem


class Setup(msgspec.Struct, frozen=True, tag=True):
    """Where models are, which table of features counts, and how much memory may be taken; no password is in it."""

    models: str
    features: str
    memory_mb: int


class Load(msgspec.Struct, frozen=True, tag=True):
    """Load and probe a model."""

    digest: str


class Keep(msgspec.Struct, frozen=True, tag=True):
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


class Compared(msgspec.Struct, frozen=True, tag=True):
    """What n decisions came to, each None where the challenger gave no score: `comparison/1`, score, decision.

    `start_ns` and `end_ns` are nanoseconds of the Unix epoch, `why` says what the first row without a score failed at.
    """

    records: tuple[bytes | None, ...]
    scores: tuple[float | None, ...]
    decisions: tuple[Decision | None, ...]
    start_ns: int
    end_ns: int
    why: str | None = None


Request = Setup | Load | Keep | Compare
Reply = Loaded | Compared

encode = msgspec.msgpack.Encoder().encode
decode_request: Callable[[bytes], Request] = msgspec.msgpack.Decoder(Request).decode
decode_reply: Callable[[bytes], Reply] = msgspec.msgpack.Decoder(Reply).decode
