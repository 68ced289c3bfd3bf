"""Subscriptions to deleted and evicted keys on all masters of a Redis Cluster.

A key that is migrated to another master is reported as deleted by its old one.
"""

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Self

from redis import exceptions

from features.errors import StoreUnavailableError
from features.redis.cluster_client import ClusterClient, ClusterServer
from features.redis.deletions import ServerDeletions
from features.redis.topology import Owner

POLL_S = 1.0
RETRY_S = 0.5
"""Pause after a master did not answer; deletions in between are not reported."""


class ClusterDeletions:
    """Subscriptions to deletions on the current masters; a context manager.

    Raises, everywhere:
        StoreRefusedError: subscribing is not permitted.
    """

    def __init__(self, client: ClusterClient) -> None:
        self._client = client
        self._listeners: dict[Owner, asyncio.Task[None]] = {}
        self._events: asyncio.Queue[tuple[bytes, ClusterServer]] = asyncio.Queue()
        self._source: ClusterServer | None = None

    async def __aenter__(self) -> Self:
        await self._update_listeners()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for listener in self._listeners.values():
            listener.cancel()
        await asyncio.gather(*self._listeners.values(), return_exceptions=True)

    async def next(self, seconds: float) -> bytes | None:
        """Return the name of a deleted key; None if there was none within `seconds`."""
        await self._update_listeners()
        for listener in self._listeners.values():
            if listener.done():
                listener.result()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                key, self._source = await self._events.get()
                return key
        return None

    async def was_moved(self, key: bytes) -> bool:
        """Tell whether the master that reported the last key has migrated it, or is about to."""
        if self._source is None:
            return False
        try:
            await self._source.client.getrange(key, 0, 0)
        except exceptions.RedisError as error:
            return isinstance(error, exceptions.AskError | exceptions.MovedError)
        return False

    async def _update_listeners(self) -> None:
        """Subscribe to the current masters only."""
        with suppress(StoreUnavailableError):
            masters = set((await self._client.topology()).masters)
            for owner in self._listeners.keys() - masters:
                self._listeners.pop(owner).cancel()
            for owner in masters - self._listeners.keys():
                self._listeners[owner] = asyncio.create_task(self._listen(self._client.server(owner.address)))

    async def _listen(self, server: ClusterServer) -> None:
        while True:
            with suppress(StoreUnavailableError):
                async with ServerDeletions(server.client, server.where) as deletions:
                    while True:
                        key = await deletions.next(POLL_S)
                        if key is not None:
                            self._events.put_nowait((key, server))
            await asyncio.sleep(RETRY_S)
