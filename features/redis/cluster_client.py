"""Sends commands to the masters of a Redis Cluster, many at once, following redirects.

Commands are sent to all masters before any answer is read, so the masters work concurrently. A command that failed
because its slot has moved, or its script is unknown, is sent again; every other retry is the caller's. A change of
masters is not treated as a loss here.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from redis import asyncio as redis_asyncio
from redis import exceptions

from features.errors import StoreError, StoreRefusedError, StoreUnavailableError
from features.redis.client import encode_command, new_client, read_info, translated, translated_error, without_password
from features.redis.topology import Owner, Topology, read_topology
from features.redis.urls import Address, seeds, server_url

ShardCommand = tuple[int, bytes]
"""An index into the client's slots, and a command for the master of that slot."""
TRIES = 4
"""Attempts for a command, each after the cause of the failure was removed."""


class ClusterServer:
    """One server of the cluster; `where` names it in messages.

    `connections` counts its connections so far; `inspected` is that count at the last inspection.
    """

    def __init__(self, url: str, where: str, timeout_s: float) -> None:
        self.where = where
        self.connections = 1
        self.inspected = 0
        self.client = new_client(url, timeout_s, self._greet)
        self.client.set_response_callback("INFO", lambda response, **_: read_info(response))

    async def _greet(self, connection: redis_asyncio.Connection) -> None:
        """Do what redis-py does on a new connection, and count it."""
        self.connections += 1
        await connection.on_connect()

    @property
    def reconnected(self) -> bool:
        """Whether there was a new connection since the last inspection."""
        return self.connections != self.inspected


class ClusterClient:
    """Connections to the masters of `slots` in the cluster at `url`; each waits `timeout_s` for an answer.

    Raises, everywhere:
        StoreRefusedError: the URL is no cluster's, or a server will never do what it is asked.
        StoreUnavailableError: a server does not answer in time, or cannot serve now.
    """

    def __init__(self, url: str, slots: Sequence[int], timeout_s: float) -> None:
        self.where = without_password(url)
        self._url = url
        self._slots = slots
        self._timeout_s = timeout_s
        try:
            self._addresses = list(seeds(url))
        except ValueError as error:
            raise StoreRefusedError(f"{self.where}: {error}") from error
        self._servers: dict[Address, ClusterServer] = {}
        self.server(self._addresses[0])
        self._topology: Topology | None = None

    async def close(self) -> None:
        """Close all connections."""
        for server in self._servers.values():
            await server.client.aclose()

    def forget(self) -> None:
        """Fetch the topology anew before the next command."""
        self._topology = None

    async def topology(self) -> Topology:
        """Return the topology, fetching it from one server after the other where it may have changed."""
        if self._topology is None:
            self._topology = await self._fetch_topology()
            self._addresses += sorted({owner.address for owner in self._topology.owners} - set(self._addresses))
        return self._topology

    async def shards_by_master(self) -> dict[Owner, int]:
        """Return the needed masters, each with the index of one of its slots."""
        return {owner: place for place, owner in enumerate((await self.topology()).owners)}

    async def _fetch_topology(self) -> Topology:
        """Ask the server that was not asked for longest first: one that is cut off has outdated information."""
        problem: StoreUnavailableError | None = None
        for address in dict.fromkeys(self._addresses):
            try:
                found = read_topology(await self._slots_by(address), self._slots, address)
            except StoreUnavailableError as error:
                problem = error
            else:
                self._addresses = [one for one in dict.fromkeys(self._addresses) if one != address] + [address]
                return found
        raise StoreUnavailableError(f"{self.where}: no server returned the cluster's topology: {problem}") from problem

    async def _slots_by(self, address: Address) -> Any:  # noqa: ANN401 - as the protocol has it
        (reply,) = await _exchange([(self.server(address), encode_command(b"CLUSTER", b"SLOTS"))])
        if not isinstance(reply, exceptions.ResponseError):
            return reply
        if "cluster support disabled" in str(reply):
            raise StoreRefusedError(
                f"{self.where}: {address} belongs to no Redis Cluster. For one server set FRAUDSTREAM_REDIS_URL to "
                "redis://."
            )
        raise translated_error(self.where, reply) from reply

    def server(self, address: Address) -> ClusterServer:
        """Return the server at an address."""
        if address not in self._servers:
            where = f"{self.where}, {address}"
            self._servers[address] = ClusterServer(server_url(self._url, address), where, self._timeout_s)
        return self._servers[address]

    async def execute(self, commands: Sequence[ShardCommand], script_load: bytes | None = None) -> list[Any]:
        """Return the replies to commands, in their order, once all are done.

        `script_load` is the command that loads the script which the commands call.
        """
        try:
            return await self._execute(commands, script_load)
        except StoreError:
            self.forget()
            raise

    async def _execute(self, commands: Sequence[ShardCommand], script_load: bytes | None) -> list[Any]:
        replies: list[Any] = [None] * len(commands)
        left: Sequence[int] = range(len(commands))
        for attempt in range(TRIES):
            for place, reply in zip(left, await self._answers([commands[place] for place in left]), strict=True):
                replies[place] = reply
            left = [place for place in left if isinstance(replies[place], exceptions.ResponseError)]
            if not left:
                break
            refusals = {commands[place][0]: replies[place] for place in left}
            unrecovered = await self._recover(refusals, script_load)
            if unrecovered is not None or attempt + 1 == TRIES:
                refusal = unrecovered or replies[left[0]]
                raise translated_error(self.where, refusal) from refusal
        return replies

    async def _answers(self, commands: Sequence[ShardCommand]) -> list[Any]:
        owners = (await self.topology()).owners
        return await _exchange([(self.server(owners[place].address), command) for place, command in commands])

    async def _recover(
        self, refusals: Mapping[int, exceptions.ResponseError], script_load: bytes | None
    ) -> exceptions.ResponseError | None:
        """Follow moved slots and load a missing script; return a refusal that cannot be handled."""
        unaware: dict[Address, int] = {}
        owners = (await self.topology()).owners
        for place, refusal in refusals.items():
            match refusal:
                case exceptions.MovedError():
                    self.forget()
                    self._addresses[:0] = [Address(refusal.host, refusal.port)] if refusal.host else []
                case exceptions.NoScriptError() if script_load is not None:
                    unaware[owners[place].address] = place
                case _:
                    return refusal
        if script_load is not None:
            await self._answers([(place, script_load) for place in unaware.values()])
        return None


async def _exchange(commands: Sequence[tuple[ClusterServer, bytes]]) -> list[Any]:
    """Send commands to several servers, each over one connection, and return replies and refusals in order."""
    by_server: dict[ClusterServer, list[int]] = {}
    for place, (server, _) in enumerate(commands):
        by_server.setdefault(server, []).append(place)
    replies: list[Any] = [None] * len(commands)
    opened: dict[ClusterServer, Any] = {}
    try:
        for server in by_server:
            with translated(server.where):
                opened[server] = await _pool(server).get_connection()
        for server, places in by_server.items():
            with translated(server.where):
                await opened[server].send_packed_command([commands[place][1] for place in places])
        for server, places in by_server.items():
            with translated(server.where):
                for place in places:
                    replies[place] = await _reply(opened[server])
            await _pool(server).release(opened.pop(server))
    finally:
        for server, connection in opened.items():  # unread replies may still arrive
            await connection.disconnect(nowait=True)
            await _pool(server).release(connection)
    return replies


def _pool(server: ClusterServer) -> Any:  # noqa: ANN401 - redis-py types it for one kind of connection
    return server.client.connection_pool


async def _reply(connection: Any) -> Any:  # noqa: ANN401 - each command's own reply
    try:
        return await connection.read_response()
    except exceptions.ResponseError as refusal:
        return refusal
