"""The state of a deployment as Kafka has it, and Redis where it is that of the settings."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError
from msgspec.structs import replace

from features.errors import StoreError
from features.redis.age import PaymentDays
from features.redis.wholeness import read_wholeness
from fraudstream.ops.rollout.deployments.publishers import Publishers
from fraudstream.ops.rollout.deployments.recent import (
    DeadLetterPlaces,
    Faults,
    RecentDecisions,
    read_letters,
    read_recent,
)
from fraudstream_client.validity import log_and_offset
from models.errors import ModelError
from models.lineup import Lineup
from models.overview import overviews
from models.repository import Repository
from models.times import format_time
from models.worker_records import WorkerRecord, WorkerRecords
from stream.kafka.client import committed_offsets, group_members, open_admin
from stream.kafka.topics import SCORES, TRANSACTIONS, silent_scores
from stream.scan import scan_topic
from stream.settings import Settings

_COORDINATOR_SECONDS = 20.0
_RETRY_SECONDS = 0.5


class GroupSource(StrEnum):
    """Where the name of a deployment's consumer group is from."""

    ARGUMENT = "argument"
    RECORD = "record"
    """What the workers wrote on `model-events`."""
    GUESS = "guess"
    """The default, or that of the settings at hand; workers of earlier versions wrote none."""


class Target(NamedTuple):
    """A deployment to look at: its settings, and whether their Redis is known to be its own."""

    settings: Settings
    has_redis: bool
    group_source: GroupSource

    @property
    def name(self) -> str:
        """The deployment's name."""
        return self.settings.deployment


class HistoriesFound(NamedTuple):
    """Whether the histories are whole (None: unknown), and what was found.

    `answers` tells whether the Redis of the settings answers and holds histories of the deployment: if not, the setting
    may name another one than the workers', and nothing is known of theirs. `days` are those of the payments.
    """

    whole: bool | None
    found: str
    answers: bool = True
    days: PaymentDays | None = None

    def facts(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {"whole": self.whole, "found": self.found}


class LiveModel(NamedTuple):
    """The live model; name and version are empty where the repository does not tell them."""

    digest: str
    name: str = ""
    version: str = ""


class DecisionLag(NamedTuple):
    """How far a deployment is: records of `transactions` that its group has not committed, and partitions.

    `behind` is how many records behind the last valid decision on `scores` a silent deployment is, 0 for one that
    publishes.
    """

    lag: int
    behind: int
    partitions: int


@dataclass(frozen=True, slots=True)
class DeploymentState:
    """A deployment at a time.

    `since_ms` is since when it publishes or has been silent; None for a silent one that never published. `workers` are
    the members of its group by name, `running` what those have said of themselves. `versions` counts its last decisions
    by the version of the code, the newest of which was made at `decided_ms` (0: there is none). `decided_to` is the
    offset behind its last decision, by partition; `unread` are the offsets from its commit to the end, likewise.
    """

    deployment: str
    group: str
    group_source: GroupSource
    publishes: bool
    since_ms: int | None
    term: int
    workers: tuple[str, ...]
    running: Mapping[str, WorkerRecord]
    versions: Mapping[str, int]
    decided_ms: int
    live: LiveModel | None
    revision: int
    lag: DecisionLag
    histories: HistoriesFound
    faults: Faults
    decided_to: Mapping[int, int]
    unread: Mapping[int, range]

    def facts(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {
            "deployment": self.deployment,
            "group": self.group,
            "group_source": self.group_source.value,
            "publishes": self.publishes,
            "since": _time(self.since_ms),
            "term": self.term,
            "workers": list(self.workers),
            "running": {name: one._asdict() for name, one in self.running.items()},
            "code_versions": dict(self.versions),
            "last_decision": _time(self.decided_ms or None),
            "live": None if self.live is None else self.live._asdict(),
            "revision": self.revision,
            **self.lag._asdict(),
            "histories": self.histories.facts(),
            "faults": self.faults.facts(),
        }


def _time(epoch_ms: int | None) -> str | None:
    return None if epoch_ms is None else format_time(epoch_ms)


def target_of(settings: Settings, deployment: str, groups: Mapping[str, str], workers: WorkerRecords) -> Target:
    """Return a deployment to look at; its group is that of `groups`, or else what its workers have said of it."""
    own = deployment == settings.deployment
    if (named := groups.get(deployment)) is not None:
        group, source = named, GroupSource.ARGUMENT
    elif (recorded := workers.group(deployment)) is not None:
        group, source = recorded, GroupSource.RECORD
    else:
        group, source = settings.group if own else "", GroupSource.GUESS
    return Target(replace(settings, deployment=deployment, group=group), own, source)


async def read_states(targets: Sequence[Target], publishers: Publishers, since_ms: int) -> list[DeploymentState]:
    """Return the states of some deployments; faults are counted since a time, which is at least a minute ago.

    Raises:
        aiokafka.errors.KafkaError: the brokers do not answer, or a topic is missing.
    """
    if not targets:
        return []
    publishes = publishers.term.publisher
    publisher = replace(targets[0].settings, deployment=publishes or targets[0].name)
    letters = await read_letters(publisher, since_ms)
    published = await read_recent(publisher, publisher.topic(SCORES.name), since_ms)
    reader = _StateReader(publishers, letters, published, await _transactions(publisher))
    return [await reader.read(one) for one in targets]


async def _transactions(settings: Settings) -> Mapping[TopicPartition, int]:
    """Return the partitions of `transactions` with the ends of their committed records."""
    topic = settings.topic(TRANSACTIONS.name)
    async with scan_topic(settings, topic, 0) as scan:
        return {TopicPartition(topic, partition): end for partition, end in (await scan.ends()).items()}


@dataclass(frozen=True, slots=True)
class _StateReader:
    """Reads states one by one; what all have in common was read before."""

    publishers: Publishers
    letters: DeadLetterPlaces
    published: RecentDecisions
    ends: Mapping[TopicPartition, int]

    async def read(self, target: Target) -> DeploymentState:
        """Return the state of one deployment."""
        settings, publisher = target.settings, self.publishers.term.publisher
        publishes = target.name == publisher
        recent = self.published if publishes else await self._silent(settings)
        lineup, records = self.publishers.lineup(target.name), self.publishers.workers
        workers, committed = await self._group(settings)
        return DeploymentState(
            deployment=target.name,
            group=settings.group,
            group_source=target.group_source,
            publishes=publishes,
            since_ms=self.publishers.since_ms(target.name),
            term=self.publishers.term.number,
            workers=workers,
            running={name: said for name in workers if (said := records.last(target.name, name)) is not None},
            versions=dict(recent.versions),
            decided_ms=recent.last_ms,
            live=await asyncio.to_thread(_live_model, settings, lineup),
            revision=lineup.revision,
            lag=lag_of(self.ends, committed, None if publishes else (recent, self.published)),
            histories=await _histories(target),
            faults=recent.faults(self.letters, publisher),
            decided_to={one: log_and_offset(at.last_place)[1] + 1 for one, at in recent.valid.standings.items()},
            unread=unread_of(self.ends, committed),
        )

    async def _silent(self, settings: Settings) -> RecentDecisions:
        topic = settings.topic(silent_scores(settings).name)
        try:
            return await read_recent(settings, topic, self.published.since_ms)
        except UnknownTopicOrPartitionError:  # it has decided nothing yet
            return RecentDecisions(settings.deployment, self.published.since_ms)

    async def _group(self, settings: Settings) -> tuple[tuple[str, ...], Mapping[int, int]]:
        """Return the names of the group's workers, and its commits by partition; -1 where there is none.

        Brokers that have just started have no coordinator yet; for some seconds it is asked again.
        """
        deadline = time.monotonic() + _COORDINATOR_SECONDS
        async with open_admin(settings) as admin:
            while True:
                try:
                    workers = await group_members(admin, settings)
                    committed = await committed_offsets(settings, admin, list(self.ends))
                except KafkaError as error:
                    if not error.retriable or time.monotonic() >= deadline:
                        raise
                    await asyncio.sleep(_RETRY_SECONDS)
                else:
                    return tuple(sorted(workers)), {tp.partition: one.offset for tp, one in committed.items()}


def unread_of(ends: Mapping[TopicPartition, int], committed: Mapping[int, int]) -> dict[int, range]:
    """Return the offsets that a group has not committed, by partition; -1 stands for no commit."""
    return {tp.partition: range(max(0, committed.get(tp.partition, 0)), end) for tp, end in ends.items()}


def lag_of(
    ends: Mapping[TopicPartition, int],
    committed: Mapping[int, int],
    silent: tuple[RecentDecisions, RecentDecisions] | None,
) -> DecisionLag:
    """Return how far a deployment is; `silent` are its own decisions and the published ones where it is silent.

    What it has committed is handled, be it decided, refused or repeated; so it is not behind there.
    """
    lag = sum(map(len, unread_of(ends, committed).values()))
    if silent is None:
        return DecisionLag(lag, 0, len(ends))
    own, published = (one.valid for one in silent)
    behind = sum(
        _behind(published.last_place(partition), own.last_place(partition), committed.get(partition, 0))
        for partition in (tp.partition for tp in ends)
    )
    return DecisionLag(lag, behind, len(ends))


def _behind(published: int, own: int, committed: int) -> int:
    """Return how many records lie between the last decision of its own, or its commit, and the last published one."""
    (log, offset), (own_log, own_offset) = log_and_offset(published), log_and_offset(own)
    reached = max(own_offset + 1 if own_log == log else 0, committed)
    return max(0, offset + 1 - reached)


def _live_model(settings: Settings, lineup: Lineup) -> LiveModel | None:
    if lineup.live is None:
        return None
    try:
        found = overviews(Repository(settings.models), {lineup.live})[lineup.live].manifest
    except (ModelError, OSError):
        found = None
    return LiveModel(lineup.live) if found is None else LiveModel(lineup.live, found.name, found.version)


async def _histories(target: Target) -> HistoriesFound:
    if not target.has_redis:
        return HistoriesFound(None, "its Redis is known to its own settings alone")
    try:
        found = await read_wholeness(target.settings.redis_url, target.name)
    except StoreError as error:
        return HistoriesFound(whole=False, found=str(error), answers=False)
    if found is None:
        return HistoriesFound(whole=False, found="Redis holds no histories of it", answers=False)
    text = f"whole, history epoch {found.epoch}"
    if not found.complete:
        text = f"history epoch {found.epoch} is being repaired"
    elif found.damaged:
        text = f"{found.damaged:,} histories are damaged and wait for a repair"
    return HistoriesFound(found.whole, text, days=found.days)
