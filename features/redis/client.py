"""How a connection to a Redis server is made: no retries behind our back, one patience for everything, ended when told.

Nothing here knows whether a server is alone or one of a cluster.

The terms on which a Redis server is used, alone or in a cluster: what it must be and allow, what its errors mean.

Nothing here holds a connection; `server_link` and `cluster_link` do.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

from redis import asyncio as redis_asyncio
from redis import exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from features.errors import StoreRefusedError, StoreUnavailableError
from features.redis.connection import Script

OLDEST_SERVER = (6, 2)
REQUIRED_POLICY = "noeviction"
COMMANDS = (
    *("append", "evalsha", "get", "getrange", "hget", "hgetall", "hset", "info", "mget"),
    *("pexpire", "script|load", "set", "subscribe"),
)
"""All that a user needs to be allowed, on the deployment's keys: what is sent, and what the scripts call."""
CLUSTER_COMMANDS = ("cluster|slots",)
"""What a user of a cluster needs beside them."""
SCRIPTS: tuple[Script, ...] = (
    "hgetall",
    "compact",
    "init_epoch",
    "add_needs",
    "checkpoint",
    "append",
    "raise_epoch",
    "report_progress",
    "trim",
)
_DENIED_TO_SCRIPTS = ("executing the script can't", "ACL failure in script")
OnConnect = Callable[[redis_asyncio.Connection], Awaitable[None]]
"""Called with every new connection; it has to do what redis-py would: `await connection.on_connect()`."""


def without_password(url: str) -> str:
    """Return a URL as it may be shown: without a login, and without options, which may hold one."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()


def script_text(name: Script) -> str:
    """Return a script as the server is sent it."""
    return resources.files("features.redis").joinpath(f"{name}.lua").read_text(encoding="utf-8")


def encode_command(*parts: bytes | int | str) -> bytes:
    """Write a command as the protocol wants it."""
    texts = [part if isinstance(part, bytes) else str(part).encode() for part in parts]
    return b"*%d\r\n%b" % (len(texts), b"".join([b"$%d\r\n%b\r\n" % (len(text), text) for text in texts]))


def require_usable(info: Mapping[str, Any], policy: str, where: str) -> None:
    """Refuse a server that is too old or may throw histories away.

    Raises:
        StoreRefusedError: says which of the two, and what to do.
    """
    version = str(info.get("redis_version", "0.0"))
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_SERVER:
        raise StoreRefusedError(f"{where}: Redis {version} is too old; 6.2 or later is needed. Upgrade it.")
    if policy != REQUIRED_POLICY:
        raise StoreRefusedError(
            f"{where}: maxmemory-policy is {policy!r}, with which Redis drops histories when memory runs "
            f"short, and features become wrong unnoticed. Set it to {REQUIRED_POLICY} (CONFIG SET maxmemory-policy "
            f"{REQUIRED_POLICY}, and in redis.conf)."
        )


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Turn the client's errors into ours."""
    try:
        yield
    except exceptions.RedisError as error:
        raise translated_error(where, error) from error


def translated_error(where: str, error: exceptions.RedisError) -> StoreRefusedError | StoreUnavailableError:
    """Say what an error means and what to do about it."""
    text = str(error)
    if isinstance(error, exceptions.NoPermissionError) or any(words in text for words in _DENIED_TO_SCRIPTS):
        clustered = CLUSTER_COMMANDS if "+cluster" in urlsplit(where).scheme else ()
        needed = " ".join(f"+{command}" for command in sorted((*COMMANDS, *clustered)))
        return StoreRefusedError(
            f"{where}: Redis forbids this user something that it must do: {text}. Allow it {needed} on the "
            "deployment's keys (fraudstream:*; docs/security.md)."
        )
    if isinstance(error, (exceptions.AuthenticationError, exceptions.AuthorizationError)):
        return StoreRefusedError(
            f"{where}: Redis does not let us in: {text.rstrip('.')}. Check the user and the password in "
            "FRAUDSTREAM_REDIS_URL (rediss://user:password@host:port/0, special characters as %xx)."
        )
    if "WRONGTYPE" in text:
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


class _Cancellable:
    """What makes of a connection of redis-py's one whose sending ends when its task is cancelled.

    redis-py sends within `asyncio.wait_for`, which before Python 3.12 forgets that it was cancelled where what it waits
    for is done at the same time: the task goes on as if nobody had told it to end. It also makes a task of every
    command, which costs more than sending one.
    """

    async def send_packed_command(
        self: Any,
        command: bytes | list[bytes],
        check_health: bool = True,  # noqa: FBT001, FBT002 - redis-py's signature
    ) -> None:
        """Send a command as redis-py does."""
        if not self.is_connected:
            await self.connect_check_health(check_health=False)
        if check_health:
            await self.check_health()
        sent = False
        try:
            async with asyncio.timeout(self.socket_timeout):
                await self._send_packed_command([command] if isinstance(command, bytes) else command)
            sent = True
        except TimeoutError as error:
            raise exceptions.TimeoutError("timeout while writing to the socket") from error
        except OSError as error:
            raise exceptions.ConnectionError(f"error while writing to the socket: {error}") from error
        finally:
            if not sent:  # a part of it may be on its way
                await self.disconnect(nowait=True)


def new_client(url: str, timeout_s: float, greet: OnConnect) -> redis_asyncio.Redis:
    """Return a client of one server, not connected yet; it waits `timeout_s` for each answer.

    Raises:
        StoreRefusedError: the URL, or an option in it, means nothing.
    """
    try:
        client: redis_asyncio.Redis = redis_asyncio.Redis.from_url(
            url,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
            redis_connect_func=greet,
        )
        pool: Any = client.connection_pool
        pool.connection_class = type("Connection", (_Cancellable, pool.connection_class), {})
        pool.make_connection()  # else an unknown option would be met with the first command
    except (ValueError, TypeError) as error:
        raise StoreRefusedError(
            f"{without_password(url)}: no server can be reached by this URL: {error}. It is read as "
            "redis://user:password@host:port/0?options, with redis-py's options; see docs/security.md."
        ) from error
    return client
