"""Apache Kafka in a container, by testcontainers, if a Docker engine answers and has or can pull the image."""

import gc
import os
import time
import warnings

import docker
from docker.errors import DockerException, ImageNotFound

from fraudstream.demo.services.processes import free_port
from support.kafka.wire import brokers_in_service

IMAGE = "apache/kafka:4.3.1"
OWNER = "fraudstream.test.owner"
START_SECONDS = 90.0


class NoDocker(Exception):  # noqa: N818 - a state of the machine
    """No Docker engine answers, or it neither has nor can pull the image."""


def connect() -> docker.DockerClient:
    """Return a client of the engine; if none answers, collect the socket that the library leaks, without a warning.

    Raises:
        NoDocker: no engine answers.
    """
    try:
        return docker.from_env(version="auto", timeout=60)
    except DockerException:
        pass
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
    raise NoDocker("no Docker engine answers")


def engine_with(image: str) -> docker.DockerClient:
    """Return a client of an engine that has `image`, pulled if needed.

    Raises:
        NoDocker: there is no such engine.
    """
    client = connect()
    try:
        client.images.get(image)
    except ImageNotFound:
        try:
            client.images.pull(image)
        except DockerException as error:
            client.close()
            raise NoDocker(f"the Docker engine cannot pull {image}") from error
    return client


def without_reaper(client: docker.DockerClient) -> None:
    """Disable testcontainers' reaper if its image is missing; `sweep` then does its work at the next start."""
    from testcontainers.core.config import testcontainers_config  # noqa: PLC0415 - imports the engine's settings

    try:
        client.images.get(testcontainers_config.ryuk_image)
    except ImageNotFound:
        testcontainers_config.ryuk_disabled = True


def alive(owner: str) -> bool:
    """Tell whether the process that started a container still exists on this machine."""
    try:
        os.kill(int(owner), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True


def sweep(client: docker.DockerClient) -> None:
    """Remove containers that a killed test run left behind."""
    for container in client.containers.list(all=True, filters={"label": OWNER}):
        if not alive(container.labels[OWNER]):
            container.remove(force=True, v=True)


def settings(port: int, controller_port: int) -> dict[str, str]:
    """Return the image's variables for one node that advertises a loopback port of the host."""
    return {
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_NODE_ID": "1",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": f"1@localhost:{controller_port}",
        "KAFKA_LISTENERS": f"BROKER://:{port},CONTROLLER://:{controller_port}",
        "KAFKA_ADVERTISED_LISTENERS": f"BROKER://127.0.0.1:{port}",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_INTER_BROKER_LISTENER_NAME": "BROKER",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS": "5",
        "KAFKA_TRANSACTION_STATE_LOG_NUM_PARTITIONS": "5",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS": "1000",
        "KAFKA_BROKER_SESSION_TIMEOUT_MS": "3000",
        "KAFKA_BROKER_HEARTBEAT_INTERVAL_MS": "500",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
        "KAFKA_HEAP_OPTS": "-Xms256m -Xmx512m",
    }


class DockerCluster:
    """A single Kafka node in a container that can be stopped, killed, paused and started again with its data.

    Raises:
        NoDocker: see `engine_with`.
    """

    kind = "apache-kafka-docker"
    replication = 1

    def __init__(self) -> None:
        client = engine_with(IMAGE)
        without_reaper(client)
        sweep(client)
        client.close()
        from testcontainers.core.container import DockerContainer  # noqa: PLC0415 - after the reaper is configured

        self.port = free_port()
        self.brokers = f"127.0.0.1:{self.port}"
        container = DockerContainer(IMAGE).with_kwargs(labels={OWNER: str(os.getpid())})
        container.ports = {f"{self.port}/tcp": ("127.0.0.1", self.port)}  # with_bind_ports cannot bind loopback only
        for name, value in settings(self.port, free_port()).items():
            container = container.with_env(name, value)
        self._container = container
        self._created = False

    def start(self) -> None:
        """Start the broker, if it does not run, and wait until it is in service."""
        if self._created:
            self._container.get_wrapped_container().start()
        else:
            self._container.start()
            self._created = True
        deadline = time.monotonic() + START_SECONDS
        while not brokers_in_service(self.port):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{IMAGE} does not answer; its log ends with:\n{self.log()}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop the broker in order; its data stay."""
        self._container.get_wrapped_container().stop(timeout=30)

    def kill(self) -> None:
        """SIGKILL the broker; its data stay."""
        self._container.get_wrapped_container().kill()

    def pause(self) -> None:
        """Freeze the container: connections stay open and nothing answers."""
        self._container.get_wrapped_container().pause()

    def resume(self) -> None:
        """End a pause, if the container is paused."""
        wrapped = self._container.get_wrapped_container()
        wrapped.reload()
        if wrapped.status == "paused":
            wrapped.unpause()

    def log(self) -> str:
        """Return the end of the container's output."""
        return str(self._container.get_wrapped_container().logs(tail=40).decode(errors="replace"))

    def close(self) -> None:
        """End the broker and remove its container and data."""
        if self._created:
            self._container.stop(force=True, delete_volume=True)
