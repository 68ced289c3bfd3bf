"""Read `scores` as one of a consumer group: each partition from its commit, which also says what is valid there.

A rebalance is only noted when it happens; the next fetch begins with the partitions that are own then. What another
process explained meanwhile is read again at most from its last commit.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import AsyncExitStack
from typing import Self

import msgspec
from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from aiokafka.structs import OffsetAndMetadata

from fraudstream.ops.folds.tail import fetch_from
from fraudstream.ops.watch.explanations.alerts import PartitionReader, ReadPart, ReadProgress, read_commit
from fraudstream_client.outputs import Score
from stream.kafka.client import REQUEST_TIMEOUT_MS, committed_offsets, connection_options, open_admin, require_topic
from stream.kafka.stray import answered_within
from stream.kafka.topic_ids import topic_states
from stream.kafka.topics import EXPLANATIONS, SCORES
from stream.scan import EARLIER_SCORES, LogConsumer, first_offsets
from stream.settings import Settings

log = logging.getLogger("fraudstream.explanations")

GROUP_SUFFIX = "-explanations"
LARGEST_FETCH = 1_000
LOOKED_AHEAD = 1_000
"""So many records of each partition are looked at before the start."""
_AHEAD_SECONDS = 5.0
_ANSWER_SECONDS = 10.0
_POLL_INTERVAL_MS = 300_000
_FETCH_WAIT_MS = 50
_Ranges = Mapping[TopicPartition, tuple[int, int]]
"""The first offset and the end of partitions."""


def group_of(settings: Settings) -> str:
    """Return the consumer group of the processes that explain a deployment's alerts."""
    return f"{settings.group}{GROUP_SUFFIX}"


class Membership(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka ships no types
    """Notes which partitions belong to this process; `number` rises with each change."""

    def __init__(self) -> None:
        self.number = 0
        self.joined = False
        self.own: frozenset[TopicPartition] = frozenset()

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:  # noqa: ARG002 - aiokafka's signature
        """Stop: other processes may explain them from now on."""
        self.number, self.own = self.number + 1, frozenset()

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Begin anew where the commits are."""
        self.number, self.own, self.joined = self.number + 1, frozenset(assigned), True


class CommitBefore(ConsumerRebalanceListener):  # type: ignore[misc] # likewise
    """Lets `commit` write how far own partitions are before others may get them, and notes then who has them."""

    def __init__(self, commit: Callable[[], Awaitable[None]], membership: Membership) -> None:
        self._commit = commit
        self._membership = membership

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Commit, if the coordinator answers; else what is not committed is explained again."""
        try:
            await self._commit()
        except KafkaError as error:
            log.info("the last explanations are not committed before the group rebalances: %s", error)
        finally:
            self._membership.on_partitions_revoked(revoked)

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Note which partitions belong to this process."""
        self._membership.on_partitions_assigned(assigned)


class AlertReader:
    """Reads the alerts of own partitions. Use it as an asynchronous context; after an error make another.

    Args:
        settings: the brokers, the group and the deployment.
        since_ms: from when a partition without a commit is read; None: from its beginning.
        done: returns how far partitions are explained that are not committed yet: it is committed before a rebalance.

    Attributes:
        membership: which partitions are own.
        listener: what the consumer tells of rebalances.
        lost: scores that retention removed before they were read, at most.
        unreadable: records that were passed over because they cannot be read.
    """

    def __init__(
        self, settings: Settings, since_ms: int | None, done: Callable[[], Mapping[int, ReadProgress]] = dict
    ) -> None:
        self.membership = Membership()
        self.lost = self.unreadable = 0
        self._settings = settings
        self._group = msgspec.structs.replace(settings, group=group_of(settings))
        self._since_ms = since_ms
        self.listener = CommitBefore(lambda: self.commit(done()), self.membership)
        self._topic = settings.topic(SCORES.name)
        self._topic_id = ""
        self._number = -1
        self._reading: dict[TopicPartition, PartitionReader] = {}
        self._ends: dict[TopicPartition, int] = {}
        self._stack = AsyncExitStack()
        self._consumer: LogConsumer
        self._admin: AIOKafkaAdminClient

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            self._admin = await stack.enter_async_context(open_admin(self._settings))
            self._consumer = self._new_consumer()
            stack.push_async_callback(self._consumer.stop)
            await self._consumer.start()
            for layout in (SCORES, EXPLANATIONS):
                await require_topic(self._consumer, self._settings.topic(layout.name))
            self._consumer.subscribe([self._topic], listener=self.listener)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @property
    def number(self) -> int:
        """That of the assignment whose partitions are read."""
        return self._number

    @property
    def is_settled(self) -> bool:
        """Whether it is known where each own partition begins: what is written from now on is read."""
        return self.membership.joined and self._number == self.membership.number

    @property
    def lag(self) -> int:
        """The records of own partitions that are not read yet, of those that were there seconds ago."""
        reading = self._reading.items()
        return sum(max(0, self._ends.get(tp, 0) - one.progress.offset) for tp, one in reading)

    def take_void(self) -> dict[int, int]:
        """Return how many void scores were read since the last call, by partition."""
        found = {tp.partition: one.void for tp, one in self._reading.items() if one.void}
        for one in self._reading.values():
            one.void = 0
        return found

    async def fetch(self, wait_ms: int, busy: Collection[int]) -> dict[int, ReadPart]:
        """Return the next records by partition; wait for a first one for `wait_ms` at most.

        Args:
            wait_ms: how long to wait.
            busy: partitions of which earlier alerts are not explained yet: nothing is fetched of them.

        Raises:
            aiokafka.errors.KafkaError: the brokers do not respond.
        """
        try:
            async with answered_within(_ANSWER_SECONDS, wait_ms / 1000):
                return await self._fetch(wait_ms, busy)
        except IllegalStateError:  # a partition was taken away between two steps
            log.info("the group has rebalanced")
            return {}

    async def _fetch(self, wait_ms: int, busy: Collection[int]) -> dict[int, ReadPart]:
        await self._settle()
        number, tps = self._number, [tp for tp in self._reading if tp.partition not in busy]
        if not tps:
            self._consumer.check_errors()
            with self._consumer.polling():
                await asyncio.sleep(wait_ms / 1000)
            return {}
        await self._mend()
        fetched = await fetch_from(self._consumer, list(self._reading), wait_ms, tps, LARGEST_FETCH)
        if number != self.membership.number:
            return {}
        self._ends = {tp: end for tp, (_, end) in fetched.ends.items()}
        found = {tp.partition: self._reading[tp].read(records) for tp, records in fetched.records.items()}
        for tp in fetched.records:
            self._note_unreadable(tp, self._reading[tp])
        return found

    async def look_ahead(self) -> list[Score]:
        """Return the alerts among the last records of own partitions that are still to be explained; none is taken.

        Raises:
            aiokafka.errors.KafkaError: the brokers do not respond.
        """
        try:
            async with answered_within(_ANSWER_SECONDS, _AHEAD_SECONDS):
                await self._settle()
                return await self._newest()
        except IllegalStateError:  # a partition was taken away between two steps
            return []

    async def _newest(self) -> list[Score]:
        found = list[Score]()
        for tp, (_, end) in (await self._ranges(sorted(self._reading))).items():
            one = self._reading[tp]
            at = max(one.progress.offset, end - LOOKED_AHEAD)
            ahead = PartitionReader(ReadProgress(at), self._settings.deployment, one.first)
            self._consumer.seek(tp, at)
            until = asyncio.get_running_loop().time() + _AHEAD_SECONDS
            while at < end and asyncio.get_running_loop().time() < until:
                records = (await self._consumer.getmany(tp, timeout_ms=_FETCH_WAIT_MS)).get(tp, ())
                found += [alert.score for alert in ahead.read(records).alerts]
                at = await self._consumer.position(tp)
            self._consumer.seek(tp, one.progress.offset)
        return found

    async def commit(self, progress: Mapping[int, ReadProgress]) -> None:
        """Commit how far partitions are explained; without effect if the group has rebalanced.

        Nothing is committed of earlier scores, which are read for their validity alone: who began there would explain
        what was to be left out.

        Raises:
            aiokafka.errors.KafkaError: the coordinator does not respond.
        """
        if self._number != self.membership.number or not progress:
            return
        commits = {
            TopicPartition(self._topic, number): OffsetAndMetadata(one.offset, one.note(self._topic_id))
            for number, one in progress.items()
            if one.offset >= self._reading[TopicPartition(self._topic, number)].first
        }
        try:
            async with answered_within(_ANSWER_SECONDS):
                if commits:
                    await self._consumer.commit(commits)
        except (CommitFailedError, IllegalStateError) as error:
            log.info("the commit was refused, the group has rebalanced: %s", error)

    def _new_consumer(self) -> LogConsumer:
        session_ms = int(self._settings.session_timeout * 1000)
        return LogConsumer(
            # The coordinator may take a session timeout to answer who joins.
            **{**connection_options(self._settings), "request_timeout_ms": REQUEST_TIMEOUT_MS + session_ms},
            resets=False,
            group_id=self._group.group,
            group_instance_id=self._settings.group_instance or None,
            auto_offset_reset="earliest",
            session_timeout_ms=session_ms,
            heartbeat_interval_ms=session_ms // 3,
            max_poll_interval_ms=_POLL_INTERVAL_MS,
            fetch_max_wait_ms=_FETCH_WAIT_MS,
        )

    # --- where partitions begin

    async def _settle(self) -> None:
        """Find where the own partitions begin, if they are others than at the last fetch."""
        number, tps = self.membership.number, sorted(self.membership.own)
        if number == self._number:
            return
        reading: dict[TopicPartition, PartitionReader] = {}
        if tps:
            states = await topic_states(self._admin, [self._topic])
            self._topic_id = states[self._topic].topic_id if self._topic in states else ""
            commits = await committed_offsets(self._group, self._admin, tps)
            ranges = await self._ranges(tps)
            firsts = await self._firsts([tp for tp in tps if commits[tp].offset < 0], ranges)
            reading = {tp: self._begin(tp, commits[tp], ranges[tp], firsts.get(tp, 0)) for tp in tps}
        if number != self.membership.number:
            return
        for tp, one in reading.items():
            self._consumer.seek(tp, one.progress.offset)
        self._reading, self._number = reading, number
        log.info("explains the alerts of partitions %s", ", ".join(str(tp.partition) for tp in tps) or "none")

    async def _ranges(self, tps: list[TopicPartition]) -> _Ranges:
        begins, ends = await self._consumer.beginning_offsets(tps), await self._consumer.end_offsets(tps)
        return {tp: (begins[tp], ends[tp]) for tp in tps}

    async def _firsts(self, tps: list[TopicPartition], ranges: _Ranges) -> dict[TopicPartition, int]:
        """Return from which offset on the alerts of partitions without a commit are explained."""
        if self._since_ms is None or not tps:
            return {tp: ranges[tp][0] for tp in tps}
        return await first_offsets(self._consumer, tps, self._since_ms)

    def _begin(
        self, tp: TopicPartition, commit: OffsetAndMetadata, offsets: tuple[int, int], first: int
    ) -> PartitionReader:
        """Return the reader of a partition, at its commit; `first` holds where there is none."""
        (begin, end), deployment = offsets, self._settings.deployment
        if commit.offset < 0:
            return PartitionReader(ReadProgress(max(begin, first - EARLIER_SCORES)), deployment, first)
        known = read_commit(commit.metadata)
        if commit.offset > end or (known.topic_id and self._topic_id and known.topic_id != self._topic_id):
            return self._anew(tp, begin)
        if commit.offset < begin:
            self._note_loss(tp, commit.offset, begin)
        at = max(begin, commit.offset)
        if known.standing is None:
            return PartitionReader(ReadProgress(max(begin, at - EARLIER_SCORES)), deployment, at)
        return PartitionReader(ReadProgress(at, known.standing), deployment)

    async def _mend(self) -> None:
        """Go on where the next score of a partition was removed, or the topic was made anew, while it was read."""
        missing = [tp for tp in self._consumer.fetcher.queues.out_of_range if tp in self._reading]
        if not missing:
            return
        for tp, (begin, end) in (await self._ranges(missing)).items():
            one = self._reading[tp]
            if one.progress.offset > end:
                self._reading[tp] = self._anew(tp, begin)
            else:
                self._note_loss(tp, one.progress.offset, begin)
                one.progress = ReadProgress(begin, one.progress.standing)
            self._consumer.seek(tp, begin)

    def _anew(self, tp: TopicPartition, begin: int) -> PartitionReader:
        log.warning("%s was made anew; partition %d is explained from its beginning", *tp)
        return PartitionReader(ReadProgress(begin), self._settings.deployment)

    def _note_loss(self, tp: TopicPartition, first: int, begin: int) -> None:
        """Note scores that are gone; what is left can still be explained."""
        self.lost += begin - first
        log.warning("%s partition %d: at most %d scores from offset %d on were removed before they were explained",
                    *tp, begin - first, first)  # fmt: skip

    def _note_unreadable(self, tp: TopicPartition, one: PartitionReader) -> None:
        """Note records that cannot be read: if one was an alert, it gets no explanation."""
        if not one.unreadable:
            return
        log.warning("%s partition %d: %d records cannot be read and are not explained, the first at offset %d",
                    *tp, len(one.unreadable), one.unreadable[0])  # fmt: skip
        self.unreadable += len(one.unreadable)
        one.unreadable = []
