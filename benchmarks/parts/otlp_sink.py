"""An OTLP collector over HTTP, for measurements and tests.

`python -m benchmarks.parts.otlp_sink PORT` is one that keeps nothing, to measure the cost of tracing.
"""

import gzip
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

Take = Callable[[str, bytes], None]
"""Gets the path and the body, unpacked, of each request; called in threads."""

_POLL_SECONDS = 0.05


class _Collector(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        """Read the request and answer 200: an empty body is a valid answer in OTLP."""
        self.keep(self.rfile.read(int(self.headers.get("Content-Length", "0"))))
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def keep(self, body: bytes) -> None:
        """Keep nothing."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Log nothing."""


class _Sink(_Collector):
    protocol_version = "HTTP/1.1"


@contextmanager
def collecting(take: Take) -> Iterator[str]:
    """Yield the address of a collector of this process, on a port of its own."""

    class Handler(_Collector):
        def keep(self, body: bytes) -> None:
            packed = self.headers.get("Content-Encoding") == "gzip"
            take(self.path, gzip.decompress(body) if packed else body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": _POLL_SECONDS}, name="spans")
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), _Sink).serve_forever()
