"""Notice histories that others delete, as long as the server tells of it.

Nothing here knows a server or an epoch.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from features.errors import StoreUnavailableError
from features.redis.link import Deletions

TOGETHER_S = 0.2
"""Keys that are deleted so soon one after the other are one loss."""
WAIT_S = 1.0


class Losing(Protocol):
    """A store whose losses can be declared."""

    @property
    def history_epoch(self) -> int:
        """The epoch that holds."""
        ...

    async def declare_loss(self, what: str, above: int | None = None) -> None:
        """Raise the epoch over a loss that happened under `above`, if it still holds."""
        ...


async def notice_deletions(deletions: Deletions, is_history: Callable[[bytes], bool], store: Losing) -> None:
    """Declare a loss whenever a history is deleted or evicted; this never returns.

    Raises:
        StoreUnavailableError: the server does not answer; what was told of is noticed, all else until then is not.
        StoreRefusedError: we may not ask it to tell.
    """
    async with deletions:
        while True:
            key = await deletions.next(WAIT_S)
            if key is not None and is_history(key) and not await deletions.is_elsewhere(key):
                await _gone(key, deletions, store)


async def _gone(key: bytes, deletions: Deletions, store: Losing) -> None:
    """Declare the loss of a key, and of those that go with it, once; a server that is away is asked again."""
    above, until = store.history_epoch, time.monotonic() + TOGETHER_S
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
            await asyncio.sleep(TOGETHER_S)
