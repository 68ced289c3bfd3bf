"""Requests that are given up as aiokafka does it: the future is cancelled, and not the task that awaits it."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from stream.tasks import failure_of


async def give_up(*_: object, **__: object) -> Any:
    """Await a request that was given up, in place of any method of a client."""
    request: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    request.cancel()
    await request


class GivenUpOnce:
    """In place of a method of a client: its first request is given up, the second is noted and never answered."""

    def __init__(self) -> None:
        self.again = asyncio.Event()
        self._asked = False

    async def __call__(self, *_: object, **__: object) -> Any:
        """Send a request."""
        if not self._asked:
            self._asked = True
            await give_up()
        self.again.set()
        await asyncio.Event().wait()


async def assert_asks_again(work: Coroutine[Any, Any, object], requests: GivenUpOnce) -> None:
    """Assert that a loop goes on after its first request was given up, and ends quietly when it is cancelled."""
    loop, again = asyncio.ensure_future(work), asyncio.ensure_future(requests.again.wait())
    try:
        await asyncio.wait({loop, again}, timeout=5, return_when=asyncio.FIRST_COMPLETED)
        assert not loop.done(), "it has ended by a request that was given up"
        assert again.done(), "it has not asked again"
    finally:
        again.cancel()
        loop.cancel()
        await asyncio.gather(loop, again, return_exceptions=True)
    assert failure_of(loop) is None
