"""The topology of a Redis Cluster: its URL, its masters and replicas, and which changes of them mean a loss.

A slot that is migrated from master to master takes its keys along; one whose replica took over may lack what the
replica had not received yet. The cluster says which server has a slot, and a server how it came to be a master. A URL
is `redis+cluster://user:password@host:port,host:port?options`, or `rediss+cluster://`; any of the servers will do,
since each knows the others.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from features.errors import StoreUnavailableError

NO_REPLICATION = "0"
"""A server's replication id, in forty of these or as a number, if it was in no replication before."""
SCHEMES = {"redis+cluster": "redis", "rediss+cluster": "rediss"}
"""The scheme of each single server's URL, by the cluster's."""
DEFAULT_PORT = 6379
_USAGE = "use redis+cluster://host:port,host:port"


class Address(NamedTuple):
    """Host and port of a server."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return it as in a URL."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Owner(NamedTuple):
    """A master, by its node id, which it keeps as long as it belongs to the cluster."""

    node_id: str
    address: Address


class Topology(NamedTuple):
    """The master of each of some slots, and the node ids of all replicas."""

    owners: tuple[Owner, ...]
    replicas: frozenset[str]

    @property
    def masters(self) -> list[Owner]:
        """The owners, each once."""
        return list(dict.fromkeys(self.owners))


def read_topology(reply: Sequence[Any], slots: Sequence[int], asked: Address) -> Topology:
    """Parse a reply to CLUSTER SLOTS; a server that does not know its own host has the address that was asked.

    Raises:
        StoreUnavailableError: one of `slots` has no master.
    """
    owners: dict[int, Owner] = {}
    replicas = set()
    for first, last, serving, *others in reply:
        owner = Owner(_text(serving[2]), Address(_text(serving[0] or b"") or asked.host, int(serving[1])))
        replicas |= {_text(other[2]) for other in others}
        owners |= {slot: owner for slot in slots if first <= slot <= last}
    unserved = sorted(set(slots) - owners.keys())
    if unserved:
        raise StoreUnavailableError(f"{asked}: no master serves slot {unserved[0]} and {len(unserved) - 1} others")
    return Topology(tuple(owners[slot] for slot in slots), frozenset(replicas))


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


class Master(NamedTuple):
    """A master's identity: node id, process, the replication that it leads, and whether it was a replica before."""

    node_id: str
    run_id: str
    replication_id: str
    promoted: bool


def read_master(node_id: str, info: Mapping[str, Any]) -> Master | None:
    """Parse a server's INFO; None if it is no master now."""
    if info.get("role") != "master":
        return None
    promoted = bool(str(info.get("master_replid2", NO_REPLICATION)).strip(NO_REPLICATION))
    return Master(node_id, str(info.get("run_id")), str(info.get("master_replid")), promoted)


class Servers(NamedTuple):
    """The servers of a deployment's histories: the master of each shard, and the node ids of all replicas."""

    masters: tuple[Master, ...]
    replicas: frozenset[str] = frozenset()

    @property
    def text(self) -> str:
        """The stored form: each master once, and an index for each shard."""
        masters = list(dict.fromkeys(self.masters))
        return json.dumps([masters, [masters.index(one) for one in self.masters], sorted(self.replicas)])

    def loss_reason(self, now: "Servers") -> str | None:
        """Say why records may be lost with the servers that serve now; None if they cannot be."""
        known = {one.node_id: one for one in self.masters}
        reasons = (_loss_reason(*pair, known, self.replicas) for pair in zip(self.masters, now.masters, strict=True))
        return next((why for why in reasons if why is not None), None)


def read_servers(text: bytes) -> Servers:
    """Parse the stored form."""
    fields, indexes, replicas = json.loads(text)
    masters = [Master(*one) for one in fields]
    return Servers(tuple(masters[index] for index in indexes), frozenset(replicas))


def _loss_reason(before: Master, now: Master, known: Mapping[str, Master], replicas: Collection[str]) -> str | None:
    """Say why a master's records may be lost with the one that serves its slot now; None if they cannot be.

    `known` are the masters seen before, by node id, and `replicas` the node ids of all replicas at that time.
    """
    earlier = before if now.node_id == before.node_id else known.get(now.node_id)
    if earlier is None:
        took_over = now.promoted or now.node_id in replicas
        return f"a replica took over from {before.node_id[:8]}" if took_over else None
    if earlier.run_id != now.run_id:
        return f"{now.node_id[:8]} was restarted"
    if earlier.replication_id != now.replication_id and now.promoted:
        return f"{now.node_id[:8]} was a replica in between"
    return None


def is_cluster(url: str) -> bool:
    """Tell whether a URL is a cluster's."""
    return urlsplit(url).scheme in SCHEMES


def seeds(url: str) -> tuple[Address, ...]:
    """Return the servers in a cluster's URL.

    Raises:
        ValueError: the URL is invalid; says why, without a login.
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
        raise ValueError(f"{text!r} is not host and port: {error}; {_USAGE}") from error
    if not host:
        raise ValueError(f"a server in the URL has no host name; {_USAGE}")
    return Address(host, DEFAULT_PORT if port is None else port)


def server_url(url: str, address: Address) -> str:
    """Return the URL of one server of a cluster, with the login and the options of the cluster's."""
    parts = urlsplit(url)
    login = "".join(parts.netloc.rpartition("@")[:2])
    return parts._replace(scheme=SCHEMES[parts.scheme], netloc=f"{login}{address}", path="").geturl()
