"""Reads the ends of the scores partitions, each from the position that its commit names, or a copy of that commit.

A deployment that publishes has its decisions on `scores`, a silent one on a topic of its own. A commit of the time
before a hand-over says how far the other topic was read.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import NamedTuple

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import RebalanceInProgressError
from aiokafka.structs import OffsetAndMetadata

from features.errors import StoreError
from models.terms import Term
from stream.engine.fetcher import LogConsumer, open_consumer
from stream.engine.stalled import HeldBack
from stream.kafka.bounds import OffsetBounds, ends_of_all
from stream.kafka.client import committed_offsets
from stream.kafka.topic_ids import topic_states
from stream.kafka.topics import DEAD_LETTERS, SCORES, TRANSACTIONS, own_scores, publishes_in
from stream.positions.commit_copies import CommitCopies, CommitCopy, Origin, names_place, why_unproven
from stream.positions.decided import undecided_among
from stream.positions.offsets import (
    CommitNote,
    Position,
    ResumePoint,
    folded,
    is_position_note,
    read_decision,
    read_note,
)
from stream.positions.refused import LettersTail
from stream.scan import record_at
from stream.settings import Settings
from stream.tasks import both

log = logging.getLogger("fraudstream.score_tails")

_FETCH_MS = 500
_LAST_BATCH_MS = 5_000
_LASTING_SECONDS = 10.0


class TailSources(NamedTuple):
    """What a tail may be read from beside the commits.

    `copies` are asked for what stands in for commits that are gone, or that no worker has made. `published` returns how
    far the worker has followed a partition of `scores` while its deployment was silent; None: it has not.
    """

    copies: CommitCopies | None = None
    published: Callable[[int], Position | None] = lambda _partition: None


_NO_SOURCES = TailSources()


def noted_on_scores(settings: Settings, term: Term, note: CommitNote) -> Position | None:
    """Return the position on `scores` that a commit names; None if it names none.

    Raises:
        RebalanceInProgressError: it was made in a term that is not known here yet.
    """
    if note.term > term.number:
        raise RebalanceInProgressError(f"it was committed in term {note.term}, which is not known here yet")
    return note.position if publishes_in(settings, term, note.term) else note.published


class TailReader:
    """Reads the tail of each scores partition from the position that the last commit names to its end.

    `copies` stand in for commits that are gone, or that no worker has made; None: all scores are read then. While
    Redis does not give them, `copies_away`, it cannot be told where a partition is read on whose commit was moved.

    Attributes:
        scores_id: the id of the topic that is read; empty where the brokers have none.
        progress: how far each partition has been read: the next offset, and the end.
        consumer: the consumer, to which the partitions of `transactions` are assigned as well, paused.
        bounds: asks for the ends of the scores, those included that wait for the end of somebody's transaction.
        letters: the dead letters from where the commits say that all others are settled.
    """

    def __init__(
        self,
        consumer: LogConsumer,
        topic: str,
        origin: Origin,
        starts: Mapping[int, ResumePoint],
        copies: Mapping[int, CommitCopy] | None,
        *,
        letters: Callable[[OffsetBounds], LettersTail],
        copies_away: bool = False,
    ) -> None:
        self.partitions = tuple(starts)
        self.scores_id = origin.scores_id
        self.progress: dict[int, tuple[int, int]] = {}
        self.consumer = consumer
        self.bounds = OffsetBounds(consumer, partial(ends_of_all, consumer))
        self.letters = letters(self.bounds)
        self._topic = topic
        self._origin = origin
        self._starts = starts
        self._copies = copies
        self._logged: set[int] = set()
        self._copies_away = copies_away

    async def read(self, partition: int) -> ResumePoint:
        """Fold one partition's scores to its current end; no other partition is waited for.

        Scores behind a transaction that another producer has left open cannot be read yet, and may be our own: what
        they decided must not be decided again, so this waits until it ends.

        Raises:
            RebalanceInProgressError: its commit was moved, and Redis does not give the copies; open another reader.
            aiokafka.errors.KafkaError: its broker does not respond.
        """
        tp, start = TopicPartition(self._topic, partition), self._starts[partition]
        if start.moved is not None and self._copies_away:
            raise RebalanceInProgressError("its commit was moved by no worker, and Redis does not give the copy")
        begin, end = await self.bounds.of(tp)
        if start.committed is None and self._copies is not None:
            start = await self._by_copy(tp, start, self._copies.get(partition), (begin, end))
        if start.position.scores_offset > end:
            end = await self._end_of_last_batch(tp, begin, end)
        if lost := max(0, start.position.scores_offset - end):
            log.warning(
                "%s partition %d ends at %d, and a commit notes %d: up to %d scores that Kafka had acknowledged are "
                "gone of those that the commit notes, perhaps more; payments that have none now are decided again",
                *(*tp, end, start.position.scores_offset, lost),
            )
        position = start_at(start.position, begin, end)
        self.consumer.resume(tp)
        self.consumer.seek(tp, position.scores_offset)
        while position.scores_offset < end:
            self.progress[partition] = (position.scores_offset, end)
            records = (await self.consumer.getmany(tp, timeout_ms=_FETCH_MS)).get(tp, ())
            for record in records:
                position = folded(position, record)
            if not records:
                self._log_held_back(partition)
            # Transactions' markers leave gaps, so the reader's position counts.
            position = position._replace(scores_offset=max(position.scores_offset, await self.consumer.position(tp)))
        self.consumer.pause(tp)
        self.progress.pop(partition, None)
        return start._replace(position=position, scores_lost=lost)

    async def undecided(self, partition: int, log: int, offsets: Iterable[int]) -> frozenset[int]:
        """Return which offsets of a partition's log have no valid score.

        Raises:
            aiokafka.errors.KafkaError: its broker does not respond.
        """
        tp = TopicPartition(self._topic, partition)
        self.consumer.resume(tp)
        undecided = await undecided_among(self.consumer, tp, log, offsets)
        self.consumer.pause(tp)
        return undecided

    def why_held_back(self, partition: int) -> str:
        """Say which transaction's end a partition waits for that is being read, or its letters; empty if none."""
        held = self._held_back(partition)
        return self.letters.why_held_back() if held is None else self._reason(partition, held)

    def _held_back(self, partition: int) -> HeldBack | None:
        if partition not in self.progress:
            return None
        return self.consumer.fetcher.held_back.copy().get(TopicPartition(self._topic, partition))

    def _reason(self, partition: int, held: HeldBack) -> str:
        return f"{self._topic} partition {partition}: {held.reason(time.monotonic() - held.since)}"

    def _log_held_back(self, partition: int) -> None:
        """Log once that a reading waits for the end of a transaction, if that lasts: a command says nothing else."""
        held = self._held_back(partition)
        if held is not None and partition not in self._logged and time.monotonic() - held.since > _LASTING_SECONDS:
            self._logged.add(partition)
            log.warning("%s", self._reason(partition, held))

    async def read_all(self) -> dict[int, ResumePoint]:
        """Read all partitions at the same time, as `read` does each.

        Raises:
            aiokafka.errors.KafkaError: the brokers do not respond.
        """
        points = await asyncio.gather(*map(self.read, self.partitions))
        return dict(zip(self.partitions, points, strict=True))

    async def _end_of_last_batch(self, tp: TopicPartition, begin: int, end: int) -> int:
        """Return the end of a partition that seems to end before what was read of it.

        The embedded broker of the demo counts the last batch as one record.
        """
        if begin >= end:
            return end
        self.consumer.resume(tp)
        self.consumer.seek(tp, end - 1)
        records = (await self.consumer.getmany(tp, timeout_ms=_LAST_BATCH_MS)).get(tp, ())
        ends: list[int] = [record.offset + 1 for record in records]
        return max([end, *ends])

    async def _by_copy(
        self, tp: TopicPartition, start: ResumePoint, copy: CommitCopy | None, span: tuple[int, int]
    ) -> ResumePoint:
        """Return the point of a copy that is proven; else `start`.

        Where the commit was moved, the place of a copy counts without its position, which the scores then tell.
        """
        at = copy.position.scores_offset - 1 if copy is not None else -1
        begin, end = span
        self.consumer.resume(tp)
        record = await record_at(self.consumer, tp, at) if begin <= at < end else None
        why = why_unproven(copy, self._origin, span, None if record is None else read_decision(record))
        lack = (
            "the group's commit is gone"
            if start.moved is None
            else f"its commit was moved to {start.moved}, by no worker"
        )
        if copy is not None and not why:
            log.warning("%s partition %d: %s; its copy in Redis is read from %d on", *tp, lack, at + 1)
            return start._replace(position=copy.position, copied=copy.offset)
        if end > begin:
            begin = max(begin, start.position.scores_offset)
            log.warning("%s partition %d is read from %d on: %s, and no use of its copy: %s", *tp, begin, lack, why)
        if start.moved is None or copy is None or not names_place(copy, self._origin.group):
            return start
        noted = copy.position
        position = start.position._replace(topic_id=noted.topic_id, log=noted.log)
        return start._replace(position=position, copied=copy.offset)


@asynccontextmanager
async def tail_reader(
    settings: Settings,
    admin: AIOKafkaAdminClient,
    partitions: Collection[int],
    term: Term,
    sources: TailSources = _NO_SOURCES,
) -> AsyncIterator[TailReader]:
    """Read the commits of some partitions of `transactions`, and open a reader of the tails of their scores.

    These are on the topic to which the deployment writes in `term`.

    Raises:
        RebalanceInProgressError: a commit was made in a term that is not known here yet.
        aiokafka.errors.KafkaError: the brokers do not respond.
    """
    names = [settings.topic(TRANSACTIONS.name), settings.topic(own_scores(settings, term).name)]
    tps, own = ([TopicPartition(name, partition) for partition in partitions] for name in names)
    letters = TopicPartition(settings.topic(DEAD_LETTERS.name), 0)
    consumer = open_consumer(settings, fetch_max_wait_ms=settings.fetch_wait_ms)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(consumer.stop)
        asked = both(committed_offsets(settings, admin, tps), topic_states(admin, names))
        _, (committed, states) = await both(_connect(consumer, [*own, *tps, letters]), asked)
        known = {tp: committed[tp] for tp in tps if tp in committed and committed[tp].offset >= 0}
        followed = sources.published if own_scores(settings, term) is SCORES else _NO_SOURCES.published
        origin = Origin(settings.group, *(states[name].topic_id if name in states else "" for name in names))
        starts = {}
        for tp in tps:
            commit, position = known.get(tp), followed(tp.partition)
            # Brokers without topic ids may keep no metadata either, so there nobody can tell who has made a commit.
            if commit is None or (origin.transactions_id and not is_position_note(commit.metadata)):
                moved = None if commit is None else commit.offset
                starts[tp.partition] = ResumePoint(None, position or Position(), moved=moved)
            else:
                starts[tp.partition] = resume_point(settings, term, commit, position)
        needs_copies = any(start.committed is None for start in starts.values())
        found, away = await _read_copies(sources.copies) if needs_copies else (None, False)
        # A copy that is used names a later place; then letters before it are read for nothing.
        first = min((one.position.letters_from for one in starts.values()), default=0)
        reader = TailReader(
            consumer,
            names[1],
            origin,
            starts,
            found,
            letters=lambda bounds: LettersTail(consumer, bounds, settings=settings, term=lambda: term, first=first),
            copies_away=away,
        )
        stack.push_async_callback(reader.bounds.close)
        yield reader


async def _read_copies(copies: CommitCopies | None) -> tuple[Mapping[int, CommitCopy] | None, bool]:
    """Return the copies of commits of `transactions`, and whether Redis does not give them."""
    if copies is None:
        return None, False
    try:
        return await copies.of("transactions"), False
    except StoreError as error:
        log.warning("the copies of commits cannot be read: %s", error)
        return {}, True


async def _connect(consumer: LogConsumer, partitions: Sequence[TopicPartition]) -> None:
    """Start a consumer of partitions that are paused until it is known where each is read from."""
    await consumer.start()
    consumer.assign(partitions)
    consumer.pause(*partitions)


def resume_point(settings: Settings, term: Term, commit: OffsetAndMetadata, followed: Position | None) -> ResumePoint:
    """Return from where on the scores are read that the deployment writes in a term.

    If the commit was made on the other side of a hand-over, its position is one on the other topic: payments up to it
    are applied all the same, and `scores` are read on from where they were followed to. So they are if it has no note.
    """
    note = read_note(commit.metadata)
    on_scores = noted_on_scores(settings, term, note)
    publishes = publishes_in(settings, term, term.number)
    if note != CommitNote() and publishes is publishes_in(settings, term, note.term):
        return ResumePoint(commit.offset, note.position)
    position = (followed or on_scores or Position()) if publishes else Position()
    return ResumePoint(commit.offset, position._replace(topic_id=note.position.topic_id, log=note.position.log))


async def read_resume_points(
    settings: Settings, admin: AIOKafkaAdminClient, partitions: Collection[int], term: Term
) -> dict[int, ResumePoint]:
    """Read the committed offsets and the tails of the deployment's own scores, for all partitions at once.

    Raises:
        aiokafka.errors.KafkaError: the brokers do not respond.
    """
    async with tail_reader(settings, admin, partitions, term) as reader:
        return await reader.read_all()


def start_at(committed: Position, begin: int, end: int) -> Position:
    """Start at the committed position; at the beginning if that lies past the end, as after the topic was recreated."""
    if committed.scores_offset > end:
        return Position(scores_offset=begin)
    return committed._replace(scores_offset=max(committed.scores_offset, begin))
