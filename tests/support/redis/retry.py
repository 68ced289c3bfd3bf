"""Repeat a call of a store until it is answered, as a worker does while a server is unavailable."""

import asyncio
import itertools

from features.errors import StoreUnavailableError
from features.history.store import Observed, Transactions
from features.redis.store import RedisStore

PATIENCE_S = 30.0
"""A cluster recovers from every fault of the tests within this time."""


async def insist(store: RedisStore, batch: Transactions) -> tuple[Observed, int]:
    """Observe until it is answered; return the number of failures as well."""
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
