"""The Kafka that the integration tests run on: Docker, else jars, else the embedded broker, whichever can be had first.

FRAUDSTREAM_TEST_CLUSTER forces one: `docker`, `jars`, `embedded`, or `apache` (either of the first two, and an error
where neither can be had: a machine that must not fall back in silence says so with this).
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

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
    """One broker of the tests'. `start` waits until it is in service; data outlive a stop, but not on `embedded`."""

    kind: str
    """`apache-kafka-docker`, `apache-kafka-jars` or `embedded`."""
    brokers: str
    """`127.0.0.1:port`; the port stays the same over a restart."""
    port: int

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def kill(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def log(self) -> str: ...
    def close(self) -> None: ...


class NoClusterError(Exception):
    """None of the allowed clusters can be had; the message has a reason for each."""


def choose(wanted: str) -> tuple[Cluster, str]:
    """Return the first cluster of the choice that this machine has, not yet started, and one line on why that one.

    Raises:
        NoClusterError: it has none of them.
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
    """Yield a started cluster and the line about it; nothing of it is left afterwards."""
    found, line = choose(os.environ.get(VARIABLE, "") if wanted is None else wanted)
    try:
        found.start()
        yield found, line
    finally:
        found.close()


def revive(cluster: Cluster) -> None:
    """Bring a cluster back into service after whatever a test did to it."""
    cluster.resume()
    cluster.start()
