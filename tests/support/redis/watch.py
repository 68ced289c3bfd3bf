"""A store that watches for what others delete, and whether it notices a loss."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from features.redis.store import RedisStore


@asynccontextmanager
async def watched(store: RedisStore) -> AsyncIterator[None]:
    """Have a store watch; it has subscribed by the time that this goes on."""
    watching = asyncio.create_task(store.watch())
    await asyncio.sleep(0.3)
    try:
        yield
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching


async def notices(store: RedisStore, epoch: int) -> bool:
    """Tell whether a store has taken up an epoch within a second."""
    for _ in range(100):
        if store.history_epoch == epoch:
            return True
        await asyncio.sleep(0.01)
    return False
