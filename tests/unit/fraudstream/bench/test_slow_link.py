"""A link on which answers come late: bytes arrive whole and in order, later by the delay, and ends are passed on."""

import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fraudstream.bench.slow_link import slow_link
from stream.errors import MeasurementError

DELAY_S = 0.08


class _Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        while piece := self.request.recv(1 << 16):
            self.request.sendall(piece)


@pytest.fixture
def echo_port() -> Iterator[int]:
    """The port of a server that answers with what it gets."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_answers_come_later_and_whole_and_the_end_is_passed_on(echo_port: int, tmp_path: Path) -> None:
    child, url = slow_link(f"redis://user:secret@127.0.0.1:{echo_port}/3", DELAY_S, tmp_path)
    head, _, rest = url.rpartition(":")
    assert head == "redis://user:secret@127.0.0.1"
    assert rest.endswith("/3")
    try:
        address = ("127.0.0.1", int(rest.removesuffix("/3")))
        with socket.create_connection(address, timeout=10) as link, link.makefile("rb") as answers:
            for _ in range(3):
                began = time.monotonic()
                link.sendall(b"ping")
                assert answers.read(4) == b"ping"
                assert time.monotonic() - began >= DELAY_S
            sent = bytes(range(256)) * 4096
            sender = threading.Thread(target=lambda: (link.sendall(sent), link.shutdown(socket.SHUT_WR)))
            sender.start()
            assert answers.read() == sent
            sender.join()
    finally:
        child.stop()


@pytest.mark.parametrize("url", ["rediss://one:6379", "redis+cluster://one:6379", "redis+sentinel://one:26379/m"])
def test_what_names_no_single_plain_server_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match="cannot be delayed: name one server as redis://HOST:PORT"):
        slow_link(url, DELAY_S, tmp_path)
