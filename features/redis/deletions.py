"""What a Redis server tells of keys that were deleted or evicted, by whomever; for who would not miss them otherwise.

Such a key that nobody remembers leaves no trace: a history that is not there is that of a new card. So the server is
asked to tell, which it does only where `notify-keyspace-events` has E, and g or e. What happens while the connection is
lost is not told. Nothing here knows which keys matter.
"""

import logging
from types import TracebackType
from typing import Any, Self

from redis import asyncio as redis_asyncio
from redis import exceptions

from features.redis.terms import translated

log = logging.getLogger("fraudstream.features.redis.deletions")

EVENTS = ("del", "evicted")
SETTING = "notify-keyspace-events"
NEEDED = ({"E"}, {"g", "A"}, {"e", "A"})
"""One of each: events by their names; of DEL and its like; of eviction."""


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
            await self._advise()
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

    async def is_elsewhere(self, key: bytes) -> bool:  # noqa: ARG002 - one server hands nothing to another
        """Tell whether a key was handed to another server."""
        return False

    async def _advise(self) -> None:
        """Say so where the server is known not to tell; managed services do not let us ask."""
        try:
            told: Any = await self._client.config_get(SETTING)
        except exceptions.ResponseError:
            return
        if not all(needed & set(told.get(SETTING, "")) for needed in NEEDED):
            log.warning(
                "%s: keys that are deleted or evicted by others may go unnoticed: set %s to Ege (CONFIG SET %s Ege, "
                "and in redis.conf)",
                self._where,
                SETTING,
                SETTING,
            )
