"""The newest records of topics, fetched and decoded once for all folds of a process that have come so far.

A fold that is at the end of a topic takes what the others take, from here. One that is not, since it starts from an
earlier place or has stood still, reads by itself until it is. Nothing waits for a fold: what is kept for those that
come later is bounded, and one that is left behind reads by itself again.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Collection, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from aiokafka import TopicPartition

from stream.clock import now_ms
from stream.kafka.topics import SCORES
from stream.readers import ViewedRecord, read_scores
from stream.scan import FetchedRecord, LogConsumer, open_consumer
from stream.settings import Settings

FETCHING = {"fetch_max_wait_ms": 30, "fetch_min_bytes": 64 * 1024, "consumer_timeout_ms": 1_000}
"""A broker gathers records for so long, or so many bytes: of some hundred a second, each would cost a request.

aiokafka looks so often whether it has something to request, besides where it is told.
"""
WAIT_MS = 250
"""So long a fetch waits for a first record: what comes ends the wait, and each wait that is over costs requests."""
LARGEST_FETCH = 5_000
"""So many records at most are fetched at once: reading them holds up the process's other work for some 40 ms."""
MOST_KEPT = 20_000
"""So many records at most are kept for folds that come later."""
_ANSWERED_MS = 2_000
"""Where no answer to a fetch came for so long, a partition's end is asked for by itself."""
_NEVER = 0, 0
_RECENT_SECONDS = 5.0
"""What a fold still needs is kept for so long after it last asked."""

Scores = Mapping[TopicPartition, Sequence[ViewedRecord]]
"""Records of `scores` by partition, each in order, read."""
Others = Mapping[TopicPartition, Sequence[FetchedRecord]]
"""Records of other topics by partition, each in order, as they were fetched."""
Result = TypeVar("Result")


class TailPart(NamedTuple):
    """What a fold takes.

    Attributes:
        scores: of `scores`, read.
        records: of other topics.
        positions: the offset behind them, of each partition that was asked for and is kept here.
        until_ms: the time up to which everything was read, of each of these where it is known.
        unreadable: records that could not be unpacked, at most.
    """

    scores: Scores
    records: Others
    positions: Mapping[TopicPartition, int]
    until_ms: Mapping[TopicPartition, int]
    unreadable: int


class Fetched(NamedTuple):
    """What one fetch of a consumer brought.

    Attributes:
        records: by partition.
        positions: the offset behind what was read, of each partition.
        ends: each partition's end, behind the time at which it was asked for.
        unreadable: records that could not be unpacked, at most, by partition.
    """

    records: Others
    positions: Mapping[TopicPartition, int]
    ends: Mapping[TopicPartition, tuple[int, int]]
    unreadable: Mapping[TopicPartition, int]

    def until_ms(self, tp: TopicPartition, before: int | None) -> int | None:
        """Return the time up to which a partition is read; `before` is that time before the fetch."""
        (asked_ms, end), records = self.ends[tp], self.records.get(tp, ())
        if self.positions[tp] < end:
            if not records:
                return before
            asked_ms = min(records[-1].timestamp, asked_ms)
        return max(asked_ms, before or 0)


async def fetch_from(
    consumer: LogConsumer,
    tps: Sequence[TopicPartition],
    wait_ms: int,
    only: Collection[TopicPartition] = (),
    most: int = LARGEST_FETCH,
) -> Fetched:
    """Fetch from some of a consumer's partitions, or from `only` these; if there is nothing, wait for `wait_ms`.

    Each answer to a fetch tells a partition's end, so that is asked for by itself only where no answer came for a
    while: brokers that are away are so noticed.

    Raises:
        aiokafka.errors.KafkaError: the brokers do not respond.
    """
    asked_ms, fetcher = now_ms(), consumer.fetcher
    if silent := [tp for tp in tps if fetcher.ends.get(tp, _NEVER)[0] < asked_ms - _ANSWERED_MS]:
        for tp, end in (await consumer.end_offsets(silent)).items():
            fetcher.ends[tp] = max((asked_ms, end), fetcher.ends.get(tp, _NEVER))
    records = await consumer.getmany(*(only or tps), timeout_ms=wait_ms, max_records=most)
    passed, fetcher.passed_over = fetcher.passed_over, []
    unreadable = Counter[TopicPartition]()
    for tp, gap in passed:
        unreadable[tp] += gap.end - gap.first
    return Fetched(
        records,
        {tp: await consumer.position(tp) for tp in tps},
        {tp: fetcher.ends[tp] for tp in tps},
        unreadable,
    )


@dataclass(frozen=True, slots=True)
class _Chunk:
    """The records of one fetch, behind `first` and up to `next`."""

    first: int
    next: int
    records: Sequence[Any]
    unreadable: int

    def since(self, offset: int) -> Sequence[Any]:
        """Return the records from an offset on."""
        return self.records if self.first >= offset else [one for one in self.records if one.offset >= offset]


@dataclass(slots=True, eq=False)
class _Partition:
    """What is kept of a partition: the records from `begin` up to `next`; another one where it is read anew."""

    begin: int
    next: int
    chunks: deque[_Chunk] = field(default_factory=deque)
    until_ms: int | None = None

    def behind(self, offset: int) -> Iterator[_Chunk]:
        """Yield the chunks that reach behind an offset."""
        return (chunk for chunk in self.chunks if chunk.next > offset)

    def drop_before(self, offset: int) -> int:
        """Forget chunks that end before an offset or there; return how many records they had."""
        dropped = 0
        while self.chunks and self.chunks[0].next <= offset:
            dropped += len(self.chunks[0].records)
            self.begin = self.chunks.popleft().next
        return dropped


class SharedTail:
    """Fetches what is new once, for all folds; each of its methods may be awaited in any thread's loop.

    Args:
        settings: the brokers and the topic prefix.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._scores = settings.topic(SCORES.name)
        self._partitions: dict[TopicPartition, _Partition] = {}
        self._missing: dict[TopicPartition, int] = {}
        self._needed: dict[int, tuple[float, Mapping[TopicPartition, int]]] = {}
        self._consumer: LogConsumer | None = None
        self._assigned: dict[TopicPartition, _Partition] = {}
        self._fetching = asyncio.Lock()
        self._fetches = 0
        self._kept = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    def begin(self) -> None:
        """Fetch by the loop that runs now."""
        self._loop = asyncio.get_running_loop()

    async def reached(self, reader: object, at: Mapping[TopicPartition, int]) -> Collection[TopicPartition]:
        """Return the partitions that a reader at these offsets can take from here; what it needs next is kept.

        A partition that nobody reads yet is read from there on.
        """
        return await self._in_own_loop(self._reached(id(reader), at))

    async def take(self, reader: object, at: Mapping[TopicPartition, int], wait_ms: int) -> TailPart:
        """Return what there is behind these offsets; if there is nothing, fetch, and wait for `wait_ms` at most.

        Raises:
            aiokafka.errors.KafkaError: the brokers do not respond; all readers go on by themselves.
        """
        return await self._in_own_loop(self._take(id(reader), at, wait_ms))

    async def forget(self, topic: str) -> None:
        """Forget what was fetched of a topic, which was made anew."""
        await self._in_own_loop(self._forget(topic))

    async def leave(self, reader: object) -> None:
        """Keep nothing for a reader any more; without readers, disconnect."""
        await self._in_own_loop(self._leave(id(reader)))

    async def close(self) -> None:
        """Disconnect; whoever reads on connects again."""
        await self._in_own_loop(self._close())

    async def _in_own_loop(self, work: Coroutine[Any, Any, Result]) -> Result:
        loop = self._loop
        if loop is None or loop is asyncio.get_running_loop():
            return await work
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))

    # --- in the own loop

    async def _reached(self, reader: int, at: Mapping[TopicPartition, int]) -> Collection[TopicPartition]:
        self._needed[reader] = time.monotonic(), dict(at)
        for tp, offset in at.items():
            if self._missing.get(tp) != offset:
                self._partitions.setdefault(tp, _Partition(offset, offset))
        return {tp for tp, offset in at.items() if self._has(tp, offset)}

    def _has(self, tp: TopicPartition, offset: int) -> bool:
        part = self._partitions.get(tp)
        return part is not None and part.begin <= offset <= part.next

    async def _take(self, reader: int, at: Mapping[TopicPartition, int], wait_ms: int) -> TailPart:
        found = self._part(at)
        if not found.scores and not found.records:
            await self._advance(wait_ms)
            found = self._part(at)
        self._needed[reader] = time.monotonic(), {**at, **found.positions}
        self._evict()
        return found

    def _part(self, at: Mapping[TopicPartition, int]) -> TailPart:
        found, positions = dict[TopicPartition, list[Any]](), dict[TopicPartition, int]()
        until_ms, left, unreadable = dict[TopicPartition, int](), LARGEST_FETCH, 0
        for tp, offset in at.items():
            if not self._has(tp, offset):
                continue
            part, taken, positions[tp] = self._partitions[tp], list[Any](), offset
            for chunk in part.behind(offset):
                if left <= 0:
                    break
                taken += chunk.since(offset)
                positions[tp], left, unreadable = chunk.next, left - len(chunk.records), unreadable + chunk.unreadable
            if taken:
                found[tp], until_ms[tp] = taken, taken[-1].timestamp
            if positions[tp] == part.next and part.until_ms is not None:
                until_ms[tp] = part.until_ms
        scores, records = self._apart(found)
        return TailPart(scores, records, positions, until_ms, unreadable)

    def _apart(self, found: Mapping[TopicPartition, list[Any]]) -> tuple[Scores, Others]:
        scores = {tp: some for tp, some in found.items() if tp.topic == self._scores}
        return scores, {tp: some for tp, some in found.items() if tp not in scores}

    async def _advance(self, wait_ms: int) -> None:
        """Fetch once; whoever comes meanwhile waits for that and fetches no more."""
        fetches = self._fetches
        async with self._fetching:
            if self._fetches != fetches:
                return
            try:
                await self._fetch(wait_ms)
            except BaseException:  # a cancellation as well: what was taken from the queues is lost here
                await self._close()
                raise
            finally:
                self._fetches += 1

    async def _fetch(self, wait_ms: int) -> None:
        consumer = await self._connected()
        assigned = self._assigned
        fetched = await fetch_from(consumer, list(assigned), wait_ms)
        for tp, part in assigned.items():
            position, records = fetched.positions[tp], fetched.records.get(tp, ())
            if self._partitions.get(tp) is not part:  # it was forgotten meanwhile, and perhaps is read from elsewhere
                continue
            if position > part.next:
                part.chunks.append(_Chunk(part.next, position, self._read(tp, records), fetched.unreadable.get(tp, 0)))
                part.next, self._kept = position, self._kept + len(records)
            part.until_ms = fetched.until_ms(tp, part.until_ms)
        for tp, offset in list(consumer.fetcher.queues.out_of_range.items()):
            self._missing[tp] = offset  # whoever reads it finds by itself what was removed
            self._drop(tp)

    def _read(self, tp: TopicPartition, records: Sequence[FetchedRecord]) -> Sequence[ViewedRecord | FetchedRecord]:
        return read_scores(records) if tp.topic == self._scores else records

    async def _connected(self) -> LogConsumer:
        """Return a consumer of what is kept; to assign others to one that reads loses its positions."""
        previous = self._consumer
        if previous is not None and self._assigned == self._partitions:
            return previous
        consumer = open_consumer(self._settings, resets=False, **FETCHING)
        self._consumer = consumer
        if previous is not None:
            await previous.stop()
        await consumer.start()
        self._assigned = self._partitions.copy()
        consumer.assign(sorted(self._assigned))
        for tp, part in self._assigned.items():
            consumer.seek(tp, part.next)
        return consumer

    def _evict(self) -> None:
        """Forget what no reader needs that has asked of late, and the oldest of what is too much."""
        now = time.monotonic()
        needed = [at for asked, at in self._needed.values() if now - asked < _RECENT_SECONDS]
        for tp, part in self._partitions.items():
            offsets = [at[tp] for at in needed if at.get(tp, -1) >= part.begin]
            self._kept -= part.drop_before(min(offsets, default=part.next))
        while self._kept > MOST_KEPT:
            longest = max(self._partitions.values(), key=lambda part: sum(len(one.records) for one in part.chunks))
            self._kept -= longest.drop_before(longest.chunks[0].next)

    def _drop(self, tp: TopicPartition) -> None:
        part = self._partitions.pop(tp, None)
        if part is not None:
            self._kept -= part.drop_before(part.next)

    async def _forget(self, topic: str) -> None:
        for tp in [tp for tp in self._partitions if tp.topic == topic]:
            self._drop(tp)

    async def _leave(self, reader: int) -> None:
        self._needed.pop(reader, None)
        if not self._needed:
            await self._close()

    async def _close(self) -> None:
        consumer, self._consumer = self._consumer, None
        self._partitions, self._kept = {}, 0
        if consumer is not None:
            await consumer.stop()
