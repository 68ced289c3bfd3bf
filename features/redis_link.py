"""The one place that talks to a Redis server: connection, scripts, history epoch, and the translation of its errors.

Nothing here knows what a transaction is or keeps anything of a history; `redis_store` does.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from redis import asyncio as redis_asyncio
from redis import exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from features.errors import StoreRefusedError, StoreUnavailableError

log = logging.getLogger("fraudstream.features.redis")

OLDEST_SERVER = (6, 2)
KEEPING_POLICY = "noeviction"
COMMANDS = ("append", "evalsha", "get", "getrange", "info", "mget", "pexpire", "ping", "script|load", "set")
"""All that a user needs to be allowed, on the deployment's keys: what is sent, and what the scripts call."""
_DENIED_TO_SCRIPTS = ("executing the script can't", "ACL failure in script")
NO_EPOCH = 0
"""Stands for an epoch key that is gone."""


@dataclass(frozen=True, slots=True)
class Appended:
    """All is appended; `tails` holds, by index of the history, what others had appended to it first."""

    tails: dict[int, bytes]


@dataclass(frozen=True, slots=True)
class Unlike:
    """Nothing is appended: these histories, by index, are not as they were thought to be."""

    indexes: list[int]


@dataclass(frozen=True, slots=True)
class OtherEpoch:
    """Nothing is appended: the deployment's history epoch is another, or NO_EPOCH."""

    epoch: int


Answer = Appended | Unlike | OtherEpoch


class Founded(NamedTuple):
    """An epoch, whether its histories are known to be all there, and whether it began with this very question."""

    epoch: int
    whole: bool
    new: bool


def without_password(url: str) -> str:
    """Return a URL as it may be shown: without a login, and without options, which may hold one."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()


class RedisLink:
    """A connection to one server, `where` being its URL without a password.

    Raises, everywhere:
        StoreUnavailableError: the server does not answer in `timeout_s`, or cannot serve now.
        StoreRefusedError: it never will as it is set up.
    """

    def __init__(self, url: str, epoch_key: bytes, timeout_s: float) -> None:
        self.where = without_password(url)
        if urlsplit(url).scheme not in {"redis", "rediss", "unix"}:
            raise StoreRefusedError(
                f"{self.where}: only redis://, rediss:// and unix:// are served; Redis Cluster (redis+cluster://) "
                "comes later. Set FRAUDSTREAM_REDIS_URL to a single server."
            )
        self._epoch_key = epoch_key
        self._whole_key = epoch_key + b":whole"
        self._run_id: str | None = None
        self._came_anew = False
        self._scripts = {name: _script(name) for name in ("observe", "trim", "raise")}
        self._digests: dict[str, str] = {}
        self._client: redis_asyncio.Redis = redis_asyncio.Redis.from_url(
            url,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
            redis_connect_func=self._greet,
        )

    async def _greet(self, connection: redis_asyncio.Connection) -> None:
        """Do what redis-py does on a new connection, and remember that there was one."""
        self._came_anew = True
        await connection.on_connect()

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def ping(self) -> None:
        """Return if the server answers."""
        with self._translated():
            await self._client.ping()

    async def check_server(self) -> None:
        """Refuse a server that is too old, may throw histories away or forbids what we need; remember which it is."""
        info = await self._info()
        version = str(info.get("redis_version", "0.0"))
        if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_SERVER:
            raise StoreRefusedError(f"{self.where}: Redis {version} is too old; 6.2 or later is needed. Upgrade it.")
        policy = await self._policy(info)
        if policy != KEEPING_POLICY:
            raise StoreRefusedError(
                f"{self.where}: maxmemory-policy is {policy!r}, with which Redis drops histories when memory runs "
                f"short, and features become wrong unnoticed. Set it to {KEEPING_POLICY} (CONFIG SET maxmemory-policy "
                f"{KEEPING_POLICY}, and in redis.conf)."
            )
        await self._try_commands()
        self._run_id, self._came_anew = str(info.get("run_id")), False

    async def _try_commands(self) -> None:
        """Do on a key of no meaning what a batch does: refused there, it would end the process."""
        key = self._epoch_key + b":tried"
        with self._translated():
            await self._client.append(key, b"")
            await self._client.getrange(key, 0, 0)
            await self._client.get(key)
            await self._client.pexpire(key, 1)
        await self.trim(key, (b"no base", b"", 0, b""))

    async def is_another_server(self) -> bool:
        """Tell whether a reconnection since the last call met another server, or the same one after a restart."""
        if not self._came_anew:
            return False
        self._came_anew = False
        known, info = self._run_id, await self._info()
        self._run_id = str(info.get("run_id"))
        return self._run_id != known

    async def _info(self) -> dict[str, Any]:
        with self._translated():
            info: Any = await self._client.info()
        return dict(info)

    async def _policy(self, info: dict[str, Any]) -> str:
        """Ask for the eviction policy; managed services forbid CONFIG, so INFO has to do there."""
        with self._translated():
            try:
                settings: Any = await self._client.config_get("maxmemory-policy")
            except exceptions.ResponseError:
                settings = {}
        return str(settings.get("maxmemory-policy", info.get("maxmemory_policy", "unknown")))

    async def found_epoch(self, first: int) -> Founded:
        """Return the deployment's history epoch, `first` if there was none, and what is known of its histories.

        Only the epoch that a second key names is whole: one that was raised over a loss is not, whoever asks and
        whenever, until a repair says so.
        """
        with self._translated():
            new = bool(await self._client.set(self._epoch_key, first, nx=True))
            if new:
                await self._client.set(self._whole_key, first)
            epoch, whole = await self._client.mget(self._epoch_key, self._whole_key)
        return Founded(int(epoch or first), whole=epoch is not None and epoch == whole, new=new)

    async def raise_epoch(self, above: int) -> int:
        """Make the history epoch one above, unless another worker did already, and return it."""
        return int(await self._run("raise", (self._epoch_key,), (above,)))

    async def values(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Fetch whole values."""
        with self._translated():
            values: Any = await self._client.mget(keys)
        return list(values)

    async def observe(self, epoch: int, keys: Sequence[bytes], arguments: Sequence[bytes | int]) -> Answer:
        """Run observe.lua: append everything or nothing."""
        reply = await self._run("observe", (self._epoch_key, *keys), (epoch, *arguments))
        match reply[0]:
            case 0:
                return Appended({reply[i] - 1: reply[i + 1] for i in range(1, len(reply), 2)})
            case 1:
                return Unlike([index - 1 for index in reply[1:]])
            case _:
                return OtherEpoch(int(reply[1] or NO_EPOCH))

    async def trim(self, key: bytes, arguments: Sequence[bytes | int]) -> bool:
        """Run trim.lua; true if it trimmed."""
        return bool(await self._run("trim", (key,), arguments))

    async def _run(self, name: str, keys: Sequence[bytes], arguments: Sequence[bytes | int]) -> Any:  # noqa: ANN401 - each script's own reply
        """Run a script by its digest, after sending it where the server does not know it."""
        with self._translated():
            if name not in self._digests:
                self._digests[name] = await self._client.script_load(self._scripts[name])
            try:
                return await self._evaluate(name, keys, arguments)
            except exceptions.NoScriptError:
                self._digests[name] = await self._client.script_load(self._scripts[name])
                return await self._evaluate(name, keys, arguments)

    async def _evaluate(self, name: str, keys: Sequence[bytes], arguments: Sequence[bytes | int]) -> Any:  # noqa: ANN401
        """Send one EVALSHA, encoded here: redis-py's own encoding costs more than all else for hundreds of keys."""
        pool: Any = self._client.connection_pool
        connection = await pool.get_connection()
        try:
            await connection.send_packed_command(
                _encoded(b"EVALSHA", self._digests[name], len(keys), *keys, *arguments)
            )
            return await connection.read_response()
        finally:
            await pool.release(connection)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn the client's errors into ours."""
        try:
            yield
        except exceptions.RedisError as error:
            raise _ours(self.where, error) from error


def _ours(where: str, error: exceptions.RedisError) -> StoreRefusedError | StoreUnavailableError:
    """Say what an error means and what to do about it."""
    text = str(error)
    if isinstance(error, exceptions.NoPermissionError) or any(words in text for words in _DENIED_TO_SCRIPTS):
        needed = " ".join(f"+{command}" for command in COMMANDS)
        return StoreRefusedError(
            f"{where}: Redis forbids this user something that it must do: {text}. Allow it {needed} on the "
            "deployment's keys (fraudstream:*; docs/security.md)."
        )
    if isinstance(error, (exceptions.AuthenticationError, exceptions.AuthorizationError)):
        return StoreRefusedError(
            f"{where}: Redis does not let us in: {text.rstrip('.')}. Check the user and the password in "
            "FRAUDSTREAM_REDIS_URL (rediss://user:password@host:port/0, special characters as %xx)."
        )
    if text.startswith("WRONGTYPE"):
        return StoreRefusedError(
            f"{where}: a key of this deployment holds something else than a history: {text}. Give the deployment a "
            "database or a name (FRAUDSTREAM_DEPLOYMENT) of its own."
        )
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return StoreUnavailableError(
            f"{where}: Redis's certificate is not trusted: {text} Name the file of the authority that signed it in "
            "FRAUDSTREAM_REDIS_CAFILE, and the server in FRAUDSTREAM_REDIS_URL as its certificate does."
        )
    return StoreUnavailableError(f"{where}: {text}")


def _encoded(*parts: bytes | int | str) -> bytes:
    """Write a command as the protocol wants it."""
    texts = [part if isinstance(part, bytes) else str(part).encode() for part in parts]
    return b"*%d\r\n%b" % (len(texts), b"".join([b"$%d\r\n%b\r\n" % (len(text), text) for text in texts]))


def _script(name: str) -> str:
    return resources.files("features").joinpath(f"{name}.lua").read_text(encoding="utf-8")
