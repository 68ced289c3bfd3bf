"""Ask a store again until it answers, as a worker does while a server is away."""

import asyncio
import itertools

from features.errors import StoreUnavailableError
from features.history.store import Observed, Transactions
from features.redis.store import RedisStore

PATIENCE_S = 30.0
"""Within which a cluster is itself again after anything that is done to it in a test."""


async def insist(store: RedisStore, batch: Transactions) -> tuple[Observed, int]:
    """Observe as a worker does, until it is answered; say how often it was not."""
    loop = asyncio.get_running_loop()
    until = loop.time() + PATIENCE_S
    for failures in itertools.count():
        try:
            return await store.observe(batch), failures
        except StoreUnavailableError:
            if loop.time() > until:
                raise
            await asyncio.sleep(0.02)
    raise AssertionError("unreachable")
