"""The demo's embedded broker as a test cluster, for machines with neither Docker nor Java: it is not Apache Kafka."""

import signal
import tempfile
from pathlib import Path

from fraudstream.demo.services.servers import EmbeddedBroker


class EmbeddedCluster(EmbeddedBroker):
    """The embedded broker; it keeps its records in memory, so a stop loses them."""

    kind = "embedded"
    replication = 1

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="embedded-")
        super().__init__(Path(self._folder.name))

    def kill(self) -> None:
        """Kill the broker."""
        self._child.kill()

    def pause(self) -> None:
        """Suspend the broker: connections stay open and nothing answers."""
        self._child.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Resume the broker."""
        self._child.signal(signal.SIGCONT)

    def log(self) -> str:
        """Return the end of the broker's log."""
        return self._child.tail()

    def close(self) -> None:
        """End the broker and remove its log."""
        self.kill()
        self._folder.cleanup()
