"""How a connection to a Redis server is made: no retries behind our back, one patience for everything.

Nothing here knows whether a server is alone or one of a cluster.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from redis import asyncio as redis_asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from features.errors import StoreRefusedError
from features.redis.terms import without_password

Greet = Callable[[redis_asyncio.Connection], Awaitable[None]]
"""Called with every new connection; it has to do what redis-py would: `await connection.on_connect()`."""


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
        pool.make_connection()  # else an unknown option would be met with the first command
    except (ValueError, TypeError) as error:
        raise StoreRefusedError(
            f"{without_password(url)}: no server can be reached by this URL: {error}. It is read as "
            "redis://user:password@host:port/0?options, with redis-py's options; see docs/security.md."
        ) from error
    return client
