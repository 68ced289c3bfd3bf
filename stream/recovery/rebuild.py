"""Have all histories of a deployment put together anew, from outside: ask its workers, or do it here where none runs.

Nothing here prints.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple

from aiokafka.admin import AIOKafkaAdminClient

from features.redis.progress import NO_END, LogPart
from features.redis.store import RedisStore
from features.vector.sets import FeatureSets
from stream.clock import now_ms
from stream.errors import RebuildError
from stream.kafka.client import connection_options, group_members
from stream.kafka.offsets import read_resume_points
from stream.kafka.topics import SCORES, has_records
from stream.recovery.reapply import log_reader, part_count
from stream.recovery.repair import REPORT_SECONDS, Repair, RepairDeps, RepairStatus
from stream.scoring.facts import ignore_fact
from stream.settings import Settings

NO_WORKER_SECONDS = 15.0
"""Workers look twice a second, so one that has not begun by then is not there."""


class Rebuild(NamedTuple):
    """A repair under way: where to ask for it, and of how many parts the log is."""

    settings: Settings
    sets: FeatureSets
    store: RedisStore
    parts: int


@asynccontextmanager
async def start_rebuild(settings: Settings, sets: FeatureSets, reason: str) -> AsyncIterator[Rebuild]:
    """Raise the history epoch, unless a repair is under way; its workers begin then.

    Raises:
        RebuildError: there is nothing of this deployment.
        StoreUnavailableError: Redis does not answer.
        StoreRefusedError: it does not let us.
        aiokafka.errors.KafkaError: Kafka does not answer.
    """
    async with log_reader(settings) as reader:
        parts = part_count(reader, settings)
    if not await has_records(settings, settings.topic(SCORES.name)):
        raise RebuildError(f"deployment {settings.deployment} has decided nothing yet, so it has no histories to lose")
    store = RedisStore(settings.redis_url, settings.deployment, sets, now_ms)
    try:
        await store.connect(emptied=True)
        if not store.incomplete:
            await store.declare_loss(f"asked for by hand: {reason}")
        yield Rebuild(settings, sets, store, parts)
    finally:
        await store.close()


async def watch_workers(rebuild: Rebuild) -> AsyncIterator[RepairStatus]:
    """Yield how far workers are until the histories are whole.

    Raises:
        RebuildError: no worker has begun in time.
        StoreUnavailableError: Redis does not answer.
    """
    store, quiet_s = rebuild.store, 0.0
    while store.incomplete:
        progress = await store.repair_progress.parts(store.state.target)
        yield RepairStatus(progress, rebuild.parts)
        quiet_s = 0.0 if progress else quiet_s + REPORT_SECONDS
        if quiet_s >= NO_WORKER_SECONDS:
            raise RebuildError(
                f"no worker has begun in {NO_WORKER_SECONDS:.0f} s. Histories count as incomplete until one has: start "
                "workers (fraudstream worker), or run this again with --here"
            )
        await asyncio.sleep(REPORT_SECONDS)
        await store.refresh()
    yield RepairStatus(await store.repair_progress.parts(store.state.target), rebuild.parts)


async def rebuild_here(rebuild: Rebuild, ends: Mapping[LogPart, int]) -> AsyncIterator[RepairStatus]:
    """Do it in this process, for all partitions, up to their `ends`, and yield how far that is.

    Raises:
        RebuildError: something was lost again meanwhile.
        StoreUnavailableError: Redis does not answer.
        aiokafka.errors.KafkaError: Kafka does not answer.
    """
    mending = Repair(RepairDeps(rebuild.settings, rebuild.sets, rebuild.store.state.target, ignore_fact))

    async def told() -> Mapping[LogPart, int]:
        return ends

    work = asyncio.create_task(mending.run(told))
    try:
        while not work.done():
            await asyncio.wait({work}, timeout=REPORT_SECONDS)
            if mending.status is not None:
                yield mending.status
        if not await work:
            raise RebuildError("Redis lost something again meanwhile, or somebody asked for this again; run it again")
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


async def decided_offsets(settings: Settings) -> dict[LogPart, int]:
    """Return how far each partition is decided; labels are applied to their end, as `Repairer` does.

    Raises:
        RebuildError: somebody does.
        aiokafka.errors.KafkaError: Kafka does not answer.
    """
    async with log_reader(settings) as reader:
        partitions = range(part_count(reader, settings) // 2)
    admin = AIOKafkaAdminClient(**connection_options(settings))
    try:
        await admin.start()
        running = await group_members(admin, settings.group)
        if running:
            raise RebuildError(f"{len(running)} workers run, and do this themselves: leave out --here, or stop them")
        resumed = await read_resume_points(settings, admin, partitions)
    finally:
        await admin.close()
    ends = {LogPart(of_labels=True, partition=partition): NO_END for partition in partitions}
    for partition, (offset, position) in resumed.items():
        ends[LogPart(of_labels=False, partition=partition)] = max(offset or 0, position.standing.last_offset + 1)
    return ends
