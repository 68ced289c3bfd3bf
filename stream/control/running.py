"""Which workers run, of all deployments, and what they have announced that they can do."""

import logging
from collections.abc import Mapping

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from models.commands import Capability
from models.worker_records import WorkerRecord, WorkerRecords
from stream.kafka.client import members_of, open_admin
from stream.kafka.stray import given_up_as_error
from stream.settings import Settings

log = logging.getLogger("fraudstream.running")

Running = Mapping[tuple[str, str], WorkerRecord | None]
"""The workers that run, by deployment and name, with what each has said of itself last; None: nothing."""


def able(running: Running, capability: Capability) -> dict[tuple[str, str], WorkerRecord]:
    """Return those of the workers that have announced a capability."""
    return {name: one for name, one in running.items() if one is not None and capability in one.can}


async def running_workers(settings: Settings, workers: WorkerRecords, *, skip_unseen: bool = False) -> Running:
    """Return the workers of all deployments that are in their groups now; `workers` is what the log says of them.

    With `skip_unseen`, a group that we may not see counts as empty.

    Raises:
        aiokafka.errors.KafkaError: the broker does not respond, or a group cannot be seen.
    """
    found = dict[tuple[str, str], WorkerRecord | None]()
    groups = {**workers.groups, settings.deployment: settings.group}
    with given_up_as_error():
        async with open_admin(settings) as admin:
            for deployment, group in groups.items():
                for worker in await _members(admin, group, deployment, skip_unseen=skip_unseen):
                    found[deployment, worker] = workers.last(deployment, worker)
    return found


async def _members(admin: AIOKafkaAdminClient, group: str, deployment: str, *, skip_unseen: bool) -> list[str]:
    """Return the workers of a deployment in a group, sorted."""
    try:
        return sorted(one.name for one in await members_of(admin, group) if one.is_of(deployment))
    except KafkaError as error:
        if not skip_unseen:
            raise
        log.warning("the workers in group %s could not be read, the judge asks again: %s", group, error)
        return []
