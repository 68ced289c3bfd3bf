"""Tell whoever waits for a verdict that no worker is there to give one.

A worker judges: the one that owns the control topic's partition. So a group without a worker of the deployment judges
nothing. During a rebalance the coordinator still lists all members; only two looks in a row that find none count.
"""

import asyncio
from collections.abc import Callable

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupAuthorizationFailedError, KafkaError

from stream.kafka.client import group_members, open_admin
from stream.kafka.stray import given_up_as_error
from stream.settings import Settings

FIRST_SECONDS = 2.0
"""When the group is asked first: most verdicts are there earlier."""
_BETWEEN_SECONDS = 1.0
_LOOKS = 2


async def tell_if_unjudged(settings: Settings, first_seconds: float, tell: Callable[[str], None]) -> None:
    """Call `tell` once, with what to start, if the group has no worker; never where the group cannot be seen.

    It looks until it has told: a worker that crashed is listed until its session has timed out.
    """
    await asyncio.sleep(first_seconds)
    try:
        async with open_admin(settings) as admin:
            await _until_empty(settings, admin)
        tell(
            f"no worker of deployment {settings.deployment} is in the group {settings.group}, so nobody judges this "
            "command: start one by `fraudstream worker`"
        )
    except KafkaError:
        return  # without the right to see the group, or without a broker, nothing can be told


async def _until_empty(settings: Settings, admin: AIOKafkaAdminClient) -> None:
    """Return when the group was without a worker `_LOOKS` times in a row."""
    empty = 0
    while True:
        try:
            with given_up_as_error():
                empty = 0 if await group_members(admin, settings) else empty + 1
        except GroupAuthorizationFailedError:
            raise
        except KafkaError:
            empty = 0
        if empty == _LOOKS:
            return
        await asyncio.sleep(_BETWEEN_SECONDS)
