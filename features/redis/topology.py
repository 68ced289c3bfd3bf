"""The topology of a Redis Cluster: its masters and replicas, and which changes of them mean a loss.

A slot that is migrated from master to master takes its keys along; one whose replica took over may lack what the
replica had not received yet. The cluster says which server has a slot, and a server how it came to be a master.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from features.errors import StoreUnavailableError
from features.redis.urls import Address

NO_REPLICATION = "0"
"""A server's replication id, in forty of these or as a number, if it was in no replication before."""


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


def read_master(node_id: str, reply: Mapping[str, Any]) -> Master | None:
    """Parse a server's INFO; None if it is no master now."""
    if reply.get("role") != "master":
        return None
    promoted = bool(str(reply.get("master_replid2", NO_REPLICATION)).strip(NO_REPLICATION))
    return Master(node_id, str(reply.get("run_id")), str(reply.get("master_replid")), promoted)


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


def read_servers(text: bytes) -> Servers | None:
    """Parse the stored form; None if that is not possible."""
    try:
        fields, indexes, replicas = json.loads(text)
        masters = [Master(str(name), str(run), str(lead), bool(promoted)) for name, run, lead, promoted in fields]
        return Servers(tuple(masters[index] for index in indexes), frozenset(map(str, replicas)))
    except (ValueError, TypeError, IndexError):
        return None


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
