"""Reads the ends of the scores partitions, each from the position that its commit names, or a copy of that commit."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from stream.kafka.commit_copies import CommitCopy, CopySource, Origin, why_unproven
from stream.kafka.fetcher import LogConsumer, open_consumer
from stream.kafka.offsets import Position, ResumePoint, committed_offsets, folded, parse_metadata, read_decision
from stream.kafka.scan import record_at
from stream.kafka.topic_ids import topic_states
from stream.kafka.topics import TRANSACTIONS
from stream.settings import Settings

log = logging.getLogger("fraudstream.score_tails")

_FETCH_MS = 500


class TailReader:
    """Reads the tail of each scores partition from the position that the last commit names to its end.

    `copies` stand in for commits that are gone; None: all scores are read then.

    Attributes:
        scores_id: the id of the topic that is read; empty where the brokers have none.
        progress: how far each partition has been read: the next offset, and the end.
    """

    def __init__(
        self,
        consumer: LogConsumer,
        topic: str,
        origin: Origin,
        starts: Mapping[int, ResumePoint],
        copies: Mapping[int, CommitCopy] | None,
    ) -> None:
        self.partitions = tuple(starts)
        self.scores_id = origin.scores_id
        self.progress: dict[int, tuple[int, int]] = {}
        self._consumer = consumer
        self._topic = topic
        self._origin = origin
        self._starts = starts
        self._copies = copies

    async def read(self, partition: int) -> ResumePoint:
        """Fold one partition's scores to its current end; no other partition is waited for.

        Raises:
            aiokafka.errors.KafkaError: its broker does not respond.
        """
        tp, start = TopicPartition(self._topic, partition), self._starts[partition]
        begin = (await self._consumer.beginning_offsets([tp]))[tp]
        end = (await self._consumer.end_offsets([tp]))[tp]
        if start.committed is None and self._copies is not None:
            start = await self._by_copy(tp, self._copies.get(partition), (begin, end))
        position = _start(start.position, begin, end)
        self._consumer.seek(tp, position.scores_offset)
        while position.scores_offset < end:
            self.progress[partition] = (position.scores_offset, end)
            for record in (await self._consumer.getmany(tp, timeout_ms=_FETCH_MS)).get(tp, ()):
                position = folded(position, record)
            # Transactions' markers leave gaps, so the reader's position counts.
            position = position._replace(scores_offset=max(position.scores_offset, await self._consumer.position(tp)))
        self.progress.pop(partition, None)
        return start._replace(position=position)

    async def _by_copy(self, tp: TopicPartition, copy: CommitCopy | None, span: tuple[int, int]) -> ResumePoint:
        """Return the point of a copy that is proven; else the beginning of the scores."""
        at = copy.position.scores_offset - 1 if copy is not None else -1
        begin, end = span
        record = await record_at(self._consumer, tp, at) if begin <= at < end else None
        why = why_unproven(copy, self._origin, span, None if record is None else read_decision(record))
        if copy is not None and not why:
            log.warning(
                "%s partition %d: the group's commit is gone; its copy in Redis is read from %d on", *tp, at + 1
            )
            return ResumePoint(None, copy.position, copy.offset)
        if end > begin:
            log.warning("%s partition %d is read from %d on: no commit, and no use of its copy: %s", *tp, begin, why)
        return ResumePoint(None, Position())


@asynccontextmanager
async def tail_reader(
    settings: Settings,
    admin: AIOKafkaAdminClient,
    partitions: Iterable[int],
    scores: str,
    copies: CopySource | None = None,
) -> AsyncIterator[TailReader]:
    """Read the commits of some partitions of `transactions`, and open a reader of their tails in the topic `scores`.

    Where commits are gone, `copies` is asked for what stands in for them.

    Raises:
        aiokafka.errors.KafkaError: the brokers do not respond.
    """
    names = [settings.topic(TRANSACTIONS.name), settings.topic(scores)]
    tps = [TopicPartition(names[0], partition) for partition in partitions]
    committed = await committed_offsets(settings, admin, tps)
    known = {tp: committed[tp] for tp in tps if tp in committed and committed[tp].offset >= 0}
    starts = {
        tp.partition: ResumePoint(known[tp].offset, parse_metadata(known[tp].metadata))
        if tp in known
        else ResumePoint(None, Position())
        for tp in tps
    }
    states = await topic_states(admin, names)
    ids = [states[name].topic_id if name in states else "" for name in names]
    found = await copies.of_transactions() if copies is not None and len(known) < len(tps) else None
    consumer = open_consumer(settings, fetch_max_wait_ms=settings.fetch_wait_ms)
    try:
        await consumer.start()
        consumer.assign([TopicPartition(names[1], partition) for partition in starts])
        yield TailReader(consumer, names[1], Origin(settings.group, *ids), starts, found)
    finally:
        await consumer.stop()


async def read_resume_points(
    settings: Settings, admin: AIOKafkaAdminClient, partitions: Iterable[int], scores: str
) -> dict[int, ResumePoint]:
    """Read the committed offsets and the tails of the deployment's own scores, for all partitions at once.

    The commits say from where: `scores` must be the topic that the deployment writes, see `own_scores`.

    Raises:
        aiokafka.errors.KafkaError: the brokers do not respond.
    """
    async with tail_reader(settings, admin, partitions, scores) as reader:
        points = await asyncio.gather(*map(reader.read, reader.partitions))
        return dict(zip(reader.partitions, points, strict=True))


def _start(committed: Position, begin: int, end: int) -> Position:
    """Start at the committed position; at the beginning if that lies past the end, as after the topic was recreated."""
    if committed.scores_offset > end:
        return Position(scores_offset=begin)
    return committed._replace(scores_offset=max(committed.scores_offset, begin))
