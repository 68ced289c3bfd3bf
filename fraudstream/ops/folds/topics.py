"""Read some topics on and on, each partition from a position or a time, and say what was lost or made anew meanwhile.

It belongs to no group and commits nothing: the positions are kept by whoever counts, together with the counts.
"""

import logging
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import NamedTuple

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import UnknownTopicOrPartitionError

from fraudstream.ops.folds.tail import FETCHING, WAIT_MS, Others, Scores, SharedTail, fetch_from
from stream.clock import now_ms
from stream.kafka.client import missing_topic, open_admin, require_topic
from stream.kafka.stray import answered_within, given_up_as_error
from stream.kafka.topic_ids import TopicState, topic_states
from stream.kafka.topics import MODEL_EVENTS, SCORES
from stream.readers import read_scores
from stream.scan import FetchedRecord, LogConsumer, first_offsets, open_consumer
from stream.settings import Settings

log = logging.getLogger("fraudstream.guard")

_LOOK_SECONDS = 3.0
"""How often topics are looked at: for added partitions, and whether they are still the same topics."""
_TIMEOUT_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class ReadTopic:
    """A topic to read, and from where.

    Attributes:
        name: with its prefix.
        since_ms: from when a partition is read that has no position.
        before: so many earlier records of it are read too.
        positions: the offset of the next record, of each partition that was read before.
        topic_id: of the topic that the positions are of; empty if unknown.
    """

    name: str
    since_ms: int
    before: int = 0
    positions: Mapping[int, int] = field(default_factory=dict)
    topic_id: str = ""


class FetchedPart(NamedTuple):
    """What one fetch brought.

    Attributes:
        anew: the partitions of topics that were deleted and made anew: forget what was counted of them before.
        scores: new records of `scores`, read.
        records: new records of other topics.
        positions: the offset behind what was read, of all partitions.
        until_ms: the time up to which everything was read, of each partition where it is known.
        events: whether the event log may have changed; never, if it is not watched.
    """

    anew: tuple[TopicPartition, ...]
    scores: Scores
    records: Others
    positions: Mapping[TopicPartition, int]
    until_ms: Mapping[TopicPartition, int]
    events: bool = False

    @property
    def size(self) -> int:
        """How many records it brought."""
        return sum(map(len, self.scores.values())) + sum(map(len, self.records.values()))


class FollowedTopics:
    """Reads all partitions of some topics, those that are added later too.

    After any error, the next fetch connects again and goes on behind the last one that succeeded.

    Args:
        settings: the brokers and the topic prefix.
        topics: what is read, and from where.
        tail: from where it takes what is new together with others of its process; without, it reads all by itself.
        watches_events: whether it tells when the event log changes, which is then fetched with the topics: to ask
            again and again whether it did would cost more than all else where little comes.

    Attributes:
        topic_ids: the ids of the topics that are read; empty where the brokers have none.
        lost: records that were removed before they were read, at most, by partition; None if nobody can count, as where
            the oldest record that a partition still has is of the time from which it was to be read.
        unreadable: records in batches that could not be unpacked, at most.
    """

    def __init__(
        self,
        settings: Settings,
        topics: Sequence[ReadTopic],
        tail: SharedTail | None = None,
        *,
        watches_events: bool = False,
    ) -> None:
        self._events = TopicPartition(settings.topic(MODEL_EVENTS.name), 0)
        self._events_at: int | None = None
        if watches_events:
            topics = [*topics, ReadTopic(self._events.topic, now_ms())]
        self.lost: dict[TopicPartition, int | None] = {}
        self.unreadable = 0
        self.topic_ids = {topic.name: topic.topic_id for topic in topics}
        self._settings = settings
        self._tail = tail
        self._shared: frozenset[TopicPartition] = frozenset()
        self._scores = settings.topic(SCORES.name)
        self._topics = {topic.name: topic for topic in topics}
        self._at = {TopicPartition(one.name, number): at for one in topics for number, at in one.positions.items()}
        self._until_ms: dict[TopicPartition, int] = {}
        self._stack = AsyncExitStack()
        self._admin: AIOKafkaAdminClient | None = None
        self._consumer: LogConsumer | None = None
        self._looked_at = 0.0
        self._anew: set[TopicPartition] = set()

    async def close(self) -> None:
        """Disconnect; the next fetch connects again."""
        stack, self._stack = self._stack, AsyncExitStack()
        self._consumer = self._admin = None
        if self._tail is not None:
            await self._tail.leave(self)
        await stack.aclose()

    async def ranges(self) -> dict[TopicPartition, tuple[int, int]]:
        """Return each partition's first offset and its end.

        Raises:
            aiokafka.errors.KafkaError: the brokers do not respond, or a topic is missing.
        """
        consumer = await self._connected()
        tps = sorted(consumer.assignment())
        begins, ends = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
        return {tp: (begins[tp], ends[tp]) for tp in tps}

    @property
    def positions(self) -> Mapping[TopicPartition, int]:
        """The offset of the next record of each partition."""
        return self._at.copy()

    async def fetch(self, wait_ms: int = WAIT_MS, only: Collection[TopicPartition] = ()) -> FetchedPart:
        """Return what there is, `LARGEST_FETCH` records at most; if there is nothing, wait for `wait_ms` at most.

        Args:
            wait_ms: how long to wait for a first record.
            only: the partitions to read; all, if it is empty.

        Raises:
            aiokafka.errors.KafkaError: the brokers do not respond, or a topic is missing.
        """
        try:
            async with answered_within(_TIMEOUT_SECONDS):
                with given_up_as_error():
                    return await self._fetch(wait_ms, only)
        except BaseException:  # a cancellation as well: what was taken from the queues is fetched again
            self._looked_at = -1.0
            raise

    async def _fetch(self, wait_ms: int, only: Collection[TopicPartition]) -> FetchedPart:
        consumer = await self._connected()
        await self._mend(consumer)
        tps = sorted(consumer.assignment())
        if self._tail is not None:
            self._share(consumer, await self._tail.reached(self, {tp: self._at[tp] for tp in tps}))
        alone = [tp for tp in tps if tp not in self._shared]
        scores: Scores = {}
        records = dict[TopicPartition, Sequence[FetchedRecord]]()
        if alone:
            fetched = await self._fetch_alone(consumer, alone, 0 if self._shared else wait_ms, only)
            records = {tp: found for tp, found in fetched.items() if tp.topic != self._scores}
            scores = {tp: read_scores(found) for tp, found in fetched.items() if tp not in records}
        if self._tail is not None and self._shared:
            wait_ms = 0 if scores or records else wait_ms
            part = await self._tail.take(self, {tp: self._at[tp] for tp in self._shared}, wait_ms)
            scores, records = {**scores, **part.scores}, {**records, **part.records}
            self._at.update(part.positions)
            for tp, until_ms in part.until_ms.items():
                self._until_ms[tp] = max(until_ms, self._until_ms.get(tp, 0))
            self.unreadable += part.unreadable
        anew, self._anew = tuple(sorted(self._anew - {self._events})), set()
        events_at, self._events_at = self._events_at, self._at.get(self._events)
        records.pop(self._events, None)
        positions = {tp: self._at[tp] for tp in tps if tp != self._events}
        return FetchedPart(anew, scores, records, positions, self._until_ms.copy(), events_at != self._events_at)

    def _share(self, consumer: LogConsumer, reached: Collection[TopicPartition]) -> None:
        """Read by itself only what the tail does not have."""
        shared = frozenset(reached)
        for tp in shared - self._shared:
            consumer.pause(tp)
        for tp in self._shared - shared:
            consumer.seek(tp, self._at[tp])
            consumer.resume(tp)
        self._shared = shared

    async def _fetch_alone(
        self, consumer: LogConsumer, tps: Sequence[TopicPartition], wait_ms: int, only: Collection[TopicPartition]
    ) -> Others:
        fetched = await fetch_from(consumer, tps, wait_ms, only)
        for tp in tps:
            until_ms = fetched.until_ms(tp, self._until_ms.get(tp))
            if until_ms is not None:
                self._until_ms[tp] = until_ms
        self.unreadable += sum(fetched.unreadable.values())
        self._at.update(fetched.positions)
        return fetched.records

    async def _connected(self) -> LogConsumer:
        """Return a consumer of all partitions; connect if there is none, after an error, and where one was added."""
        if self._looked_at < 0:
            await self.close()
        elif self._consumer is not None and time.monotonic() - self._looked_at < _LOOK_SECONDS:
            return self._consumer
        if self._admin is None:
            self._admin = await self._stack.enter_async_context(open_admin(self._settings))
        states = await self._states(self._admin)
        tps = {TopicPartition(name, number) for name, one in states.items() for number in range(one.partitions)}
        are_anew = await self._are_anew(states)
        if self._consumer is None or are_anew or tps != self._consumer.assignment():
            self._consumer = await self._assigned(sorted(tps))
        self._looked_at = time.monotonic()
        return self._consumer

    async def _states(self, admin: AIOKafkaAdminClient) -> dict[str, TopicState]:
        """Return the topics' ids, where the brokers have them, and numbers of partitions."""
        states = await topic_states(admin, list(self._topics))
        if len(states) < len(self._topics):
            existing = set(await admin.list_topics())  # to describe one that is missing may create it
            named = [name for name in self._topics if name in existing]
            described = await admin.describe_topics(named) if named else []
            states = {one["topic"]: TopicState("", len(one["partitions"])) for one in described} | states
        for name in self._topics:
            if name not in states:
                raise UnknownTopicOrPartitionError(missing_topic(name))
        return states

    async def _are_anew(self, states: Mapping[str, TopicState]) -> bool:
        """Tell whether a topic is another one than that which was read; forget the positions in it."""
        found = False
        for name, state in states.items():
            before = self.topic_ids[name]
            self.topic_ids[name] = state.topic_id or before
            if before and state.topic_id and before != state.topic_id:
                log.warning("topic %s was deleted and made anew; it is read from its beginning", name)
                for tp in [tp for tp in self._at if tp.topic == name]:
                    self._forget(tp)
                if self._tail is not None:
                    await self._tail.forget(name)
                found = True
        return found

    def _forget(self, tp: TopicPartition) -> None:
        self._anew.add(tp)
        for known in (self._at, self._until_ms, self.lost):
            known.pop(tp, None)

    async def _assigned(self, tps: Sequence[TopicPartition]) -> LogConsumer:
        """Return a new consumer of these partitions; to assign others to one that reads loses its positions."""
        previous, consumer = self._consumer, open_consumer(self._settings, resets=False, **FETCHING)
        self._stack.push_async_callback(consumer.stop)
        await consumer.start()
        for name in self._topics:
            await require_topic(consumer, name)
        consumer.assign(tps)
        await self._find_starts(consumer, [tp for tp in tps if tp not in self._at])
        for tp in tps:
            consumer.seek(tp, self._at[tp])
        self._shared = frozenset()
        if previous is not None:
            await previous.stop()
        return consumer

    async def _find_starts(self, consumer: LogConsumer, tps: Sequence[TopicPartition]) -> None:
        """Find where partitions begin that were not read before."""
        if not tps:
            return
        begins, firsts = await consumer.beginning_offsets(tps), dict[TopicPartition, int]()
        for name, topic in self._topics.items():
            own = [tp for tp in tps if tp.topic == name]
            firsts |= await first_offsets(consumer, own, topic.since_ms) if own else {}
        ends = await consumer.end_offsets(tps)
        for tp in tps:
            if 0 < begins[tp] == firsts[tp] < ends[tp]:
                self.lost[tp] = None
            self._at[tp] = max(begins[tp], firsts[tp] - self._topics[tp.topic].before)

    async def _mend(self, consumer: LogConsumer) -> None:
        """Go on where the next record of a partition was removed, or the topic was made anew."""
        missing = list(consumer.fetcher.queues.out_of_range)
        if not missing:
            return
        begins, ends = await consumer.beginning_offsets(missing), await consumer.end_offsets(missing)
        for tp in missing:
            at = self._at[tp]
            if at > ends[tp]:
                log.warning("%s partition %d ends at %d, before offset %d, which was read: it is read anew",
                            *tp, ends[tp], at)  # fmt: skip
                self._forget(tp)
            elif at < begins[tp]:
                count, before = begins[tp] - at, self.lost.get(tp, 0)
                log.warning("%s partition %d: at most %d records from offset %d on were removed before they were read",
                            *tp, count, at)  # fmt: skip
                self.lost[tp] = None if before is None else before + count
                self._at[tp] = begins[tp]
        await self._find_starts(consumer, [tp for tp in missing if tp not in self._at])
        for tp in missing:
            consumer.seek(tp, self._at[tp])
