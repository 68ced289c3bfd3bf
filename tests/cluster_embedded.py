"""The demo's embedded broker as a test cluster: for machines with neither Docker nor Java. It is not Apache Kafka."""

import tempfile
from pathlib import Path

from stream.embedded.broker import EmbeddedBroker


class EmbeddedCluster:
    """The embedded broker; it keeps its records in memory, so they are lost with a stop."""

    kind = "embedded"

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="embedded-")
        self._broker = EmbeddedBroker(Path(self._folder.name))
        self.port = self._broker.port
        self.brokers = self._broker.brokers

    def start(self) -> None:
        """Start the broker, if it does not run, and wait until it answers."""
        self._broker.start()

    def stop(self) -> None:
        """Stop the broker and lose its records."""
        self._broker.stop()

    def kill(self) -> None:
        """SIGKILL the broker and lose its records."""
        self._broker.kill()

    def pause(self) -> None:
        """Stop the broker's clock: connections stay open and nothing answers."""
        self._broker.pause()

    def resume(self) -> None:
        """End a pause."""
        self._broker.resume()

    def log(self) -> str:
        """Return the end of the broker's log."""
        return self._broker.log()

    def close(self) -> None:
        """End the broker."""
        self._broker.kill()
        self._folder.cleanup()
