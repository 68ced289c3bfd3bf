"""The store's connection to a Redis Cluster: scripts on all shards at once, and changes of masters.

A replica that took over may lack what its master had not replicated yet, and nothing tells how much: so every failover
counts as a loss, a planned one too. A shard that was migrated from master to master took its keys along.
`features.redis.cluster_client` routes the commands.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from features.errors import StoreRefusedError, StoreUnavailableError
from features.redis.client import SCRIPTS, drop_connections, encode_command, script_text, translated
from features.redis.cluster_client import ClusterClient, ClusterServer
from features.redis.cluster_deletions import ClusterDeletions
from features.redis.connection import Call, Script
from features.redis.evictions import evicted_keys, refusal_of
from features.redis.keys import KeyLayout
from features.redis.topology import Master, Owner, Servers, Topology, read_master


class _ClusterView(NamedTuple):
    """A view of the cluster: topology, the connections to the needed servers, and the master of each shard.

    `refusal` says why one of them must not be used, `evicted` how many keys each has evicted, by run id.
    """

    topology: Topology
    servers: tuple[ClusterServer, ...]
    masters: tuple[Master, ...]
    refusal: str | None
    evicted: Mapping[str, int]

    @property
    def serving(self) -> Servers:
        """The servers, whatever the connections to them."""
        return Servers(self.masters, self.topology.replicas)


class _Inspected(NamedTuple):
    """What one master says of itself."""

    master: Master
    refusal: str | None
    evicted: Mapping[str, int]


class ClusterConnection:
    """Connections to the masters that serve the shards, see `Connection`; each waits `timeout_s` for an answer."""

    def __init__(self, url: str, layout: KeyLayout, timeout_s: float) -> None:
        self._client = ClusterClient(url, layout.slots, timeout_s)
        self.where = self._client.where
        self._layout = layout
        texts = {name: script_text(name).encode() for name in SCRIPTS}
        self._loads = {name: encode_command(b"SCRIPT", b"LOAD", text) for name, text in texts.items()}
        self._digests = {name: hashlib.sha1(text, usedforsecurity=False).hexdigest() for name, text in texts.items()}
        self._trusted: _ClusterView | None = None
        self._seen: _ClusterView | None = None
        self._inspections = self._seen_inspection = 0

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

    async def check_server(self) -> None:
        """Refuse masters that are not usable, and trust those that serve now."""
        self._client.forget()
        self._seen = await self._inspect()
        if self._seen.refusal is not None:
            raise StoreRefusedError(self._seen.refusal)
        shards_by_master = list((await self._client.shards_by_master()).values())
        await self._client.execute([(shard, load) for shard in shards_by_master for load in self._loads.values()])
        for shard in shards_by_master:
            await self._try_commands(shard)
        self.trust()

    async def _try_commands(self, shard: int) -> None:
        """Run a batch's commands on an unused key: a missing permission must show at start-up."""
        key = self._layout.epochs[shard] + b":tried"
        noted = key + b":noted"
        tried = (
            *((b"SET", key, b""), (b"APPEND", key, b""), (b"GETRANGE", key, 0, 0), (b"GET", key), (b"PEXPIRE", key, 1)),
            *((b"HSET", noted, b"f", b"v"), (b"HGET", noted, b"f"), (b"HGETALL", noted)),
            (b"PEXPIRE", noted, 1),
        )
        await self._client.execute([(shard, encode_command(*command)) for command in tried])
        await self.run("trim", [Call(shard, (key, key), (b"no base", b"", 0, b"", b"not this"))])

    async def values(self, keys: Sequence[tuple[int, bytes]]) -> list[bytes | None]:
        """Fetch whole values."""
        places: dict[int, list[int]] = {}
        for place, (shard, _) in enumerate(keys):
            places.setdefault(shard, []).append(place)
        commands = [
            (shard, encode_command(b"MGET", *[keys[place][1] for place in mine])) for shard, mine in places.items()
        ]
        found: list[bytes | None] = [None] * len(keys)
        for mine, values in zip(places.values(), await self._client.execute(commands), strict=True):
            for place, value in zip(mine, values, strict=True):
                found[place] = value
        return found

    async def set(self, shard: int, key: bytes, value: str) -> None:
        """Set one value."""
        await self._client.execute([(shard, encode_command(b"SET", key, value))])

    async def run(self, script: Script, calls: Sequence[Call]) -> list[Any]:
        """Call a script on all shards concurrently."""
        digest = self._digests[script]
        commands = [
            (call.shard, encode_command(b"EVALSHA", digest, len(call.keys), *call.keys, *call.arguments))
            for call in calls
        ]
        return await self._client.execute(commands, self._loads[script])

    async def loss_reason(self, *, recheck: bool = False) -> str | None:
        """Say why a shard may have lost records: a replica took over, or its master was restarted."""
        topology, seen = await self._client.topology(), self._seen
        if recheck or seen is None or topology != seen.topology or any(server.reconnected for server in seen.servers):
            self._inspections += 1
            inspection, seen = self._inspections, await self._inspect()
            if inspection > self._seen_inspection:  # else a later inspection has finished already
                self._seen, self._seen_inspection = seen, inspection
        if self._trusted is None or self._seen is None or self._seen == self._trusted:
            return None
        why = self._trusted.serving.loss_reason(self._seen.serving)
        if why is None:
            self.trust()
        return why

    def refusal(self) -> str | None:
        """Say why a master must not be used as it was last inspected."""
        return None if self._seen is None else self._seen.refusal

    def evicted_keys(self) -> Mapping[str, int]:
        """Return how many keys each master has evicted, as it was last inspected."""
        return {} if self._seen is None else self._seen.evicted

    def deletions(self) -> ClusterDeletions:
        """Return subscriptions to deletions on all masters."""
        return ClusterDeletions(self._client)

    def identity(self) -> None:
        """Return None: what one master still has says nothing about the others."""

    def trusted(self) -> Servers | None:
        """Return the trusted masters."""
        return None if self._trusted is None else self._trusted.serving

    def trust(self) -> None:
        """Trust the masters that were last inspected."""
        self._trusted = self._seen

    async def _inspect(self) -> _ClusterView:
        """Read the identity of all masters, and whether they may be used."""
        topology = await self._client.topology()
        try:
            found = {owner: await self._inspect_master(owner) for owner in topology.masters}
        except StoreUnavailableError:
            self._client.forget()  # its slots may have another master by now
            raise
        servers = tuple(self._client.server(owner.address) for owner in found)
        masters = tuple(found[owner].master for owner in topology.owners)
        refusals = [one.refusal for one in found.values() if one.refusal is not None]
        evicted = {run: count for one in found.values() for run, count in one.evicted.items()}
        return _ClusterView(topology, servers, masters, refusals[0] if refusals else None, evicted)

    async def _inspect_master(self, owner: Owner) -> _Inspected:
        server = self._client.server(owner.address)
        connections = server.connections
        with translated(server.where):
            info: Any = await server.client.info()
        server.inspected = max(server.inspected, connections)
        found = read_master(owner.node_id, info)
        if found is None:
            await drop_connections(server.client)  # its name may lead to another server by now
            raise StoreUnavailableError(f"{server.where}: the server is no longer a master; try again")
        refusal = refusal_of(info, str(info.get("maxmemory_policy", "unknown")), server.where)
        return _Inspected(found, refusal, evicted_keys(info))
