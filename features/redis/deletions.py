"""Detects histories that others delete or that the server evicts, from keyspace notifications.

The loss of a key that no worker has cached would go undetected: a missing history looks like a new card's. The server
sends notifications only if `notify-keyspace-events` contains E, and g or e; those sent while the connection is down are
lost.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Protocol, Self

from redis import asyncio as redis_asyncio
from redis import exceptions

from features.errors import StoreRefusedError, StoreUnavailableError
from features.redis.client import translated
from features.redis.connection import Deletions

GROUPING_S = 0.2
"""Keys deleted within this time are one loss."""
POLL_S = 1.0
EVENTS = ("del", "evicted")
SETTING = "notify-keyspace-events"
REQUIRED_EVENTS = ({"E"}, {"g", "A"}, {"e", "A"})
"""One of each set: events by name; DEL and its like; eviction."""
log = logging.getLogger("fraudstream.features.redis.deletions")


class LossSink(Protocol):
    """A store whose losses can be declared."""

    @property
    def history_epoch(self) -> int:
        """The current epoch."""
        ...

    async def declare_loss(self, what: str, above: int | None = None) -> None:
        """Raise the epoch for a loss that happened under `above`, unless it was raised since."""
        ...


async def watch_deletions(deletions: Deletions, is_history: Callable[[bytes], bool], store: LossSink) -> None:
    """Declare a loss whenever a history is deleted or evicted; never returns.

    Raises:
        StoreUnavailableError: the server does not answer; deletions until the next call go undetected.
        StoreRefusedError: subscribing is not permitted.
    """
    async with deletions:
        while True:
            key = await deletions.next(POLL_S)
            if key is not None and is_history(key) and not await deletions.was_moved(key):
                await _declare_deleted(key, deletions, store)


async def _declare_deleted(key: bytes, deletions: Deletions, store: LossSink) -> None:
    """Declare the loss of a key, and of those deleted shortly after it, once; retry while the server is unavailable."""
    above, until = store.history_epoch, time.monotonic() + GROUPING_S
    while (left_s := until - time.monotonic()) > 0:
        try:
            await deletions.next(left_s)
        except StoreUnavailableError:
            break
    declared = False
    while not declared:
        with suppress(StoreUnavailableError, StoreRefusedError):
            await store.declare_loss(f"{key.decode()} was deleted or evicted", above)
            declared = True
        if not declared:
            await asyncio.sleep(GROUPING_S)


class ServerDeletions:
    """A subscription to a server's deletions; a context manager.

    Raises, everywhere:
        StoreUnavailableError: the connection is lost, or there is none.
        StoreRefusedError: subscribing is not permitted.
    """

    def __init__(self, client: redis_asyncio.Redis, where: str) -> None:
        self._client = client
        self._where = where
        self._events: Any = client.pubsub(ignore_subscribe_messages=True)

    async def __aenter__(self) -> Self:
        database = self._client.connection_pool.connection_kwargs.get("db") or 0
        with translated(self._where):
            await self._warn_if_disabled()
            await self._events.subscribe(*(f"__keyevent@{database}__:{event}" for event in EVENTS))
            await self._events.get_message(timeout=1.0)  # raises if the subscription is refused
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._events.aclose()

    async def next(self, seconds: float) -> bytes | None:
        """Return the name of a deleted key; None if there was none within `seconds`."""
        connection: Any = self._events.connection
        if connection is not None and connection.should_reconnect():
            raise StoreUnavailableError(f"{self._where}: the connection is made anew")
        with translated(self._where):
            message = await self._events.get_message(timeout=seconds)
        return None if message is None else bytes(message["data"])

    async def was_moved(self, key: bytes) -> bool:  # noqa: ARG002 - one server hands nothing to another
        """Return False: a single server migrates no keys."""
        return False

    async def _warn_if_disabled(self) -> None:
        """Log a warning if the server is known to send no notifications; managed services do not allow CONFIG GET."""
        try:
            settings: Any = await self._client.config_get(SETTING)
        except exceptions.ResponseError:
            return
        if not all(needed & set(settings.get(SETTING, "")) for needed in REQUIRED_EVENTS):
            log.warning(
                "%s: deleted or evicted keys may go undetected: set %s to Ege (CONFIG SET %s Ege, and in redis.conf)",
                self._where,
                SETTING,
                SETTING,
            )
