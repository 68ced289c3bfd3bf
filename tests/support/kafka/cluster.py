"""The Kafka of the integration tests: Docker, jars or the embedded broker, whichever is available first.

FRAUDSTREAM_TEST_CLUSTER forces one: `docker`, `jars`, `embedded`, or `apache` (one of the first two, or an error: for
machines that must not fall back silently).
"""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from support.kafka.admin import delete_topics
from support.kafka.docker import DockerCluster, NoDocker
from support.kafka.embedded import EmbeddedCluster
from support.kafka.jars import JarsCluster, NoJars

VARIABLE = "FRAUDSTREAM_TEST_CLUSTER"
CHOICES: dict[str, tuple[type[DockerCluster] | type[JarsCluster] | type[EmbeddedCluster], ...]] = {
    "": (DockerCluster, JarsCluster, EmbeddedCluster),
    "apache": (DockerCluster, JarsCluster),
    "docker": (DockerCluster,),
    "jars": (JarsCluster,),
    "embedded": (EmbeddedCluster,),
}


class Cluster(Protocol):
    """A broker for tests. `start` waits until it is in service; data survive a stop, except on `embedded`."""

    kind: str
    """`apache-kafka-docker`, `apache-kafka-jars` or `embedded`."""
    brokers: str
    """`127.0.0.1:port`; the port stays the same over a restart."""
    port: int
    replication: int
    """The replicas of a fleet's topics."""

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def kill(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def log(self) -> str: ...
    def close(self) -> None: ...


class NoClusterError(Exception):
    """None of the allowed clusters is available; the message has a reason for each."""


def choose(wanted: str) -> tuple[Cluster, str]:
    """Return the first available cluster of the choice, not yet started, and one line with the reason for it.

    Raises:
        NoClusterError: none of them is available.
    """
    if wanted not in CHOICES:
        raise NoClusterError(f"{VARIABLE}={wanted}: not one of {', '.join(filter(None, CHOICES))}")
    missing: list[str] = []
    for kind in CHOICES[wanted]:
        try:
            found = kind()
        except (NoDocker, NoJars) as reason:
            missing.append(f"{kind.kind}: {reason}")
        else:
            return found, f"Kafka for the tests: {found.kind}" + (f" ({'; '.join(missing)})" if missing else "")
    raise NoClusterError(f"{VARIABLE}={wanted}: " + "; ".join(missing))


@contextmanager
def running_cluster(wanted: str | None = None) -> Iterator[tuple[Cluster, str]]:
    """Yield a started cluster and the line about it; remove the cluster afterwards."""
    found, line = choose(os.environ.get(VARIABLE, "") if wanted is None else wanted)
    try:
        found.start()
        yield found, line
    finally:
        found.close()


def revive(cluster: Cluster) -> None:
    """Bring a cluster back into service after a test stopped, killed or paused it."""
    cluster.resume()
    cluster.start()


@contextmanager
def separate_topics(cluster: Cluster | None) -> Iterator[str]:
    """A prefix that no other topics have; they are deleted at the end: brokers of thousands are slow."""
    prefix = f"t{uuid.uuid4().hex[:10]}-"
    yield prefix
    if cluster is not None and cluster.kind != "embedded":
        delete_topics(cluster.brokers, prefix)
