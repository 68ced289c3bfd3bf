"""Three Apache Kafka nodes from jars on loopback: each can be stopped, killed and paused, and is found by its role."""

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from confluent_kafka import ElectionType, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, PartitionMetadata

from fraudstream.demo.services.processes import free_port
from support.kafka.cluster import VARIABLE
from support.kafka.jars import VERSION, JarsCluster, Layout, NoJars, new_cluster_id, resolve_jars, tools_classpath
from support.kafka.wire import active_controller, coordinator

IDS = (1, 2, 3)
HEAP_MB = 256
LOOK_UP_SECONDS = 30.0
SYNC_SECONDS = 90.0
TOOL_SECONDS, REASSIGNMENT_TRIES = 45.0, 4
IDLE_MS = 600_000
"""After which a broker closes a connection that nobody uses, by default."""
_NOT_ELECTED = {KafkaError.ELECTION_NOT_NEEDED, KafkaError.PREFERRED_LEADER_NOT_AVAILABLE}
Answer = TypeVar("Answer")


class ThreeBrokers:
    """Three nodes, each broker and controller; `nodes` has them by their ids.

    Raises:
        NoJars: see `resolve_jars`.
    """

    kind = "apache-kafka-jars"
    replication = len(IDS)

    def __init__(self, version: str = VERSION, idle_ms: int = IDLE_MS) -> None:
        ports = {node: free_port() for node in IDS}
        voters = ",".join(f"{node}@127.0.0.1:{port}" for node, port in ports.items())
        cluster_id = new_cluster_id()

        def made(node: int) -> JarsCluster:
            values = {"node": node, "voters": voters, "controller_port": ports[node], "idle_ms": idle_ms}
            layout = Layout("replicated.properties", values, heap_mb=HEAP_MB, cluster_id=cluster_id, version=version)
            return JarsCluster(layout)

        with ThreadPoolExecutor(len(IDS)) as pool:
            self.nodes: Mapping[int, JarsCluster] = dict(zip(IDS, pool.map(made, IDS), strict=True))
        self._find()

    def _find(self) -> None:
        self.brokers = ",".join(node.brokers for node in self.nodes.values())
        self._admin = AdminClient({"bootstrap.servers": self.brokers, "log_level": 0})

    def start(self) -> None:
        """Start all nodes that do not run, end pauses, and wait until each knows all brokers."""
        for node in self.nodes.values():
            node.resume()
            node.launch()
        for node in self.nodes.values():
            node.await_in_service(len(IDS))

    def close(self) -> None:
        """End all nodes and remove their data."""
        for node in self.nodes.values():
            node.close()

    def create(self, topic: str, leaders: Sequence[int]) -> None:
        """Create a topic without replicas, each partition on the broker that is named for it."""
        made = NewTopic(topic, len(leaders), replica_assignment=[[node] for node in leaders])
        for done in self._admin.create_topics([made]).values():
            done.result(LOOK_UP_SECONDS)

    # --- what operators move

    def move(self, node: int) -> None:
        """Give a broker that does not run another port, which clients have to find."""
        self.nodes[node].move()
        self._find()

    def reassign(self, wanted: Mapping[tuple[str, int], Sequence[int]]) -> None:
        """Begin to give partitions other replicas, as `kafka-reassign-partitions` does, while others may be moved.

        While a broker goes away, the tool may wait for longer than its limit; the same moves can be asked for again.
        """
        moves = [
            {"topic": topic, "partition": number, "replicas": list(nodes)} for (topic, number), nodes in wanted.items()
        ]
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump({"version": 1, "partitions": moves}, file)
            file.flush()
            tool = ["org.apache.kafka.tools.reassign.ReassignPartitionsCommand", "--bootstrap-server", self.brokers]
            tool += ["--reassignment-json-file", file.name, "--execute", "--additional"]
            command = ["java", "-XX:TieredStopAtLevel=1", "-cp", tools_classpath(), *tool]
            outcomes: list[str] = []
            while (outcome := _run_tool(command)) is not None:
                outcomes.append(outcome)
                assert len(outcomes) < REASSIGNMENT_TRIES, "\n".join(outcomes)

    def elect_preferred(self, topic: str) -> None:
        """Let the first replica of each partition lead it, where it does not and is in sync."""
        partitions = [TopicPartition(topic, number) for number in self._partitions(topic)]
        outcomes = self._admin.elect_leaders(ElectionType.PREFERRED, partitions).result(LOOK_UP_SECONDS)
        failed = [one for one in outcomes.values() if one is not None and one.code() not in _NOT_ELECTED]
        assert not failed, failed

    # --- who does what; each waits for an answer

    def leaders(self, topic: str) -> dict[int, int]:
        """Return the id of the leader of each partition; -1 where there is none."""
        return {number: one.leader for number, one in self._partitions(topic).items()}

    def in_sync(self, topic: str) -> dict[int, frozenset[int]]:
        """Return the ids of the replicas of each partition that are in sync."""
        return {number: frozenset(one.isrs) for number, one in self._partitions(topic).items()}

    def await_in_sync(self, *topics: str) -> None:
        """Wait until all replicas of these topics are in sync, so that the next fault meets a whole cluster."""
        whole = frozenset(IDS)
        self._ask(
            lambda: all(one == whole for topic in topics for one in self.in_sync(topic).values()) or None, SYNC_SECONDS
        )

    def controller(self) -> int:
        """Return the id of the active controller."""
        return self._ask(lambda: self._first(active_controller))

    def coordinator(self, group: str) -> int:
        """Return the id of the broker that coordinates a group."""
        return self._ask(lambda: self._first(lambda port: coordinator(port, group)))

    def _partitions(self, topic: str) -> Mapping[int, PartitionMetadata]:
        def listed() -> Mapping[int, PartitionMetadata] | None:
            try:
                return dict(self._admin.list_topics(topic, timeout=5).topics[topic].partitions) or None
            except KafkaException:
                return None

        return self._ask(listed)

    def _first(self, question: Callable[[int], Answer | None]) -> Answer | None:
        answers = (question(node.port) for node in self.nodes.values())
        return next((answer for answer in answers if answer is not None), None)

    @staticmethod
    def _ask(question: Callable[[], Answer | None], seconds: float = LOOK_UP_SECONDS) -> Answer:
        deadline = time.monotonic() + seconds
        while (answer := question()) is None:
            assert time.monotonic() < deadline, f"not answered within {seconds:g} s"
            time.sleep(0.1)
        return answer


def _run_tool(command: Sequence[str]) -> str | None:
    """Run a program in Java; return what it said if it failed, and what each of its threads did if it did not end."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            said, _ = process.communicate(timeout=TOOL_SECONDS)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGQUIT)  # Java prints its threads
            time.sleep(1)
            process.kill()
            return f"not done within {TOOL_SECONDS:g} s:\n{process.communicate()[0]}"
    return None if process.returncode == 0 else said


def require_jars(version: str = VERSION) -> None:
    """Make sure that three brokers of a version can be started.

    Raises:
        NoJars: there are none, or another kind of cluster is asked for.
    """
    if (wanted := os.environ.get(VARIABLE, "")) not in {"", "apache", "jars"}:
        raise NoJars(f"{VARIABLE}={wanted}")
    resolve_jars(version=version)


@contextmanager
def three_brokers(version: str = VERSION, idle_ms: int = IDLE_MS) -> Iterator[ThreeBrokers]:
    """Yield three brokers in service, and remove them afterwards.

    Raises:
        NoJars: see `require_jars`.
    """
    require_jars(version)
    cluster = ThreeBrokers(version, idle_ms)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()
