"""What a Redis server tells of keys that were deleted or evicted, by whomever; for who would not miss them otherwise.

Such a key that nobody remembers leaves no trace: a history that is not there is that of a new card. So the server is
asked to tell, which it does only where `notify-keyspace-events` has E, and g or e. What happens while the connection is
lost is not told. Nothing here knows which keys matter.

Notice histories that others delete, as long as the server tells of it.

Nothing here knows a server or an epoch.
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

from features.errors import StoreUnavailableError
from features.redis.client import translated
from features.redis.connection import Deletions

GROUPING_S = 0.2
"""Keys that are deleted so soon one after the other are one loss."""
POLL_S = 1.0
log = logging.getLogger("fraudstream.features.redis.deletions")

EVENTS = ("del", "evicted")
SETTING = "notify-keyspace-events"
REQUIRED_EVENTS = ({"E"}, {"g", "A"}, {"e", "A"})
"""One of each: events by their names; of DEL and its like; of eviction."""


class LossSink(Protocol):
    """A store whose losses can be declared."""

    @property
    def history_epoch(self) -> int:
        """The epoch that holds."""
        ...

    async def declare_loss(self, what: str, above: int | None = None) -> None:
        """Raise the epoch over a loss that happened under `above`, if it still holds."""
        ...


async def watch_deletions(deletions: Deletions, is_history: Callable[[bytes], bool], store: LossSink) -> None:
    """Declare a loss whenever a history is deleted or evicted; this never returns.

    Raises:
        StoreUnavailableError: the server does not answer; what was told of is noticed, all else until then is not.
        StoreRefusedError: we may not ask it to tell.
    """
    async with deletions:
        while True:
            key = await deletions.next(POLL_S)
            if key is not None and is_history(key) and not await deletions.was_moved(key):
                await _declare_deleted(key, deletions, store)


async def _declare_deleted(key: bytes, deletions: Deletions, store: LossSink) -> None:
    """Declare the loss of a key, and of those that go with it, once; a server that is away is asked again."""
    above, until = store.history_epoch, time.monotonic() + GROUPING_S
    while (left_s := until - time.monotonic()) > 0:
        try:
            await deletions.next(left_s)
        except StoreUnavailableError:
            break
    declared = False
    while not declared:
        with suppress(StoreUnavailableError):
            await store.declare_loss(f"{key.decode()} was deleted or evicted", above)
            declared = True
        if not declared:
            await asyncio.sleep(GROUPING_S)


class ServerDeletions:
    """A subscription to a server's deletions, while it is entered.

    Raises, everywhere:
        StoreUnavailableError: the connection is lost, or there is none.
        StoreRefusedError: we may not subscribe.
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
            await self._events.get_message(timeout=1.0)  # the answer: a refusal comes here
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._events.aclose()

    async def next(self, seconds: float) -> bytes | None:
        """Return the name of a key that is gone; None where none went for so long."""
        with translated(self._where):
            message = await self._events.get_message(timeout=seconds)
        return None if message is None else bytes(message["data"])

    async def was_moved(self, key: bytes) -> bool:  # noqa: ARG002 - one server hands nothing to another
        """Tell whether a key was handed to another server."""
        return False

    async def _warn_if_disabled(self) -> None:
        """Say so where the server is known not to tell; managed services do not let us ask."""
        try:
            settings: Any = await self._client.config_get(SETTING)
        except exceptions.ResponseError:
            return
        if not all(needed & set(settings.get(SETTING, "")) for needed in REQUIRED_EVENTS):
            log.warning(
                "%s: keys that are deleted or evicted by others may go unnoticed: set %s to Ege (CONFIG SET %s Ege, "
                "and in redis.conf)",
                self._where,
                SETTING,
                SETTING,
            )
