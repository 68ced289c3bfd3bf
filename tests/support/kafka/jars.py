"""Apache Kafka from its Maven artifacts: one KRaft node as a child process, with its data in a temporary folder."""

import fcntl
import os
import shutil
import signal
import ssl
import subprocess
import tempfile
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fraudstream.demo.services.processes import Child, free_port
from support.kafka.wire import brokers_in_service
from support.paths import HOUSE, SUPPORT

VERSION = "4.3.1"
OLD_VERSIONS = ("3.4.1", "3.9.2")
"""Before and after brokers could refuse timestamps far ahead (3.6); the last line that had ZooKeeper, too."""
RECIPE = SUPPORT / "kafka"
START_SECONDS = 300.0
"""2 to 3 s on a quiet machine; a killed broker recovers its topics first: 20 s with 300 of them, 85 s with 1,200."""
RESOLVE_SECONDS = 600.0


class NoJars(Exception):  # noqa: N818 - a state of the machine
    """Java or Maven is missing, or the artifacts cannot be resolved."""


def new_cluster_id() -> str:
    """Return an id as Kafka's storage tool makes them."""
    return urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A")


@dataclass(frozen=True)
class Layout:
    """The layout of a node: its properties file, the values for it, and the options that format its data folder.

    `tls` is used to ask whether the node is in service, if its port uses TLS. Nodes of one cluster have the same
    `cluster_id`. `flags` are Java's.
    """

    properties: str = "server.properties"
    values: Mapping[str, object] = field(default_factory=dict)
    formatting: tuple[str, ...] = ()
    tls: ssl.SSLContext | None = None
    heap_mb: int = 512
    flags: tuple[str, ...] = ()
    cluster_id: str = field(default_factory=new_cluster_id)
    version: str = VERSION


PLAIN = Layout()


def resolve_jars(recipe: str = "pom.xml", name: str = "libs", version: str = VERSION) -> Path:
    """Return the folder of a recipe's jars, by default the broker's; Maven fills it once, all or nothing.

    Only the broker's recipe has other versions than `VERSION`.

    Raises:
        NoJars: there is no `java`, or no `mvn` while the folder is empty, or Maven could not resolve the artifacts.
    """
    if shutil.which("java") is None:
        raise NoJars("no java on PATH")
    cache = HOUSE / ".cache" / f"kafka-{version}"
    libraries = cache / name
    if libraries.is_dir():
        return libraries
    if shutil.which("mvn") is None:
        raise NoJars("no mvn on PATH")
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{name}.lock").open("w") as lock, tempfile.TemporaryDirectory(dir=cache) as folder:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run in several processes; Maven runs in one
        if libraries.is_dir():
            return libraries
        target = Path(folder) / name
        command = ["mvn", "-q", "-B", "-f", str(RECIPE / recipe), "dependency:copy-dependencies"]
        command += [f"-DoutputDirectory={target}", f"-Dkafka.version={version}"]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=RESOLVE_SECONDS)
        if done.returncode != 0:
            raise NoJars(
                f"mvn could not resolve {recipe} for Kafka {version}: {done.stdout[-500:]}{done.stderr[-500:]}"
            )
        target.rename(libraries)
    return libraries


def class_archive(version: str) -> Path | None:
    """Return the path of a version's loaded classes, with which a node starts in half the time; None while another
    process makes them.

    They are made once, by a node that is started and stopped for it. Java itself ignores an archive of other jars or of
    another Java.
    """
    cache = resolve_jars(version=version).parent
    archive = cache / "classes.jsa"
    if archive.exists():
        return archive
    with (cache / "classes.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        if not archive.exists():
            _make_archive(archive, version)
    return archive


def _make_archive(archive: Path, version: str) -> None:
    unfinished = archive.with_suffix(f".{uuid.uuid4().hex}")
    node = JarsCluster(Layout(version=version), classes=f"-XX:ArchiveClassesAtExit={unfinished}")
    try:
        node.start()
        node.stop()
        unfinished.rename(archive)
    finally:
        node.close()
        unfinished.unlink(missing_ok=True)


def tools_classpath() -> str:
    """Return the class path of Kafka's command line tools.

    Raises:
        NoJars: see `resolve_jars`.
    """
    return f"{resolve_jars()}/*:{resolve_jars('tools.xml', 'tools')}/*"


class JarsCluster:
    """A single Kafka node that can be stopped, killed, paused and started again on its port and data.

    `classes` is Java's flag for an archive of classes; by default that of `class_archive`.

    Raises:
        NoJars: see `resolve_jars`.
    """

    kind = "apache-kafka-jars"
    replication = 1

    def __init__(self, layout: Layout = PLAIN, classes: str | None = None) -> None:
        classpath = f"{resolve_jars(version=layout.version)}/*"
        self._layout = layout
        self._folder = tempfile.TemporaryDirectory(prefix="kafka-")
        folder = Path(self._folder.name)
        self._settings = folder / "server.properties"
        self._places = {"controller_port": free_port(), "folder": folder}
        self.move()
        logging = f"-Dlog4j2.configurationFile={RECIPE / 'log4j2.properties'}"
        heap = ["-Xms256m", f"-Xmx{layout.heap_mb}m"]
        if classes is None and (archive := class_archive(layout.version)):
            classes = f"-XX:SharedArchiveFile={archive}"
        java = [
            "java",
            *heap,
            "-XX:TieredStopAtLevel=1",
            "-XX:+UseSerialGC",
            "-XX:+ExitOnOutOfMemoryError",
            logging,
            *([classes] if classes else []),
            *layout.flags,
        ]
        self._java = [*java, "-cp", classpath]
        self._child = Child([*self._java, "kafka.Kafka", str(self._settings)], folder / "broker.log")
        self._format()

    def move(self) -> None:
        """Choose another port, on which the broker listens from its next start on."""
        self.port = free_port()
        self.brokers = f"127.0.0.1:{self.port}"
        values = {"port": self.port, **self._places, **self._layout.values}
        self._settings.write_text((RECIPE / self._layout.properties).read_text().format(**values))

    def _format(self) -> None:
        """Give the empty data folder its cluster id."""
        tool = ["kafka.tools.StorageTool", "format", "-t", self._layout.cluster_id, "-c", str(self._settings)]
        tool += self._layout.formatting
        subprocess.run([*self._java, *tool], check=True, capture_output=True, timeout=START_SECONDS)

    def start(self) -> None:
        """Start the broker, if it does not run, and wait until it is in service."""
        self.launch()
        self.await_in_service()

    def launch(self) -> None:
        """Start the broker, if it does not run, without waiting."""
        self._child.start()

    def await_in_service(self, brokers: int = 1) -> None:
        """Wait until the broker is in service, and knows of so many brokers that are."""
        self._child.await_ready(lambda: brokers_in_service(self.port, tls=self._layout.tls) >= brokers, START_SECONDS)

    def stop(self) -> None:
        """Stop the broker in order; its data stay."""
        self._child.stop(30)

    def kill(self) -> None:
        """SIGKILL the broker; its data stay."""
        self._child.kill()

    def pause(self) -> None:
        """Suspend the broker: connections stay open and nothing answers, once all of its threads have stopped."""
        self._child.signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._child.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """End a pause."""
        self._child.signal(signal.SIGCONT)

    def log(self) -> str:
        """Return the end of the broker's log."""
        return self._child.tail()

    def keep_log(self, path: Path) -> None:
        """Copy the broker's whole log, which goes with its data, to a path."""
        if self._child.log.exists():
            shutil.copyfile(self._child.log, path)

    def close(self) -> None:
        """End the broker and remove its data."""
        self._child.kill()
        self._folder.cleanup()
