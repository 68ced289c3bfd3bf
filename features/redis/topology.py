"""Who serves a Redis Cluster's slots, and what it means when another server does than before.

A slot that is handed from master to master takes its keys along; one whose replica took over may lack what the replica
had not received yet. The cluster says which server has a slot, and a server how it came to be a master.
Nothing here talks to a server.

How a Redis Cluster is named: `redis+cluster://user:password@host:port,host:port?options`, or `rediss+cluster://`.

Any of its servers will do, since each knows the others. Nothing here connects to one.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from features.errors import StoreUnavailableError

NO_REPLICATION = "0"
"""What a server says, in forty of them or as a number, of the one that it was in before, if it was in none."""
SCHEMES = {"redis+cluster": "redis", "rediss+cluster": "rediss"}
"""And how one server of each is named."""
DEFAULT_PORT = 6379
_EXPECTED = "use redis+cluster://host:port,host:port"


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return what follows `//` in a URL."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Owner(NamedTuple):
    """A master, by the name that it has in the cluster for as long as it belongs to it."""

    node_id: str
    address: Address


class Topology(NamedTuple):
    """Who serves each of some slots, and the names of all replicas."""

    owners: tuple[Owner, ...]
    replicas: frozenset[str]

    @property
    def masters(self) -> list[Owner]:
        """The owners, each once."""
        return list(dict.fromkeys(self.owners))


def read_topology(reply: Sequence[Any], slots: Sequence[int], asked: Address) -> Topology:
    """Read a server's answer to CLUSTER SLOTS; where it does not know its own host, that is the one that was asked.

    Raises:
        StoreUnavailableError: one of `slots` is served by nobody.
    """
    owners: dict[int, Owner] = {}
    replicas = set()
    for first, last, serving, *others in reply:
        owner = Owner(_text(serving[2]), Address(_text(serving[0] or b"") or asked.host, int(serving[1])))
        replicas |= {_text(other[2]) for other in others}
        owners |= {slot: owner for slot in slots if first <= slot <= last}
    unserved = sorted(set(slots) - owners.keys())
    if unserved:
        raise StoreUnavailableError(f"{asked}: nobody serves slot {unserved[0]} and {len(unserved) - 1} others")
    return Topology(tuple(owners[slot] for slot in slots), frozenset(replicas))


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


class Master(NamedTuple):
    """A master as it was met: its name, its process, the replication that it leads, whether it was a replica before."""

    node_id: str
    run_id: str
    replication_id: str
    promoted: bool


def read_master(node_id: str, info: Mapping[str, Any]) -> Master | None:
    """Read a server's INFO; None if it is no master now."""
    if info.get("role") != "master":
        return None
    promoted = bool(str(info.get("master_replid2", NO_REPLICATION)).strip(NO_REPLICATION))
    return Master(node_id, str(info.get("run_id")), str(info.get("master_replid")), promoted)


class Servers(NamedTuple):
    """Who serves a deployment's histories: the master of each shard, and the names of all replicas."""

    masters: tuple[Master, ...]
    replicas: frozenset[str] = frozenset()

    @property
    def text(self) -> str:
        """As it is kept: a master stands for its shards by its place."""
        met = list(dict.fromkeys(self.masters))
        return json.dumps([met, [met.index(one) for one in self.masters], sorted(self.replicas)])

    def loss_reason(self, now: "Servers") -> str | None:
        """Say why what these had may be gone with those that serve now; None where it cannot be."""
        known = {one.node_id: one for one in self.masters}
        reasons = (_loss_reason(*pair, known, self.replicas) for pair in zip(self.masters, now.masters, strict=True))
        return next((why for why in reasons if why is not None), None)


def read_servers(text: bytes) -> Servers:
    """Read what is kept of who served."""
    met, places, replicas = json.loads(text)
    masters = [Master(*one) for one in met]
    return Servers(tuple(masters[place] for place in places), frozenset(replicas))


def _loss_reason(before: Master, now: Master, known: Mapping[str, Master], replicas: Collection[str]) -> str | None:
    """Say why what a master had may be gone with the one that serves its slot now; None where it cannot be.

    `known` are the masters as they were met before, by name, and `replicas` the names of all replicas at that time.
    """
    met = before if now.node_id == before.node_id else known.get(now.node_id)
    if met is None:
        took_over = now.promoted or now.node_id in replicas
        return f"a replica took over from {before.node_id[:8]}" if took_over else None
    if met.run_id != now.run_id:
        return f"{now.node_id[:8]} was started anew"
    if met.replication_id != now.replication_id and now.promoted:
        return f"{now.node_id[:8]} was a replica meanwhile"
    return None


def is_cluster(url: str) -> bool:
    """Tell whether a URL names a cluster."""
    return urlsplit(url).scheme in SCHEMES


def seeds(url: str) -> tuple[Address, ...]:
    """Return the servers that a cluster's URL names.

    Raises:
        ValueError: the URL cannot be used; says why, without a login.
    """
    parts = urlsplit(url)
    if parts.path.strip("/") not in {"", "0"}:
        raise ValueError(f"a Redis Cluster has no databases, but the URL names {parts.path.strip('/')!r}; leave it out")
    return tuple(_address(text) for text in parts.netloc.rpartition("@")[2].split(","))


def _address(text: str) -> Address:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"{text!r} is no host and port: {error}; {_EXPECTED}") from error
    if not host:
        raise ValueError(f"a server of the cluster has no name; {_EXPECTED}")
    return Address(host, DEFAULT_PORT if port is None else port)


def server_url(url: str, address: Address) -> str:
    """Return the URL of one server of a cluster, with the login and the options of the cluster's."""
    parts = urlsplit(url)
    login = "".join(parts.netloc.rpartition("@")[:2])
    return parts._replace(scheme=SCHEMES[parts.scheme], netloc=f"{login}{address}", path="").geturl()
