"""A real Redis master with a replica on loopback, with sentinels or without, whose roles a test can exchange."""

import signal
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from subprocess import DEVNULL, Popen

import redis

from support.certificates import Authority
from support.redis.cluster import until
from support.redis.secured import PASSWORD, SecuredRedis
from support.redis.server import free_port, launch, redis_binary, wait_until_it_answers

NAME = "histories"
"""The master's name for the sentinels."""
DOWN_AFTER_MS = 400
"""Sentinels take a master that does not answer for so long as down."""
SENTINELS = 3
QUORUM = 2


class Server:
    """One server, which can be killed and started again; it writes nothing to disk."""

    def __init__(self, folder: Path, settings: Sequence[str] = ()) -> None:
        folder.mkdir()
        self._folder = folder
        self._settings = ("--repl-diskless-sync-delay", "0", *settings)
        for _ in range(10):
            self.port = free_port()
            if self.start():
                break
        self.client = redis.Redis(port=self.port, socket_timeout=5)

    def start(self, settings: Sequence[str] = (), *, loading: bool = False) -> bool:
        """Start it; return False if its port was taken meanwhile. With `loading`, wait only until it loads its data."""
        self.process = launch(self._folder, self.port, (*self._settings, *settings))
        if loading:
            until("the server loads", lambda: self.client.info("persistence")["loading"])
            return True
        return wait_until_it_answers(self.process, self.port, None)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def follow(self, master: "Server | None") -> None:
        """Make it a replica of another one, or a master."""
        if master is None:
            self.client.replicaof("NO", "ONE")
        else:
            self.client.replicaof("127.0.0.1", str(master.port))

    def await_following(self) -> None:
        """Wait until it is a replica in sync with its master."""
        until("the replica follows", lambda: self.client.info("replication").get("master_link_status") == "up")

    def await_role(self, role: str) -> None:
        until(f"port {self.port} is a {role}", lambda: self.client.info("replication").get("role") == role)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)
        if number is signal.SIGKILL:
            self.process.wait(10)

    def end(self) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait(10)


class Pair:
    """A master and its replica, and the sentinels that watch them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._servers: list[Server] = []
        self._sentinels: list[Popen[bytes]] = []
        self._sentinel_ports: list[int] = []

    @property
    def master(self) -> Server:
        """The server that was the master first."""
        return self._servers[0]

    @property
    def replica(self) -> Server:
        """The server that was the replica first."""
        return self._servers[1]

    @property
    def url(self) -> str:
        """The URL of the master that the sentinels know."""
        return f"redis+sentinel://{','.join(f'127.0.0.1:{port}' for port in self._sentinel_ports)}/{NAME}/0"

    def begin(self, settings: Sequence[str]) -> None:
        """Start both servers, one as the other's replica."""
        for name in ("first", "second"):
            self._servers.append(Server(self._folder / name, settings))
        self.replica.follow(self.master)
        self.replica.await_following()

    def watch(self) -> None:
        """Start the sentinels, and wait until each of them knows the others and the replica."""
        for _ in range(SENTINELS):
            self._start_sentinel()
        until("the sentinels know each other", lambda: all(map(self._knows_all, self._sentinel_ports)))

    def _start_sentinel(self) -> None:
        folder = self._folder / f"sentinel-{len(self._sentinels)}"
        folder.mkdir()
        port, configuration = free_port(), folder / "sentinel.conf"
        configuration.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {folder}\n"
            f"sentinel monitor {NAME} 127.0.0.1 {self.master.port} {QUORUM}\n"
            f"sentinel down-after-milliseconds {NAME} {DOWN_AFTER_MS}\nsentinel failover-timeout {NAME} 1000\n"
        )
        process = Popen([redis_binary(), str(configuration), "--sentinel"], stdout=DEVNULL, stderr=DEVNULL)
        self._sentinels.append(process)
        self._sentinel_ports.append(port)
        assert wait_until_it_answers(process, port, None), f"the sentinel's port {port} was taken"

    @staticmethod
    def _knows_all(port: int) -> bool:
        with redis.Redis(port=port, decode_responses=True) as client:
            state = client.sentinel_master(NAME)
        return (state["num-other-sentinels"], state["num-slaves"]) == (SENTINELS - 1, 1)

    def await_named(self, master: Server) -> None:
        """Wait until every sentinel names this master: before, it takes back what comes up again as a replica."""
        until("the sentinels name the new master", lambda: all(_names(port, master) for port in self._sentinel_ports))

    def await_watched(self) -> None:
        """Wait until every sentinel knows the replica as up, so that it can replace the master."""
        until("the sentinels know the replica as up", lambda: all(map(_watches_a_replica, self._sentinel_ports)))

    def end(self) -> None:
        for process in self._sentinels:
            process.kill()
            process.wait(10)
        for server in self._servers:
            server.end()


def _names(port: int, master: Server) -> bool:
    with redis.Redis(port=port, decode_responses=True) as client:
        state = client.sentinel_master(NAME)
    return (state["port"], state["flags"]) == (master.port, "master")


def _watches_a_replica(port: int) -> bool:
    with redis.Redis(port=port, decode_responses=True) as client:
        return [one["flags"] for one in client.sentinel_slaves(NAME)] == ["slave"]


@contextmanager
def redis_pair(*settings: str, sentinels: bool = False) -> Iterator[Pair]:
    """Yield a master and its replica, which follows it; `settings` are further arguments of both servers."""
    with tempfile.TemporaryDirectory(prefix="redis-pair-") as name:
        pair = Pair(Path(name))
        try:
            pair.begin(settings)
            if sentinels:
                pair.watch()
            yield pair
        finally:
            pair.end()


@contextmanager
def secured_sentinel(server: SecuredRedis, authority: Authority, password: str) -> Iterator[int]:
    """Yield the port of a sentinel of a secured server that accepts TLS and a password only."""
    certificate, key = authority.vouch("sentinel", "IP:127.0.0.1")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="sentinel-") as name:
        configuration = Path(name) / "sentinel.conf"
        configuration.write_text(
            f"port 0\ntls-port {port}\nbind 127.0.0.1\ndir {name}\ntls-replication yes\ntls-auth-clients no\n"
            f"tls-cert-file {certificate}\ntls-key-file {key}\ntls-ca-cert-file {authority.file}\n"
            f"requirepass {password}\nsentinel monitor {NAME} 127.0.0.1 {server.port} 1\n"
            f"sentinel auth-user {NAME} admin\nsentinel auth-pass {NAME} {PASSWORD}\n"
        )
        process = Popen([redis_binary(), str(configuration), "--sentinel"], stdout=DEVNULL, stderr=DEVNULL)
        client = redis.Redis("127.0.0.1", port, password=password, ssl=True, ssl_ca_certs=authority.file)
        try:
            until("the sentinel reaches its master", lambda: not client.sentinel_master(NAME)["is_disconnected"])
            yield port
        finally:
            client.close()
            process.kill()
            process.wait(10)
