"""The client of a master that Redis Sentinel knows by a name: every new connection asks the sentinels for its address.

redis-py's Sentinel client finds the master. A sentinel that was cut off may name a master that was demoted since, so
after such an answer another one is asked first.
"""

from typing import Any, cast

from redis import asyncio as redis_asyncio
from redis import exceptions
from redis.asyncio import sentinel as redis_sentinel
from redis.asyncio.connection import SSLConnection, parse_url

from features.redis.client import OnConnect, checked, connection_options, new_client, refused_if_invalid
from features.redis.urls import is_sentinel, named_master, sentinel_url, server_url

PATIENT_S = 10.0
"""The time-out of clients for whom nobody waits."""


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
        options: dict[str, Any] = {**parse_url(server_url(url, place.sentinels[0])), **common}
        secure = options.pop("connection_class", None) is SSLConnection
        del options["host"], options["port"]  # a sentinel's
        pool = cast("Any", MasterPool)(place.name, sentinels, ssl=secure, redis_connect_func=greet, **options)
        return checked(redis_asyncio.Redis.from_pool(pool))


class _Sentinel(redis_asyncio.Redis):
    """A client of one sentinel, which messages name by its address alone."""

    def __repr__(self) -> str:
        kwargs: Any = self.connection_pool.connection_kwargs
        return f"{kwargs['host']}:{kwargs['port']}"
