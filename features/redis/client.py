"""The redis-py client: connections without retries and with one time-out, translated errors.

Used for a single server, for each server of a cluster, and for a master that Redis Sentinel knows by a name: every new
connection asks the sentinels for its address. redis-py's Sentinel client finds the master. A sentinel that was cut off
may name a master that was demoted since, so after such an answer another one is asked first.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar, cast, get_args
from urllib.parse import urlsplit

from redis import asyncio as redis_asyncio
from redis import exceptions
from redis.asyncio import sentinel as redis_sentinel
from redis.asyncio.connection import SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider

from features.errors import StoreRefusedError, StoreUnavailableError
from features.redis.connection import Script
from features.redis.urls import is_sentinel, named_master, sentinel_url, server_url, split_password_file

COMMANDS = (
    *("append", "evalsha", "get", "getrange", "hget", "hgetall", "hset", "info", "mget"),
    *("pexpire", "script|load", "set", "subscribe"),
)
"""Every command that a user must be allowed on the deployment's keys: those sent, and those called by scripts."""
CLUSTER_COMMANDS = ("cluster|slots",)
"""Additional commands on a cluster."""
SCRIPTS: tuple[Script, ...] = get_args(Script)
NO_MASTER = ("READONLY", "LOADING", "MASTERDOWN", "NOREPLICAS")
"""Codes in the errors of a server that is no master, or cannot write now; a script's error contains its command's."""
_DENIED_TO_SCRIPTS = ("executing the script can't", "ACL failure in script")
Client = TypeVar("Client", bound=redis_asyncio.Redis)
OnConnect = Callable[[redis_asyncio.Connection], Awaitable[None]]
"""Called with every new connection; it must do what redis-py would: `await connection.on_connect()`."""
_PASSWORD_FILE = "FRAUDSTREAM_REDIS_PASSWORD_FILE"  # noqa: S105 - a setting's name
PATIENT_S = 10.0
"""The time-out of clients for whom nobody waits."""


def without_password(url: str) -> str:
    """Return a URL that may be shown: without login, and without options, which may contain one."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()


def script_text(name: Script) -> str:
    """Return the source of a script, with the functions that all of them have."""
    folder = resources.files("features.redis")
    return "".join(folder.joinpath(f"{one}.lua").read_text(encoding="utf-8") for one in ("read", name))


def encode_command(*parts: bytes | int | str) -> bytes:
    """Encode a command in the Redis protocol."""
    texts = [part if isinstance(part, bytes) else str(part).encode() for part in parts]
    return b"*%d\r\n%b" % (len(texts), b"".join([b"$%d\r\n%b\r\n" % (len(text), text) for text in texts]))


def read_info(reply: bytes | str) -> dict[str, str]:
    """Return the lines of an answer to INFO by name, their values as they stand there."""
    text = reply if isinstance(reply, str) else reply.decode(errors="replace")
    return dict(line.split(":", 1) for line in text.split("\r\n") if ":" in line)


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Translate redis-py's errors into ours."""
    try:
        yield
    except exceptions.RedisError as error:
        raise translated_error(where, error) from error


def translated_error(where: str, error: exceptions.RedisError) -> StoreRefusedError | StoreUnavailableError:
    """Return our error for redis-py's, with its cause and what to do."""
    text = str(error)
    if isinstance(error, exceptions.NoPermissionError) or any(words in text for words in _DENIED_TO_SCRIPTS):
        clustered = CLUSTER_COMMANDS if "+cluster" in urlsplit(where).scheme else ()
        needed = " ".join(f"+{command}" for command in sorted((*COMMANDS, *clustered)))
        return StoreRefusedError(
            f"{where}: Redis forbids this user a command or key that it needs: {text}. Allow it {needed} on the "
            "deployment's keys (fraudstream:*; docs/how-to/secure.md in fraudstream's repository)."
        )
    if isinstance(error, (exceptions.AuthenticationError, exceptions.AuthorizationError)):
        return StoreRefusedError(
            f"{where}: Redis does not let us in: {text.rstrip('.')}. Check the user and the password in "
            "FRAUDSTREAM_REDIS_URL (rediss://user:password@host:port/0, special characters as %xx)."
        )
    if "WRONGTYPE" in text:
        return StoreRefusedError(
            f"{where}: a key of this deployment has the wrong type: {text}. Give the deployment a database or a name "
            "(FRAUDSTREAM_DEPLOYMENT) of its own."
        )
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return StoreUnavailableError(
            f"{where}: Redis's certificate is not trusted: {text} Set FRAUDSTREAM_REDIS_CAFILE to its authority's "
            "file, and use the certificate's host name in FRAUDSTREAM_REDIS_URL."
        )
    if isinstance(error, exceptions.ConnectionError) and "connecting to" in text:
        return StoreUnavailableError(f"{where}: {text} Start Redis there, or correct FRAUDSTREAM_REDIS_URL.")
    return StoreUnavailableError(f"{where}: {text}")


def shows_no_master(error: Exception) -> bool:
    """Tell whether an error came from a server that is no master that can write: a name may mean another by now."""
    known = (exceptions.ReadOnlyError, exceptions.BusyLoadingError, exceptions.MasterDownError)
    return isinstance(error, known) or any(code in str(error) for code in NO_MASTER)


async def drop_connections(client: redis_asyncio.Redis) -> None:
    """Close all connections, those in use as soon as they are released, so that the server's name is resolved anew."""
    pool: Any = client.connection_pool
    await pool.update_active_connections_for_reconnect()
    await pool.disconnect(inuse_connections=False)


class PasswordFile(CredentialProvider):
    """The login of a user whose password is in a file, which is read for each new connection.

    Who replaces it may do so before or after the server knows the new password, or take it away for a moment. So what
    is wrong with it is an outage, which ends when the file is right.
    """

    def __init__(self, user: str, file: str) -> None:
        self._user = user
        self.file = file

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """Return the user, if there is one, and the password, without the white space around it.

        Raises:
            redis.exceptions.ConnectionError: the file cannot be read, or is empty.
        """
        try:
            password = Path(self.file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is no text"
            raise exceptions.ConnectionError(f"{_PASSWORD_FILE}: {self.file} cannot be read: {why}") from error
        if not password:
            raise exceptions.ConnectionError(f"{_PASSWORD_FILE}: {self.file} is empty: write the user's password there")
        return (self._user, password) if self._user else (password,)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        """Return the same: it is a small file."""
        return self.get_credentials()


class Cancellable:
    """Mixin for redis-py's connection classes: sending can be cancelled, and a closed connection is not used again.

    redis-py sends within `asyncio.wait_for`, which before Python 3.12 can swallow a cancellation that arrives when
    the awaited call has just finished: the task then continues. It also creates a task for every command, which
    costs more than sending one.
    """

    async def on_connect_check_health(self: Any, check_health: bool = True) -> None:  # noqa: FBT001, FBT002 - redis-py's signature
        """Log in as redis-py does; a password of a file that is refused is an outage."""
        try:
            await super().on_connect_check_health(check_health)  # type: ignore[misc] # the class that this is mixed into
        except exceptions.AuthenticationError as error:
            if not isinstance(self.credential_provider, PasswordFile):
                raise
            raise exceptions.ConnectionError(
                f"Redis refuses the password in {self.credential_provider.file} ({str(error).rstrip('.')}), which is "
                f"read again for each connection; check {_PASSWORD_FILE}, and the user in FRAUDSTREAM_REDIS_URL"
            ) from error

    async def can_read(self: Any) -> bool:
        """Tell whether something was sent that no command has read.

        redis-py 8 takes the end of a closed connection for a notification, and sends the next command on it, which
        fails. Where this raises, its pool connects anew.
        """
        if self._reader is not None and self._reader.at_eof():
            raise exceptions.ConnectionError("the server has closed the connection")
        return bool(await super().can_read())  # type: ignore[misc] # the connection class that this is mixed into

    async def send_packed_command(
        self: Any,
        command: bytes | list[bytes],
        check_health: bool = True,  # noqa: FBT001, FBT002 - redis-py's signature
    ) -> None:
        """Send a command as redis-py does."""
        if not self.is_connected:
            await self.connect_check_health(check_health=False)
        if check_health and self.health_check_interval:
            await self.check_health()
        sent = False
        try:
            self._writer.writelines([command] if isinstance(command, bytes) else command)
            if self._writer.transport.get_write_buffer_size():  # else the system has taken all of it
                async with asyncio.timeout(self.socket_timeout):
                    await self._writer.drain()
            sent = True
        except TimeoutError as error:
            raise exceptions.TimeoutError("timeout while writing to the socket") from error
        except OSError as error:
            raise exceptions.ConnectionError(f"error while writing to the socket: {error}") from error
        finally:
            if not sent:  # a part of it may have been sent; closing alone would keep the socket until all of it was
                if self._writer is not None:
                    self._writer.transport.abort()
                await self.disconnect(nowait=True)


def new_client(url: str, timeout_s: float, greet: OnConnect | None = None) -> redis_asyncio.Redis:
    """Return a client of one server, not connected yet, with a time-out of `timeout_s` for each answer.

    Raises:
        StoreRefusedError: the URL, or an option in it, is invalid.
    """
    with refused_if_invalid(url):
        bare, login = _with_login(url)
        options = {**connection_options(timeout_s), **login}
        return checked(redis_asyncio.Redis.from_url(bare, **options, redis_connect_func=greet))


def _with_login(url: str) -> tuple[str, dict[str, Any]]:
    """Return a URL for redis-py, and its option for a password that is in a file, if it is."""
    bare, user, file = split_password_file(url)
    return bare, {"credential_provider": PasswordFile(user, file)} if file else {}


def connection_options(timeout_s: float) -> dict[str, Any]:
    """Return the options that all connections have in common: one time-out, and no retries."""
    return {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s, "retry": Retry(NoBackoff(), 0)}


def checked(client: Client) -> Client:
    """Return a client with our class of connections, after trying its options."""
    pool: Any = client.connection_pool
    pool.connection_class = type("Connection", (Cancellable, pool.connection_class), {})
    pool.make_connection()  # else an unknown option would fail only with the first command
    return client


@contextmanager
def refused_if_invalid(url: str) -> Iterator[None]:
    """Translate the errors of an invalid URL, or of an invalid option in it."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise StoreRefusedError(
            f"{without_password(url)}: this is no valid Redis URL: {error}. The form is "
            "redis://user:password@host:port/0?options, with redis-py's options; see docs/how-to/secure.md in "
            "fraudstream's repository."
        ) from error


class MasterPool(redis_sentinel.SentinelConnectionPool):
    """Connections to the master; closing it closes the connections to the sentinels as well."""

    sentinel_manager: Any
    master_address: tuple[str, int] | None

    async def has_moved(self) -> bool:
        """Tell whether a sentinel names another master than the one that is connected; False if none answers."""
        before, ask = self.master_address, cast("Any", self.get_master_address)
        try:
            return before is not None and await ask() != before
        except exceptions.RedisError:
            return False

    def ask_another(self) -> None:
        """Ask another sentinel first from now on."""
        sentinels = self.sentinel_manager.sentinels
        sentinels.append(sentinels.pop(0))

    async def aclose(self) -> None:
        """Close all connections."""
        await super().aclose()
        await self.sentinel_manager.aclose()


def open_client(url: str, timeout_s: float = PATIENT_S, greet: OnConnect | None = None) -> redis_asyncio.Redis:
    """Return a client of one server, which the URL names itself or by sentinels; arguments as for `new_client`.

    Raises:
        StoreRefusedError: the URL, or an option in it, is invalid, or it is a cluster's.
    """
    return (_new_master_client if is_sentinel(url) else new_client)(url, timeout_s, greet)


def _new_master_client(url: str, timeout_s: float, greet: OnConnect | None) -> redis_asyncio.Redis:
    """Return a client of the master that sentinels know, not connected yet."""
    with refused_if_invalid(url):
        place = named_master(url)
        sentinels = cast("Any", redis_sentinel.Sentinel)([])
        common = connection_options(timeout_s)
        sentinels.sentinels = [
            checked(_Sentinel.from_url(sentinel_url(url, address), **common)) for address in place.sentinels
        ]
        bare, login = _with_login(server_url(url, place.sentinels[0]))
        options: dict[str, Any] = {**parse_url(bare), **common, **login}
        secure = options.pop("connection_class", None) is SSLConnection
        del options["host"], options["port"]  # a sentinel's
        pool = cast("Any", MasterPool)(place.name, sentinels, ssl=secure, redis_connect_func=greet, **options)
        return checked(redis_asyncio.Redis.from_pool(pool))


class _Sentinel(redis_asyncio.Redis):
    """A client of one sentinel, which messages name by its address alone."""

    def __repr__(self) -> str:
        kwargs: Any = self.connection_pool.connection_kwargs
        return f"{kwargs['host']}:{kwargs['port']}"
