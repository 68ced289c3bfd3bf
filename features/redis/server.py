"""The store's connection to a single Redis server: scripts, the server's identity, and whether it is usable.

The server's name, a proxy or sentinels may lead to another server after a failover. Connections to the demoted master
can outlive it, so they are dropped as soon as its answers show that it is no master.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from redis import asyncio as redis_asyncio
from redis import exceptions

from features.errors import StoreError, StoreRefusedError, StoreUnavailableError
from features.redis.client import (
    SCRIPTS,
    MasterPool,
    drop_connections,
    encode_command,
    open_client,
    read_info,
    script_text,
    shows_no_master,
    translated_error,
    without_password,
)
from features.redis.connection import Call, Script
from features.redis.deletions import ServerDeletions
from features.redis.evictions import REQUIRED_POLICY, evicted_keys, refusal_of
from features.redis.keys import HOME_SHARD
from features.redis.topology import Master, Servers, read_master


class ServerConnection:
    """A connection to one server, see `Connection`; it waits `timeout_s` for an answer.

    `tried_key` is an unused key, on which `check_server` runs a batch's commands.
    """

    def __init__(self, url: str, tried_key: bytes, timeout_s: float) -> None:
        self.where = without_password(url)
        self._tried_key = tried_key
        self._trusted: Master | None = None
        self._seen: Master | None = None
        self._connected = 0
        self._seen_connected = 0
        self._refusal: str | None = None
        self._evicted: Mapping[str, int] = {}
        self._scripts = {name: script_text(name) for name in SCRIPTS}
        self._digests: dict[str, str] = {}
        self._client = open_client(url, timeout_s, self._greet)
        self._idle: Any = None

    async def _greet(self, connection: redis_asyncio.Connection) -> None:
        """Do what redis-py does on a new connection, and count it."""
        self._connected += 1
        await connection.on_connect()

    async def close(self) -> None:
        """Close all connections."""
        await self._give_back()
        await self._client.aclose()

    async def check_server(self) -> None:
        """Refuse a server that is not usable, and trust the one that serves now."""
        info = await self._server_report()
        if info.get("cluster_enabled") == "1":
            raise StoreRefusedError(
                f"{self.where}: this server belongs to a Redis Cluster and holds only a part of the keys. Set "
                "FRAUDSTREAM_REDIS_URL to redis+cluster:// with one or more of its servers: h1:p1,h2:p2."
            )
        if (refusal := refusal_of(info, await self._policy(info), self.where)) is not None:
            raise StoreRefusedError(refusal)
        await self._try_commands()
        await self.loss_reason(recheck=True)
        self.trust()

    async def _try_commands(self) -> None:
        """Run a batch's commands on an unused key: a missing permission must show at start-up."""
        client: Any = self._client  # its types leave open whether methods are coroutines
        key, noted = self._tried_key, self._tried_key + b":noted"
        async with self._translated():
            await client.set(key, b"")
            await client.append(key, b"")
            await client.getrange(key, 0, 0)
            await client.get(key)
            await client.hset(noted, "field", "value")
            await client.hget(noted, "field")
            await client.hgetall(noted)
            for tried in (key, noted):
                await client.pexpire(tried, 1)
        await self.run("trim", [Call(HOME_SHARD, (key, key), (b"no base", b"", 0, b"", b"not this"))])

    async def loss_reason(self, *, recheck: bool = False) -> str | None:
        """Report a server that is another than the trusted one, or the same one after a restart or as a replica.

        The result of an older connection is dropped if a newer one was inspected meanwhile.
        """
        if recheck:
            await self._follow_sentinels()
        connected = self._connected
        if recheck or connected != self._seen_connected:
            info = await self._server_report()
            found = read_master("server", info)
            if found is None:
                await self._leave()
                raise StoreUnavailableError(f"{self.where}: the server is a replica; a master is needed")
            if connected >= self._seen_connected:
                self._seen, self._seen_connected = found, connected
                self._refusal = refusal_of(info, info.get("maxmemory_policy", REQUIRED_POLICY), self.where)
                self._evicted = evicted_keys(info)
        if self._trusted is None or self._seen is None or self._seen == self._trusted:
            return None
        if Servers((self._trusted,)).loss_reason(Servers((self._seen,))) is not None:
            return "the server was restarted or replaced"
        self.trust()
        return None

    def refusal(self) -> str | None:
        """Say why the server must not be used as it was last inspected."""
        return self._refusal

    def evicted_keys(self) -> Mapping[str, int]:
        """Return how many keys the server has evicted, as it was last inspected."""
        return self._evicted

    def deletions(self) -> ServerDeletions:
        """Return a subscription to keys that others delete."""
        return ServerDeletions(self._client, self.where)

    def identity(self) -> tuple[str, str] | None:
        """Return the trusted server's run id and replication id."""
        return None if self._trusted is None else (self._trusted.run_id, self._trusted.replication_id)

    def trusted(self) -> Servers | None:
        """Return the trusted server."""
        return None if self._trusted is None else Servers((self._trusted,))

    def trust(self) -> None:
        """Trust the server that `loss_reason` last saw."""
        self._trusted = self._seen

    @asynccontextmanager
    async def _translated(self) -> AsyncIterator[None]:
        """Translate redis-py's errors into ours, and leave a server that is no master.

        Commands within use the connection that is kept for scripts: another one could lead to another server.
        """
        await self._give_back()
        try:
            yield
        except exceptions.RedisError as error:
            raise await self._handled(error) from error

    async def _handled(self, error: exceptions.RedisError) -> StoreError:
        """Leave a server that is no master, and return our error."""
        if shows_no_master(error):
            await self._leave()
        return translated_error(self.where, error)

    async def _leave(self) -> None:
        """Leave a server that is no master: its name, or another sentinel, may lead to the master by now."""
        await self._drop_connections()
        if isinstance(pool := self._client.connection_pool, MasterPool):
            pool.ask_another()

    async def _follow_sentinels(self) -> None:
        """Leave a server if sentinels name another master: it may not know yet that it was replaced."""
        if isinstance(pool := self._client.connection_pool, MasterPool) and await pool.has_moved():
            await self._drop_connections()

    async def _drop_connections(self) -> None:
        await self._give_back()
        await drop_connections(self._client)

    async def _server_report(self) -> Mapping[str, str]:
        """Return what the server says of itself; redis-py's own reading of it costs more than a batch of one."""
        return read_info(await self._ask(b"INFO"))

    async def _policy(self, reply: Mapping[str, str]) -> str:
        """Return the eviction policy; managed services forbid CONFIG, so INFO is the fallback."""
        async with self._translated():
            try:
                settings: Any = await self._client.config_get("maxmemory-policy")
            except exceptions.ResponseError:
                settings = {}
        return str(settings.get("maxmemory-policy", reply.get("maxmemory_policy", "unknown")))

    async def values(self, keys: Sequence[tuple[int, bytes]]) -> list[bytes | None]:
        """Fetch whole values."""
        return list(await self._ask(b"MGET", *(key for _, key in keys)))

    async def set(self, shard: int, key: bytes, value: str) -> None:  # noqa: ARG002 - there is one
        """Set one value."""
        async with self._translated():
            await self._client.set(key, value)

    async def run(self, script: Script, calls: Sequence[Call]) -> list[Any]:
        """Run a script by its digest, loading it if the server does not know it."""
        return [await self._run(script, call) for call in calls]

    async def _run(self, script: Script, call: Call) -> Any:  # noqa: ANN401 - each script's own reply
        try:
            if script not in self._digests:
                await self._load(script)
            try:
                return await self._evaluate(script, call)
            except exceptions.NoScriptError:
                await self._load(script)
                return await self._evaluate(script, call)
        except exceptions.RedisError as error:  # a context manager would cost a batch of one some microseconds
            raise await self._handled(error) from error

    async def _load(self, script: Script) -> None:
        await self._give_back()
        self._digests[script] = await self._client.script_load(self._scripts[script])

    async def _evaluate(self, script: Script, call: Call) -> Any:  # noqa: ANN401
        """Send one EVALSHA, encoded here: for hundreds of keys redis-py's encoding costs more than everything else."""
        return await self._exchange(
            encode_command(b"EVALSHA", self._digests[script], len(call.keys), *call.keys, *call.arguments)
        )

    async def _ask(self, *parts: bytes) -> Any:  # noqa: ANN401 - each command's own reply
        """Send a command, and return its reply as it comes."""
        try:
            return await self._exchange(encode_command(*parts))
        except exceptions.RedisError as error:
            raise await self._handled(error) from error

    async def _exchange(self, command: bytes) -> Any:  # noqa: ANN401
        """Send an encoded command on the connection that is kept.

        One connection is kept from call to call, since the pool's own accounts cost as much as the call. It is checked
        as the pool would; a call that is made meanwhile takes another one. redis-py closes a connection whose answer
        was not read to its end, so no later call can read that. Connections by way of sentinels are not kept: their
        pool closes idle ones as soon as it learns of another master.
        """
        pool: Any = self._client.connection_pool
        connection, self._idle = self._idle, None
        if connection is None:
            connection = await pool.get_connection()
        try:
            await pool.ensure_connection(connection)
            await connection.send_packed_command(command)
            return await connection.read_response()
        finally:
            if self._idle is None and _may_be_kept(pool, connection):
                self._idle = connection
            else:
                await pool.release(connection)

    async def _give_back(self) -> None:
        """Return the kept connection to the pool."""
        connection, self._idle = self._idle, None
        if connection is not None:
            pool: Any = self._client.connection_pool
            await pool.release(connection)


def _may_be_kept(pool: object, connection: Any) -> bool:  # noqa: ANN401 - redis-py's, of several classes
    """Tell whether a connection may serve the next call without going back to its pool."""
    return not isinstance(pool, MasterPool) and connection.is_connected and not connection.should_reconnect()
