"""A store that watches for deletions by others, and whether it adopts another epoch."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from features.redis.store import RedisStore


@asynccontextmanager
async def watched(store: RedisStore) -> AsyncIterator[None]:
    """Let a store watch for deletions; it has had 0.3 s to subscribe when the block begins."""
    watching = asyncio.create_task(store.watch())
    await asyncio.sleep(0.3)
    try:
        yield
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching


async def notices(store: RedisStore, epoch: int) -> bool:
    """Tell whether a store adopts an epoch within a second."""
    for _ in range(100):
        if store.history_epoch == epoch:
            return True
        await asyncio.sleep(0.01)
    return False
