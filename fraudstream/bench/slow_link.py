"""A TCP proxy whose answers come late, as from a server far away.

`python -m fraudstream.bench.slow_link PORT SERVER 0.02` is one whose answers come 20 ms late. Workers behind it wait
more than they compute, so that several of them decide more than one also on a few cores.
"""

import asyncio
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from fraudstream.demo.services.processes import Child, free_port, listening
from stream.errors import MeasurementError

_CHUNK_BYTES = 1 << 18
_START_SECONDS = 10.0
_REDIS_PORT = 6379


def slow_link(url: str, delay_s: float, folder: Path) -> tuple[Child, str]:
    """Start a proxy in front of a Redis server, and return its process and the URL through it.

    Args:
        url: of one server, `redis://…`; a cluster and a Sentinel name servers that would be reached without the proxy.
        delay_s: seconds by which each answer is later.
        folder: for its log.

    Raises:
        MeasurementError: the URL names no single server without TLS, or the proxy does not start.
    """
    parts = urlsplit(url)
    if parts.scheme != "redis":
        raise MeasurementError(f"answers of {parts.scheme}:// cannot be delayed: name one server as redis://HOST:PORT")
    port = free_port()
    server = f"{parts.hostname}:{parts.port or _REDIS_PORT}"
    command = (sys.executable, "-P", "-m", "fraudstream.bench.slow_link", str(port), server, str(delay_s))
    child = Child(command, folder / "slow-link.log")
    child.start()
    deadline = time.monotonic() + _START_SECONDS
    while not listening(port):
        if not child.running or time.monotonic() >= deadline:
            raise MeasurementError(f"the proxy that delays Redis does not start: {child.log}")
        time.sleep(0.05)
    login = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    return child, urlunsplit(parts._replace(netloc=f"{login}127.0.0.1:{port}"))


async def _serve(port: int, server: str, delay_s: float) -> None:
    host, _, server_port = server.rpartition(":")

    async def connected(client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        try:
            answers, to_server = await asyncio.open_connection(host, int(server_port))
        except OSError:
            to_client.close()
            return
        await asyncio.gather(_pass(client, to_server, 0.0), _pass(answers, to_client, delay_s))
        to_server.close()
        to_client.close()

    async with await asyncio.start_server(connected, "127.0.0.1", port) as listener:
        await listener.serve_forever()


async def _pass(source: asyncio.StreamReader, target: asyncio.StreamWriter, delay_s: float) -> None:
    """Pass what arrives on, each piece so much later, in order, and the end of it."""
    loop, last = asyncio.get_running_loop(), 0.0
    try:
        while piece := await source.read(_CHUNK_BYTES):
            if delay_s:
                last = loop.time() + delay_s
                loop.call_at(last, _write, target, piece)
            else:
                _write(target, piece)
    except ConnectionError:
        pass
    await asyncio.sleep(max(0.0, last - loop.time()))
    if not target.is_closing():
        target.write_eof()


def _write(target: asyncio.StreamWriter, piece: bytes) -> None:
    if not target.is_closing():
        target.write(piece)


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), sys.argv[2], float(sys.argv[3])))
