"""The two requests that are sent for every batch, to fetch and to produce, as bytes.

aiokafka's schemas call Python for each field, hundreds of times for a batch of one payment; here a request is a few
packed structs. Only the newest versions that aiokafka speaks are known, and only where a broker offers them: for all
others, and for whatever is not as expected, its own requests serve. Layouts: Kafka's protocol guide, "Produce" and
"Fetch"; tests compare them with aiokafka's to the byte.

The functions use private attributes of aiokafka 0.14, which is pinned.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from struct import Struct
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import RequestTimedOutError

Answer = TypeVar("Answer")
Taken_contra = TypeVar("Taken_contra", contravariant=True)

PRODUCE, PRODUCE_VERSION = 0, 7
FETCH, FETCH_VERSION = 1, 11
_HEADER_BYTES = 4
"""An answer begins with the number of its request."""
_HEADER = Struct(">hhi").pack
_LENGTH, _SHORT_LENGTH = Struct(">i"), Struct(">h")
_PRODUCE = Struct(">hhi").pack
_PRODUCE_PART = Struct(">ii").pack
_PRODUCED = Struct(">ihqqq")
_FETCH = Struct(">iiiibiii").pack
_FETCH_PART = Struct(">iiqqi").pack
_FETCH_END = Struct(">i").pack
_FETCHED_HEAD_BYTES = 10
"""How long the client was throttled, an error and a session."""
_FETCHED = Struct(">ihqqqi")
_ABORTED = Struct(">qq")
_SESSION_LESS = 0, -1
"""A session and its epoch: none."""


class Receiver(Protocol[Taken_contra]):
    """Gets the answer to a request, or why there is none; called by the connection's reader, so it must not raise."""

    def done(self) -> bool:
        """Tell whether nobody wants an answer any more."""
        ...

    def set_result(self, result: Taken_contra, /) -> None:
        """Take the answer."""
        ...

    def set_exception(self, exception: BaseException, /) -> None:
        """Take the error: the connection was closed."""
        ...


class _Number(NamedTuple):
    correlation_id: int


class _Expected(Generic[Answer]):
    """What aiokafka's connection asks about a request when its answer comes."""

    def __init__(self, decode: Callable[[bytes], Answer]) -> None:
        self._decode = decode

    @property
    def RESPONSE_TYPE(self) -> "_Expected[Answer]":  # noqa: N802 - aiokafka's name
        return self

    def parse_response_header(self, response: BytesIO) -> _Number:
        return _Number(int.from_bytes(response.read(_HEADER_BYTES), "big", signed=True))

    def decode(self, response: BytesIO) -> Answer:
        return self._decode(response.getvalue())


def speaks(connection: AIOKafkaConnection, key: int, version: int) -> bool:
    """Tell whether a connection is open, and its broker knows this version of a request."""
    least, most = (connection._versions or {}).get(key, (0, -1))  # noqa: SLF001
    return bool(connection.connected()) and least <= version <= most


def write(
    connection: AIOKafkaConnection,
    head: tuple[int, int],
    body: Sequence[bytes],
    decode: Callable[[bytes], Answer],
    receiver: Receiver[Answer],
) -> None:
    """Write a request, `head` being its key and version; its answer goes to the receiver, in the order of requests.

    Where writing fails, the connection is closed, and so the receiver gets an error.
    """
    number = connection._next_correlation_id()  # noqa: SLF001
    parts = [_HEADER(*head, number), _text(connection._client_id), *body]  # noqa: SLF001
    connection._requests.append((number, _Expected(decode), receiver))  # noqa: SLF001
    try:
        connection._writer.write(b"".join([_LENGTH.pack(sum(map(len, parts))), *parts]))  # noqa: SLF001
    except OSError as error:
        connection.close(reason=CloseReason.CONNECTION_BROKEN, exc=error)


def close_silent(connection: AIOKafkaConnection) -> None:
    """Close a connection whose broker has not answered in time; its requests get an error."""
    connection.close(reason=CloseReason.CONNECTION_TIMEOUT, exc=RequestTimedOutError())


def _text(text: str | None) -> bytes:
    if text is None:
        return b"\xff\xff"
    encoded = text.encode()
    return _SHORT_LENGTH.pack(len(encoded)) + encoded


# --- to produce


class Produced(NamedTuple):
    """What became of the records of one partition: an error's code or 0, and where and when they were appended."""

    code: int
    offset: int
    timestamp: int
    log_start_offset: int


def produce_body(acks: int, timeout_ms: int, topics: Mapping[str, Sequence[tuple[int, bytes]]]) -> list[bytes]:
    """Encode what a request to produce says after its header: the record batches of partitions, by topic."""
    parts = [_PRODUCE(-1, acks, timeout_ms), _LENGTH.pack(len(topics))]
    for topic, partitions in topics.items():
        parts += (_text(topic), _LENGTH.pack(len(partitions)))
        for partition, batch in partitions:
            parts += (_PRODUCE_PART(partition, len(batch)), batch)
    return parts


def produced(frame: bytes) -> dict[tuple[str, int], Produced]:
    """Decode an answer to a request to produce, by topic and partition."""
    found: dict[tuple[str, int], Produced] = {}
    count, at = _int(frame, _HEADER_BYTES)
    for _ in range(count):
        topic, at = _read_text(frame, at)
        partitions, at = _int(frame, at)
        for _ in range(partitions):
            partition, *rest = _PRODUCED.unpack_from(frame, at)
            at += _PRODUCED.size
            found[topic, partition] = Produced(*rest)
    return found


# --- to fetch


class FetchOptions(NamedTuple):
    """How long a broker may wait in ms, for how many bytes, what it may return, which isolation, from which rack."""

    max_wait_ms: int
    min_bytes: int
    max_bytes: int
    isolation: int
    rack: str


Topics = Sequence[tuple[str, Sequence[tuple[int, int, int]]]]
"""What is asked for: topics, and of each the partitions with their next offset and the most bytes."""
FetchedTopic = tuple[str, list[tuple[Any, ...]]]
"""A topic and what came of its partitions, as aiokafka has them: partition, error's code, end, last stable offset,
first offset, aborted transactions, preferred replica, and the records."""


async def fetch_from(connection: AIOKafkaConnection, options: FetchOptions, topics: Topics) -> Sequence[FetchedTopic]:
    """Send a request to fetch, and return its answer.

    Raises:
        aiokafka.errors.KafkaError: the connection broke, or was closed since no answer came in its time.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Sequence[FetchedTopic]] = loop.create_future()
    write(connection, (FETCH, FETCH_VERSION), fetch_body(options, topics), fetched, answer)
    timer = loop.call_later(connection._request_timeout, close_silent, connection)  # noqa: SLF001
    try:
        return await answer
    finally:
        timer.cancel()


def fetch_body(options: FetchOptions, topics: Topics) -> list[bytes]:
    """Encode what a request to fetch says after its header."""
    parts = [_FETCH(-1, *options[:4], *_SESSION_LESS, len(topics))]
    for topic, partitions in topics:
        parts += (_text(topic), _LENGTH.pack(len(partitions)))
        parts += [_FETCH_PART(partition, -1, offset, -1, most) for partition, offset, most in partitions]
    parts += (_FETCH_END(0), _text(options.rack))
    return parts


def fetched(frame: bytes) -> list[FetchedTopic]:
    """Decode an answer to a request to fetch.

    Its own error, which is of sessions, leaves no partition.
    """
    answer: list[FetchedTopic] = []
    topics, at = _int(frame, _HEADER_BYTES + _FETCHED_HEAD_BYTES)
    for _ in range(topics):
        topic, at = _read_text(frame, at)
        count, at = _int(frame, at)
        partitions: list[tuple[Any, ...]] = []
        for _ in range(count):
            partition, at = _fetched_partition(frame, at)
            partitions.append(partition)
        answer.append((topic, partitions))
    return answer


def _fetched_partition(frame: bytes, at: int) -> tuple[tuple[Any, ...], int]:
    *part, aborted = _FETCHED.unpack_from(frame, at)
    at += _FETCHED.size
    end = at + max(0, aborted) * _ABORTED.size
    transactions = None if aborted < 0 else list(_ABORTED.iter_unpack(frame[at:end]))
    replica, at = _int(frame, end)
    size, at = _int(frame, at)
    records = None if size < 0 else frame[at : at + size]
    return (*part, transactions, replica, records), at + max(0, size)


def _int(frame: bytes, at: int) -> tuple[int, int]:
    return _LENGTH.unpack_from(frame, at)[0], at + _LENGTH.size


def _read_text(frame: bytes, at: int) -> tuple[str, int]:
    size = _SHORT_LENGTH.unpack_from(frame, at)[0]
    begin = at + _SHORT_LENGTH.size
    return frame[begin : begin + size].decode(), begin + size
