"""A real Redis Cluster on loopback, of masters with a replica each or without, and the faults that it can have.

It writes to disk only what a test saves, and is removed at the end of its context.
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

from support.redis.server import free_port, launch, redis_binary, wait_until_it_answers

SLOTS = 16384
NODE_TIMEOUT_MS = 800
"""A master that does not answer for so long counts as failed, and its replica takes over."""
BUS = 10_000
"""Offset of a node's cluster bus port from its client port."""
WAIT_SECONDS = 30.0


def until(what: str, holds: Callable[[], object]) -> None:
    """Wait until a condition holds; while a server is unavailable, it does not."""
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
    """One server, which can be killed, stopped, continued and started again under the same port and name."""

    def __init__(self, folder: Path, settings: Sequence[str], binary: str, *, secure: bool = False) -> None:
        self._folder = folder
        self._binary = binary
        self.secure_port = _port() if secure else 0
        self._settings = ("--cluster-enabled", "yes", "--cluster-node-timeout", str(NODE_TIMEOUT_MS), *settings)
        self._settings += ("--repl-diskless-sync-delay", "0")
        if secure:
            self._settings += ("--tls-port", str(self.secure_port), "--tls-cluster", "yes", "--tls-replication", "yes")
        for _ in range(10):
            self.port = _port()
            self.process = launch(folder, self.port, self._settings, binary)
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
        """Start it again with the same settings; its own file names the other nodes."""
        self.process = launch(self._folder, self.port, self._settings, self._binary)
        if not wait_until_it_answers(self.process, self.port, None):
            raise OSError(f"the server on port {self.port} did not come back")

    def end(self) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait(10)


def _port() -> int:
    """Return a free port whose cluster bus port is free too."""
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
    """The nodes of a cluster, of which others may become masters; if `secure`, they also listen with TLS and use it."""

    def __init__(self, folder: Path, settings: Sequence[str], binary: str, *, secure: bool = False) -> None:
        self._secure = secure
        self.nodes: list[Node] = []
        self._folder = folder
        self._binary = binary
        self._settings = settings
        self._replicas = False

    @property
    def url(self) -> str:
        """The URL for a worker, with the first two nodes."""
        return f"redis+cluster://{','.join(f'127.0.0.1:{node.port}' for node in self.nodes[:2])}"

    @property
    def secure_url(self) -> str:
        """The URL of the first node's TLS port."""
        return f"rediss+cluster://127.0.0.1:{self.nodes[0].secure_port}"

    @property
    def running(self) -> list[Node]:
        """The nodes that were not killed."""
        return [node for node in self.nodes if node.process.poll() is None]

    def begin(self, masters: int, *, replicas: bool) -> None:
        """Make the cluster: the masters share the slots, and each has a replica if `replicas`."""
        self._replicas = replicas
        nodes = [self.start() for _ in range(masters * (1 + replicas))]
        for number, node in enumerate(nodes):
            node.do("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        self._meet()
        bounds = [number * SLOTS // masters for number in range(masters + 1)]
        for node, (first, behind) in zip(nodes, itertools.pairwise(bounds), strict=False):
            node.do("CLUSTER", "ADDSLOTS", *range(first, behind))
        for master, replica in zip(nodes, nodes[masters:], strict=False):
            replica.do("CLUSTER", "REPLICATE", master.node_id)
        self.settle()

    def start(self) -> Node:
        """Start another node, which has not joined yet."""
        folder = self._folder / str(len(self.nodes))
        folder.mkdir()
        self.nodes.append(Node(folder, self._settings, self._binary, secure=self._secure))
        return self.nodes[-1]

    def add(self) -> Node:
        """Let another master join, which has no slots yet."""
        node = self.start()
        self._meet()
        self.settle()
        return node

    def _meet(self) -> None:
        for node in self.nodes[1:]:
            node.do("CLUSTER", "MEET", "127.0.0.1", self.nodes[0].secure_port or self.nodes[0].port)
        all_of_them = f"cluster_known_nodes:{len(self.nodes)}"
        until("all know all", lambda: all(all_of_them in node.do("CLUSTER", "INFO") for node in self.running))

    def settle(self) -> None:
        """Wait until all running nodes agree on the owners of the slots, and every replica follows its master."""
        until("the cluster is in order", self._in_order)

    def _in_order(self) -> bool:
        views = [node.do("CLUSTER", "SLOTS") for node in self.running]
        owners = {node_id for _, _, (_, _, node_id, *_), *_ in views[0]}
        agreed = all({node_id for _, _, (_, _, node_id, *_), *_ in view} == owners for view in views)
        return agreed and all(self._is_in_place(node, owners) for node in self.running)

    def _is_in_place(self, node: Node, owners: set[str]) -> bool:
        if "cluster_state:ok" not in node.do("CLUSTER", "INFO"):
            return False
        if node.node_id in owners or not self._replicas:
            return node.info("role") == "master"
        return node.info("master_link_status") == "up"

    def owner(self, slot: int) -> Node:
        """Return the node that serves a slot, as the first running node states."""
        for first, last, (_, _, node_id, *_), *_ in self.running[0].do("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(node for node in self.nodes if node.node_id == node_id)
        raise LookupError(f"nobody serves slot {slot}")

    def replica_of(self, master: Node) -> Node:
        """Return a replica of a master."""
        ports = {str(master.port), str(master.secure_port)}
        return next(node for node in self.running if node is not master and node.info("master_port") in ports)

    def moving(self, slot: int, to: Node) -> Iterator[None]:
        """Migrate a slot to another master as redis-cli does; yield before and after each key."""
        source = self.owner(slot)
        to.do("CLUSTER", "SETSLOT", slot, "IMPORTING", source.node_id)
        source.do("CLUSTER", "SETSLOT", slot, "MIGRATING", to.node_id)
        yield
        while keys := source.do("CLUSTER", "GETKEYSINSLOT", slot, 1):
            source.do("MIGRATE", "127.0.0.1", to.port, "", 0, 5000, "KEYS", *keys)
            yield
        for node in (to, source, *(node for node in self.running if node.info("role") == "master")):
            node.do("CLUSTER", "SETSLOT", slot, "NODE", to.node_id)

    def taken_over(self, replica: Node) -> None:
        """Wait until a replica serves in its master's place."""
        until("the replica took over", lambda: replica.info("role") == "master")

    def restore(self) -> None:
        """Start again what was killed, and continue what was stopped."""
        for node in self.nodes:
            if node.process.poll() is None:
                node.signal(signal.SIGCONT)
            else:
                node.start()
        self.settle()


@contextmanager
def redis_cluster(
    *settings: str, masters: int = 3, replicas: bool = True, binary: str | None = None, secure: bool = False
) -> Iterator[Cluster]:
    """Yield a running cluster; `settings` are further arguments of every server."""
    with tempfile.TemporaryDirectory(prefix="redis-cluster-") as name:
        cluster = Cluster(Path(name), settings, binary or redis_binary(), secure=secure)
        try:
            cluster.begin(masters, replicas=replicas)
            yield cluster
        finally:
            for node in cluster.nodes:
                node.end()
