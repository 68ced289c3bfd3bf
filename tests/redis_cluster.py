"""A real Redis Cluster on loopback: three masters, each with a replica, or masters alone; and what can happen to one.

Nothing here knows what is stored in it; it keeps nothing on disk but what a test asks for, and goes away with its
context.
"""

import itertools
import os
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from redis_server import free_port, launch, wait_until_it_answers

SLOTS = 16384
NODE_TIMEOUT_MS = 800
"""After so long without an answer, a master is held for dead, and its replica takes over."""
BUS = 10_000
"""A node's own port for the others, above its port for clients."""
WAIT_SECONDS = 30.0


def until(what: str, holds: Callable[[], object]) -> None:
    """Wait until something holds; a server that is away at the moment only makes that take longer."""
    end = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < end:
        try:
            if holds():
                return
        except redis.RedisError:
            pass
        time.sleep(0.02)
    raise TimeoutError(f"not within {WAIT_SECONDS} s: {what}")


class Node:
    """One server, which can be killed, stopped, continued and started again under the same port."""

    def __init__(self, folder: Path, settings: Sequence[str]) -> None:
        self.folder = folder
        self._settings = ("--cluster-enabled", "yes", "--cluster-node-timeout", str(NODE_TIMEOUT_MS), *settings)
        for _ in range(10):
            self.port = _port()
            self.process = launch(folder, self.port, self._settings)
            if wait_until_it_answers(self.process, self.port, None):
                break
        self.client = redis.Redis(port=self.port, socket_timeout=5, decode_responses=True)
        self.node_id = self.do("CLUSTER", "MYID")

    def do(self, *command: str | int | bytes) -> Any:
        """Send one command."""
        return self.client.execute_command(*command)

    def info(self, name: str) -> str:
        """Return one field of INFO."""
        return str(self.client.info().get(name))

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)
        if number is signal.SIGKILL:
            self.process.wait(10)

    def start(self) -> None:
        """Start it again as it was; it knows the others from its own file."""
        self.process = launch(self.folder, self.port, self._settings)
        if not wait_until_it_answers(self.process, self.port, None):
            raise OSError(f"the server on port {self.port} did not come back")

    def end(self) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait(10)


def _port() -> int:
    """Return a port that is free, and whose companion for the other nodes is."""
    while True:
        port = free_port()
        if port + BUS < 1 << 16:
            with socket.socket() as probe:
                try:
                    probe.bind(("127.0.0.1", port + BUS))
                except OSError:
                    continue
            return port


class Cluster:
    """Its nodes, the masters of the beginning first and their replicas after them, in the same order."""

    def __init__(self, nodes: Sequence[Node], masters: int) -> None:
        self.nodes = list(nodes)
        self.masters = self.nodes[:masters]
        self.replicas = self.nodes[masters:]

    @property
    def url(self) -> str:
        """The first two of its nodes, as a worker is told."""
        return f"redis+cluster://{','.join(f'127.0.0.1:{node.port}' for node in self.nodes[:2])}"

    @property
    def running(self) -> list[Node]:
        """The nodes that were not killed."""
        return [node for node in self.nodes if node.process.poll() is None]

    def join(self) -> None:
        """Make one cluster of the nodes: the masters share the slots, and each replica follows its master."""
        for number, node in enumerate(self.nodes):
            node.do("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            node.do("CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port)
        bounds = [number * SLOTS // len(self.masters) for number in range(len(self.masters) + 1)]
        for node, (first, behind) in zip(self.masters, itertools.pairwise(bounds), strict=True):
            node.do("CLUSTER", "ADDSLOTS", *range(first, behind))
        all_of_them = f"cluster_known_nodes:{len(self.nodes)}"
        until("all know all", lambda: all(all_of_them in node.do("CLUSTER", "INFO") for node in self.nodes))
        for master, replica in zip(self.masters, self.replicas, strict=False):
            replica.do("CLUSTER", "REPLICATE", master.node_id)
        self.settle()

    def settle(self) -> None:
        """Wait until every node that runs finds the cluster in order, and every replica follows."""
        until("the cluster is in order", lambda: all(map(_in_order, self.running)))

    def owner(self, slot: int) -> Node:
        """Return who serves a slot, by what the first of the nodes that run says."""
        for first, last, (_, _, node_id, *_), *_ in self.running[0].do("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(node for node in self.nodes if node.node_id == node_id)
        raise LookupError(f"nobody serves slot {slot}")

    def move(self, slot: int, to: Node) -> None:
        """Hand a slot to another master, key by key, as an operator's tool does."""
        for _ in self.moving(slot, to):
            pass

    def moving(self, slot: int, to: Node) -> Iterator[None]:
        """Hand a slot over, with a pause before the first key, behind each, and before all are told."""
        source = self.owner(slot)
        to.do("CLUSTER", "SETSLOT", slot, "IMPORTING", source.node_id)
        source.do("CLUSTER", "SETSLOT", slot, "MIGRATING", to.node_id)
        yield
        while keys := source.do("CLUSTER", "GETKEYSINSLOT", slot, 1):
            source.do("MIGRATE", "127.0.0.1", to.port, "", 0, 5000, "KEYS", *keys)
            yield
        for node in (to, source, *(node for node in self.running if node.info("role") == "master")):
            node.do("CLUSTER", "SETSLOT", slot, "NODE", to.node_id)

    def fail_over(self, master: Node) -> Node:
        """Kill a master, wait until its replica serves in its place, and return that."""
        replica = self.replicas[self.masters.index(master)]
        master.signal(signal.SIGKILL)
        until("the replica took over", lambda: replica.info("role") == "master")
        self.settle()
        return replica


def _in_order(node: Node) -> bool:
    if "cluster_state:ok" not in node.do("CLUSTER", "INFO"):
        return False
    return node.info("role") == "master" or node.info("master_link_status") == "up"


@contextmanager
def redis_cluster(*settings: str, masters: int = 3, replicas: bool = True) -> Iterator[Cluster]:
    """Yield a running cluster; `settings` are further arguments of every server."""
    nodes: list[Node] = []
    with tempfile.TemporaryDirectory(prefix="redis-cluster-") as name:
        try:
            for number in range(masters * (1 + replicas)):
                folder = Path(name) / str(number)
                folder.mkdir()
                nodes.append(Node(folder, settings))
            cluster = Cluster(nodes, masters)
            cluster.join()
            yield cluster
        finally:
            for node in nodes:
                node.end()
