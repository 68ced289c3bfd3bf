"""Leaving a group at once, also in the midst of a rebalance, by aiokafka's coordinator and past it.

Whatever ends a worker, its group is left: the steps before it are made one by one, and one that raises is logged.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka.protocol.group import LeaveGroupRequest

from stream.kafka.stray import given_up_as_error

log = logging.getLogger("fraudstream.leaving")

_JOIN_SECONDS = 1.0
"""So long a member that leaves takes part in a rebalance that has begun, before it leaves in its midst."""


async def leave_group(coordinator: Any, client: Any, *, is_static: bool) -> None:  # noqa: ANN401 - aiokafka's
    """Close a consumer's coordinator, which tells the group's that the member leaves, unless it is a static one.

    A rebalance that waits for another member leaves the request to join unanswered, and its connection blocked. Then
    the group's coordinator is told on the connection for records: it would count on this member otherwise, and if it is
    the one that assigns, all partitions would stand still until its session ends.

    Raises:
        aiokafka.errors.KafkaError: the group's coordinator does not respond.
    """
    closing = asyncio.create_task(coordinator.close())
    try:
        await asyncio.wait({closing}, timeout=_JOIN_SECONDS)
        node, member = coordinator.coordinator_id, coordinator.member_id
        if not closing.done() and member and node is not None and not is_static:
            await client.send(node, LeaveGroupRequest(coordinator.group_id, member))
            await asyncio.wait({closing}, timeout=_JOIN_SECONDS)
    finally:
        closing.cancel()  # where it has not ended, the consumer's own stop goes on from there
        await asyncio.wait({closing})
    if not closing.cancelled():
        closing.result()


async def do_all(*steps: Callable[[], Awaitable[object]]) -> None:
    """Take the steps of a worker's end in their order; log what one of them raises, and go on with the next."""
    for step in steps:
        try:
            with given_up_as_error():
                await step()
        except Exception:  # whatever it is, the worker ends anyway, and the other steps do not depend on this one
            log.exception("a step of this worker's end failed, the others follow")
