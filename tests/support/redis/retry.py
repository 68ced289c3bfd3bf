"""Repeat a call of a store until it is answered, as a worker does while a server is unavailable."""

import asyncio
import itertools
from collections.abc import Callable

from features.errors import StoreUnavailableError
from features.history.store import Observed, Transactions
from features.redis.store import RedisStore

PATIENCE_S = 30.0
"""A cluster recovers from every fault of the tests within this time."""


async def insist(
    store: RedisStore, batch: Transactions, failed: Callable[[], object] = lambda: None
) -> tuple[Observed, int]:
    """Observe until it is answered; return the number of failures as well, and call `failed` at each of them."""
    loop = asyncio.get_running_loop()
    until = loop.time() + PATIENCE_S
    for failures in itertools.count():
        try:
            return await store.observe(batch), failures
        except StoreUnavailableError:
            failed()
            if loop.time() > until:
                raise
            await asyncio.sleep(0.02)
    raise AssertionError("unreachable")
