"""Background tasks: why one failed, that one that is cancelled ends, and how to wait for things or for a time."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

_CLEAN_UP_SECONDS = 2.0
_BEGAN = time.monotonic()
First = TypeVar("First")
Second = TypeVar("Second")


def failure_of(task: "asyncio.Task[Any]") -> BaseException | None:
    """Return why a task that is done failed; None if it returned or was cancelled.

    A client may cancel a future that the task awaits. The task then ends as cancelled, but nobody has cancelled it, and
    what it did is done no more: that is a failure.
    """
    try:
        return task.exception()
    except asyncio.CancelledError as error:
        if task.cancelling():
            return None
        failure = RuntimeError(f"{task.get_coro()!r} ended as cancelled, but was not cancelled")
        failure.__cause__ = error
        return failure


def log_on_error(logger: logging.Logger, text: str, task: "asyncio.Task[Any]") -> None:
    """Log the failure of a background task that the process can do without; `text` says what is missing then."""
    if (failure := failure_of(task)) is not None:
        logger.error(text, exc_info=failure)


def look_at_error(done: "asyncio.Future[Any]") -> None:
    """Look at the error of a future that is done: asyncio tells of one at which nobody has looked."""
    if not done.cancelled():
        done.exception()


async def end_tasks(*tasks: "asyncio.Future[Any]") -> list[Any]:
    """Cancel tasks, wait until they have ended, and return their results or errors.

    One that has not ended after 2 s is cancelled again. A cancellation can be lost: `asyncio.wait_for` of Python
    3.11 drops one that arrives together with its result, and aiokafka waits for its answers by it. A task that repeats
    something for ever would then never end.
    """
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_CLEAN_UP_SECONDS)
    return await asyncio.gather(*tasks, return_exceptions=True)


async def both(first: Awaitable[First], second: Awaitable[Second]) -> tuple[First, Second]:
    """Wait for two things at the same time; raise the error of one only when the other has ended, too."""
    one, other = await asyncio.gather(first, second, return_exceptions=True)
    if isinstance(one, BaseException):
        raise one
    if isinstance(other, BaseException):
        raise other
    return one, other


def next_tick(now: float, period: float, began: float = _BEGAN) -> float:
    """Return the first time after `now` that is a multiple of `period` after `began`, in seconds of the loop's clock.

    Whoever looks for something periodically waits for such a time, so that an idle process wakes once for all of them:
    what a processor does after it slept finds its caches cold, and costs many times what it costs at once. Each process
    counts from its own beginning, so that those of one machine do not all wake at once.
    """
    return began + ((now - began) // period + 1) * period if period > 0 else now


async def until_tick(period: float) -> None:
    """Sleep until the next tick of `period` seconds: for the whole of it at most."""
    now = asyncio.get_running_loop().time()
    await asyncio.sleep(next_tick(now, period) - now)


def timeout_at_tick(period: float) -> asyncio.Timeout:
    """Return the context of a wait that ends at the next tick of `period` seconds by a `TimeoutError`."""
    return asyncio.timeout_at(next_tick(asyncio.get_running_loop().time(), period))


async def set_by_tick(event: asyncio.Event, period: float) -> None:
    """Wait until an event is set, at most until the next tick of `period` seconds."""
    with suppress(TimeoutError):
        async with timeout_at_tick(period):
            await event.wait()


async def set_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait until an event is set, for so many seconds at most; tell whether it is. No task is left behind."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


class Once:
    """Something that happens on a loop once; one task waits for it.

    Attributes:
        happened: done once it has, or whoever waited has given up.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.happened: asyncio.Future[None] = loop.create_future()

    def happen(self) -> None:
        """Wake who waits; on the loop."""
        if not self.happened.done():
            self.happened.set_result(None)

    async def until(self, deadline: float) -> None:
        """Wait until it happens or the loop's time is `deadline`, with a turn of the loop less than `asyncio.wait`."""
        timer = self._loop.call_at(deadline, self.happen)
        try:
            await self.happened
        finally:
            timer.cancel()


class InProgress:
    """What is in progress on a loop, so that others can wait until it is done."""

    def __init__(self) -> None:
        self._ended: set[asyncio.Event] = set()

    @contextmanager
    def step(self) -> Iterator[None]:
        """Do one thing, which may fail."""
        ended = asyncio.Event()
        self._ended.add(ended)
        try:
            yield
        finally:
            self._ended.discard(ended)
            ended.set()

    async def wait_for_begun(self) -> None:
        """Wait until all that has begun by now is done; not for what begins meanwhile."""
        for ended in tuple(self._ended):
            await ended.wait()
