"""Rebuild all histories of a deployment on an operator's request: by its workers, or in this process if none runs."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple

from features.redis.progress import LogPart, TopicName
from features.redis.store import RedisStore
from features.vector.sets import FeatureSets
from stream.clock import now_ms
from stream.control.client import read_fold
from stream.errors import RebuildError
from stream.kafka.client import group_members, open_admin, require_topic
from stream.kafka.topics import SCORES, TRANSACTIONS, own_scores, partition_counts
from stream.key_files import hash_by_key
from stream.positions.inputs import has_filled_histories
from stream.positions.score_tails import read_resume_points
from stream.recovery.reapply import log_reader, partitions_of_log
from stream.recovery.repair import REPORT_SECONDS, Repair, RepairStatus, ends_of
from stream.scoring.facts import ignore_fact
from stream.settings import Settings
from stream.tasks import end_tasks

NO_WORKER_SECONDS = 15.0
"""Workers check twice a second, so if none has started by then, none runs."""


class Rebuild(NamedTuple):
    """A rebuild in progress: its store, and the number of partitions of each topic of the log."""

    settings: Settings
    sets: FeatureSets
    store: RedisStore
    partitions: Mapping[TopicName, int]


@asynccontextmanager
async def start_rebuild(settings: Settings, sets: FeatureSets, reason: str) -> AsyncIterator[Rebuild]:
    """Raise the history epoch, unless a repair is in progress; the workers then start to repair.

    Raises:
        RebuildError: the deployment has neither decided nor read anything.
        StoreUnavailableError: Redis does not respond.
        StoreRefusedError: Redis denies access.
        aiokafka.errors.KafkaError: Kafka does not respond.
    """
    predictions = sets.has_predictions
    async with log_reader(settings, predictions=predictions) as reader:
        partitions = partitions_of_log(reader, settings, predictions=predictions)
        await require_topic(reader, settings.topic(SCORES.name))
    async with open_admin(settings) as admin:
        if not await has_filled_histories(settings, admin):
            raise RebuildError(
                f"deployment {settings.deployment} has decided nothing yet, so it has no histories to rebuild"
            )
    hash_by_key(settings)
    store = RedisStore(settings.redis_url, settings.deployment, sets, now_ms)
    try:
        await store.connect(emptied=True)
        if not store.incomplete:
            await store.declare_loss(f"requested by an operator: {reason}")
        yield Rebuild(settings, sets, store, partitions)
    finally:
        await store.close()


async def watch_workers(rebuild: Rebuild) -> AsyncIterator[RepairStatus]:
    """Yield the workers' progress until the histories are complete.

    Raises:
        RebuildError: no worker has started in time.
        StoreUnavailableError: Redis does not respond.
    """
    store, quiet_s = rebuild.store, 0.0
    while store.incomplete:
        progress = await store.repair_progress.parts(store.state.target)
        yield RepairStatus(progress, rebuild.partitions)
        quiet_s = 0.0 if progress else quiet_s + REPORT_SECONDS
        if quiet_s >= NO_WORKER_SECONDS:
            raise RebuildError(
                f"no worker has started to rebuild within {NO_WORKER_SECONDS:.0f} s. Histories stay incomplete until "
                "one does: start workers (fraudstream worker), or run this again with --here"
            )
        await asyncio.sleep(REPORT_SECONDS)
        await store.refresh()
    yield RepairStatus(await store.repair_progress.parts(store.state.target), rebuild.partitions)


async def rebuild_here(rebuild: Rebuild, ends: Mapping[LogPart, int]) -> AsyncIterator[RepairStatus]:
    """Rebuild all partitions up to their `ends` in this process, and yield the progress.

    Raises:
        RebuildError: histories were lost again meanwhile.
        StoreUnavailableError: Redis does not respond.
        aiokafka.errors.KafkaError: Kafka does not respond.
    """
    read_to = {part.partition: end for part, end in ends.items() if part.topic == "transactions"}
    repair = Repair(
        settings=rebuild.settings,
        policy=rebuild.sets,
        target=rebuild.store.state.target,
        emit=ignore_fact,
        read_to=lambda: read_to,
    )

    async def all_ends(_partitions: Mapping[TopicName, int]) -> Mapping[LogPart, int]:
        return ends

    task = asyncio.create_task(repair.run(all_ends))
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=REPORT_SECONDS)
            if repair.status is not None:
                yield repair.status
        if not await task:
            raise RebuildError("Redis lost histories again meanwhile, or another rebuild was requested; run it again")
    finally:
        await end_tasks(task)


async def read_offsets(settings: Settings, *, predictions: bool = False) -> dict[LogPart, int]:
    """Return the offset up to which each partition was read; labels have no end, as in `Repairer`.

    With `predictions`, those from storage are applied too, and have no end either.

    Raises:
        RebuildError: workers run.
        aiokafka.errors.KafkaError: Kafka does not respond.
    """
    async with log_reader(settings, predictions=predictions) as reader:
        partitions = partitions_of_log(reader, settings, predictions=predictions)
    async with open_admin(settings) as admin:
        running = await group_members(admin, settings)
        if running:
            raise RebuildError(f"{len(running)} workers run, which rebuild themselves: leave out --here, or stop them")
        fold = await read_fold(settings)
        log = fold.logs.last(settings.topic(TRANSACTIONS.name))
        scores = (await partition_counts(admin, settings))[settings.topic(own_scores(settings, fold.term).name)]
        decided = range(min(scores, partitions["transactions"]))
        points = await read_resume_points(settings, admin, decided, fold.term)
    # What lies on a partition of `transactions` that `scores` does not have yet has not been read by anybody.
    read_to = {one: points[one].read_to(log) if one in points else 0 for one in range(partitions["transactions"])}
    return ends_of(read_to, range(partitions["labels"]), range(partitions.get("predictions", 0)))
