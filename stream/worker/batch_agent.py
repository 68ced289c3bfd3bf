"""An agent of the Faust app that works on the batches of its topic, and ends the process where one fails."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from stream.engine.batches import Batch
from stream.watchdog import end_on_error, end_process


def batch_agent(handle: Callable[[Batch], Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
    """Return an agent that works on a batch of each lane of its topic at the same time.

    It reads its stream's channel: the stream counts and acknowledges events, which here the transport does for batches,
    and costs a turn of the event loop.
    """
    working: set[asyncio.Task[None]] = set()

    async def work(batch: Batch) -> None:
        try:
            await handle(batch)
        except Exception as error:  # noqa: BLE001 - Faust would skip the batch and go on
            end_process(f"a batch of {batch.topic} failed unexpectedly: {error!r}")

    async def agent(stream: Any) -> None:  # noqa: ANN401 - Faust says that its channel has values, and it has events
        async for event in stream.channel:
            task = asyncio.create_task(work(event.value))
            working.add(task)
            task.add_done_callback(working.discard)
            task.add_done_callback(end_on_error)

    return agent
