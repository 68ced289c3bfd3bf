"""A connection of aiokafka's without a broker: what is written is kept, and a test gives the answers."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiokafka.conn import AIOKafkaConnection

VERSIONS = {0: (0, 11), 1: (4, 17)}
"""The versions of the requests to produce and to fetch that the broker knows."""


class Writer:
    """Keeps what is written; fails if it is told so."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.fails = False

    def write(self, data: bytes) -> None:
        """Keep one request."""
        if self.fails:
            raise OSError("broken pipe")
        self.written.append(data)

    def close(self) -> None:
        """Do nothing."""


class _Reader:
    def at_eof(self) -> bool:
        return False


class _Ended:
    def done(self) -> bool:
        return True


@contextmanager
def open_connection(client_id: str | None = "fraudstream-1") -> Iterator[Any]:
    """Yield a connection that is open, and has a `Writer`."""
    made: Any = AIOKafkaConnection("broker", 9092, client_id=client_id)
    made._versions, made._reader, made._writer, made._read_task = VERSIONS, _Reader(), Writer(), _Ended()
    try:
        yield made
    finally:
        made.close()
