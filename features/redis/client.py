"""How a connection to a Redis server is made: no retries behind our back, one patience for everything, ended when told.

Nothing here knows whether a server is alone or one of a cluster.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from redis import asyncio as redis_asyncio
from redis import exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from features.errors import StoreRefusedError
from features.redis.terms import without_password

Greet = Callable[[redis_asyncio.Connection], Awaitable[None]]
"""Called with every new connection; it has to do what redis-py would: `await connection.on_connect()`."""


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


def new_client(url: str, timeout_s: float, greet: Greet) -> redis_asyncio.Redis:
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
