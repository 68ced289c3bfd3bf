"""A hand-over that was accepted, followed on `scores` until every partition with payments has a decision of its term.

`scores` is what counts; the `handover` events, of which one may be lost, are only compared with it.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from fraudstream_client.validity import log_and_offset
from models.commands import Event, EventKind
from models.terms import term_of
from models.times import stated_ms
from stream.control.log_reader import LogReader
from stream.kafka.client import committed_offsets, group_members, open_admin, require_topic
from stream.kafka.topics import SCORES, TRANSACTIONS
from stream.readers import ScoreView, ValidViews, read_scores
from stream.scan import EARLIER_SCORES, FetchedRecord, LogConsumer, first_offsets, open_consumer
from stream.settings import Settings

_CLOCKS_MS = 60_000
"""The judge's clock and the brokers' may differ by this much."""
_FETCH_MS = 200
_LOOK_SECONDS = 1.0
_QUIET_SECONDS = 5.0
"""Where no payment waits for so long, partitions without a decision have no traffic."""


class PartitionHandover(msgspec.Struct, frozen=True, kw_only=True):
    """The hand-over in one partition.

    `first_offset` is the first transaction that was decided in the new term, None while there is none, and `announced`
    that of the `handover` event. `pause_ms` lies between the last decision of the old term and that first one, both by
    `scored_at`, and includes the time in which no payment came; `first_latency_ms` is how long the first payment
    waited. `decisions` of the new term are there, and `void` scores since the hand-over was accepted. `undecided`
    transactions are on the topic and have no decision yet.
    """

    partition: int
    first_offset: int | None = None
    announced: int | None = None
    pause_ms: int | None = None
    first_latency_ms: int | None = None
    decisions: int = 0
    void: int = 0
    undecided: int = 0


class HandoverReport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a hand-over from deployment `before` to `deployment` within its deadline.

    `later_term` is set if yet another term has begun meanwhile. `workers` are those in the deployment's group, known
    only if payments are `undecided`.
    """

    term: int
    deployment: str
    before: str
    accepted_at: str
    partitions: tuple[PartitionHandover, ...]
    later_term: int | None = None
    workers: int | None = None

    @property
    def done(self) -> bool:
        """Whether no payment waits for its first decision."""
        return not any(one.first_offset is None and one.undecided for one in self.partitions)

    @property
    def longest_pause_ms(self) -> int | None:
        """The longest pause of a partition; None if there was none."""
        return max((one.pause_ms for one in self.partitions if one.pause_ms is not None), default=None)


@dataclass(slots=True)
class _PartitionFold:
    last_before_ms: int | None = None
    first: ScoreView | None = None
    decisions: int = 0
    void_before: int = 0


@dataclass(slots=True)
class HandoverFold:
    """Folds the records of `scores` around the beginning of a term.

    Attributes:
        valid: the rule of validity, with the place of the last valid decision of each partition.
        later_term: the highest term after this one of which a valid decision was seen; None if none was.
    """

    term: int
    valid: ValidViews = field(default_factory=ValidViews)
    later_term: int | None = None
    _partitions: dict[int, _PartitionFold] = field(default_factory=dict)

    def add(self, records: Sequence[FetchedRecord], first: int) -> None:
        """Add the next records of a partition; void ones count from offset `first` on."""
        earlier = [record for record in records if record.offset < first]
        self._fold(earlier)
        for record in earlier[:1]:
            self._of(record.partition).void_before = self.valid.void.get(record.partition, 0)
        self._fold(records[len(earlier) :])

    def _of(self, partition: int) -> _PartitionFold:
        return self._partitions.setdefault(partition, _PartitionFold())

    def _fold(self, records: Sequence[FetchedRecord]) -> None:
        for record, decision in self.valid.of(read_scores(records)):
            one, term = self._of(record.partition), term_of(decision.epoch)
            if term < self.term:
                one.last_before_ms = decision.scored_ms
            elif term == self.term:
                one.first = one.first or decision
                one.decisions += 1
            else:
                self.later_term = max(term, self.later_term or term)

    def has_begun(self, partition: int) -> bool:
        """Tell whether a partition has a valid decision of the term."""
        one = self._partitions.get(partition)
        return one is not None and one.first is not None

    def result(self, partition: int, announced: int | None, undecided: int) -> PartitionHandover:
        """Return what became of a partition."""
        one = self._partitions.get(partition, _PartitionFold())
        void = self.valid.void.get(partition, 0) - one.void_before
        if one.first is None:
            return PartitionHandover(partition=partition, announced=announced, void=void, undecided=undecided)
        before_ms, first_ms = one.last_before_ms, one.first.scored_ms
        return PartitionHandover(
            partition=partition,
            first_offset=one.first.source.offset,
            announced=announced,
            pause_ms=None if before_ms is None else max(0, first_ms - before_ms),
            first_latency_ms=one.first.latency_ms,
            decisions=one.decisions,
            void=void,
        )


class Begun(NamedTuple):
    """A hand-over that was accepted: its term, when, and the deployment that published before."""

    term: int
    accepted_at: str
    before: str


Tell = Callable[[int, int], None]
"""Receives in how many partitions the hand-over is done, and of how many."""


async def watch_handover(settings: Settings, begun: Begun, deadline_s: float, tell: Tell) -> HandoverReport:
    """Follow a hand-over to the settings' deployment until it is done, nothing waits for it, or the deadline is over.

    Raises:
        aiokafka.errors.KafkaError: the brokers do not answer, or a topic is missing.
    """
    fold, topic = HandoverFold(begun.term), settings.topic(SCORES.name)
    consumer = open_consumer(settings, fetch_max_wait_ms=50)
    try:
        await consumer.start()
        tps = await _assign(consumer, topic)
        firsts = await first_offsets(consumer, tps, stated_ms(begun.accepted_at) - _CLOCKS_MS)
        begins = await consumer.beginning_offsets(tps)
        for tp, first in firsts.items():
            consumer.seek(tp, max(begins[tp], first - EARLIER_SCORES))
        watch = _Watch(settings, consumer, fold, {tp.partition: first for tp, first in firsts.items()})
        undecided = await watch.run(deadline_s, tell)
    finally:
        await consumer.stop()
    announced = await _announced(settings, begun.term)
    return HandoverReport(
        term=begun.term,
        deployment=settings.deployment,
        before=begun.before,
        accepted_at=begun.accepted_at,
        partitions=tuple(
            fold.result(tp.partition, announced.get(tp.partition), undecided.get(tp.partition, 0)) for tp in tps
        ),
        later_term=fold.later_term,
        workers=await _workers(settings) if undecided else None,
    )


async def _assign(consumer: LogConsumer, topic: str) -> list[TopicPartition]:
    await require_topic(consumer, topic)
    consumer.assign([TopicPartition(topic, 0)])
    await consumer.end_offsets([TopicPartition(topic, 0)])  # loads the topic's metadata, and so its partitions
    tps = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]
    consumer.assign(tps)
    return tps


@dataclass(slots=True)
class _Watch:
    """Reads `scores` until a hand-over is done; `firsts` are the offsets from which void scores count."""

    settings: Settings
    consumer: LogConsumer
    fold: HandoverFold
    firsts: Mapping[int, int]

    async def run(self, deadline_s: float, tell: Tell) -> dict[int, int]:
        """Return how many transactions have no decision, by partition without one of the term; empty if none has."""
        began = looked = time.monotonic()
        waited_at = began
        async with open_admin(self.settings) as admin:
            while True:
                for tp, records in (await self.consumer.getmany(timeout_ms=_FETCH_MS)).items():
                    self.fold.add(records, self.firsts[tp.partition])
                missing = [one for one in self.firsts if not self.fold.has_begun(one)]
                tell(len(self.firsts) - len(missing), len(self.firsts))
                now = time.monotonic()
                if not missing:
                    return {}
                if now - looked < _LOOK_SECONDS and now - began < deadline_s:
                    continue
                looked, undecided = now, await self._undecided(admin, missing)
                waited_at = now if undecided else waited_at
                if now - began >= deadline_s or now - waited_at >= _QUIET_SECONDS:
                    return undecided

    async def _undecided(self, admin: AIOKafkaAdminClient, partitions: Iterable[int]) -> dict[int, int]:
        """Return how many transactions of these partitions have no decision and are not committed, if any."""
        topic = self.settings.topic(TRANSACTIONS.name)
        tps = [TopicPartition(topic, partition) for partition in partitions]
        ends = await self.consumer.end_offsets(tps)
        committed = await committed_offsets(self.settings, admin, tps)
        found = {}
        for tp in tps:
            decided = log_and_offset(self.fold.valid.last_place(tp.partition))[1] + 1
            found[tp.partition] = ends[tp] - max(decided, committed[tp].offset)
        return {partition: count for partition, count in found.items() if count > 0}


async def _announced(settings: Settings, term: int) -> dict[int, int]:
    """Return the first offset of each partition by the `handover` events of a term."""
    async with LogReader(settings, reports=(EventKind.HANDOVER,)) as reader:
        await reader.read_to_end()
        return announced_in(reader.events(), term)


def announced_in(events: Iterable[Event], term: int) -> dict[int, int]:
    """Return the first offset of each partition by the `handover` events of a term; the lowest if two workers say."""
    found: dict[int, int] = {}
    for event in events:
        if event.kind is EventKind.HANDOVER and event.term == term and None not in (event.partition, event.offset):
            partition, offset = int(event.partition or 0), int(event.offset or 0)
            found[partition] = min(offset, found.get(partition, offset))
    return found


async def _workers(settings: Settings) -> int:
    async with open_admin(settings) as admin:
        return len(await group_members(admin, settings))
