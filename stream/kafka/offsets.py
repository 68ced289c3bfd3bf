"""Find where each partition's decisions end, by reading the scores topic.

The scores topic is the record of decisions: whatever was committed, a worker resumes after the last valid decision
there. A commit's metadata says how far scores had been read, so only the rest has to be read again.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated, NamedTuple

import msgspec
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError
from aiokafka.structs import OffsetAndMetadata

from models.commands import LogNumber
from stream.consumer import Standing, log_and_offset, place_of
from stream.contract.outputs import Count, Offset
from stream.kafka.fetcher import LogConsumer, open_consumer
from stream.kafka.topics import SCORES, TRANSACTIONS
from stream.kafka.unpacking import FetchedRecord
from stream.settings import Settings


class SourcePlace(msgspec.Struct):
    """The log and the offset of a score's transaction."""

    offset: Offset
    log: LogNumber = 0


class ScoreValidity(msgspec.Struct):
    """The fields of a score that decide whether it is valid, its revision, and the identity of its transaction."""

    epoch: Count
    revision: Count
    source: SourcePlace
    card_id: str = ""
    transaction_id: str = ""

    @property
    def place(self) -> int:
        """The place of its transaction."""
        return place_of(self.source.log, self.source.offset)


def identity_of(card_id: str, transaction_id: str) -> str:
    """Return a short text by which the transaction at an offset is recognised; it reveals neither id."""
    return hashlib.blake2b(f"{card_id}\0{transaction_id}".encode("utf-8", "replace"), digest_size=8).hexdigest()


class Decision(NamedTuple):
    """What a position needs of a score: its epoch, revision, place, and the identity of its transaction."""

    epoch: int
    revision: int
    place: int
    identity: str = ""


_FETCH_MS = 500
_Counter = Annotated[int, msgspec.Meta(ge=-1, le=2**63 - 1)]
read_validity = msgspec.json.Decoder(ScoreValidity).decode
_Text = Annotated[str, msgspec.Meta(max_length=64)]
_Old = tuple[_Counter, _Counter, Count, Count]
_New = tuple[_Counter, _Counter, Count, Count, _Text, _Text]
_decode_old = msgspec.json.Decoder(_Old).decode
_decode_new = msgspec.json.Decoder(_New).decode


class Position(NamedTuple):
    """One partition's standing at `scores_offset`, and the revision of its last valid decision.

    `cutovers` are the (revision, first offset) found while reading the tail, `void` is the number of void scores there.
    `identity` is that of the last decided transaction, `topic_id` the id of its topic; empty if unknown.
    """

    standing: Standing = Standing()
    revision: int = 0
    scores_offset: int = 0
    cutovers: tuple[tuple[int, int], ...] = ()
    void: int = 0
    identity: str = ""
    topic_id: str = ""

    def after(self, score: Decision) -> "Position":
        """Return the position after one more score."""
        scores_offset = self.scores_offset + 1
        standing = self.standing.after(score.epoch, score.place)
        if not self.standing.is_valid(score.epoch, score.place):
            return self._replace(standing=standing, scores_offset=scores_offset, void=self.void + 1)
        _, offset = log_and_offset(score.place)
        new = ((score.revision, offset),) if score.revision > self.revision else ()
        return self._replace(
            standing=standing,
            revision=max(score.revision, self.revision),
            scores_offset=scores_offset,
            cutovers=self.cutovers + new,
            identity=score.identity,
        )

    def to_metadata(self) -> str:
        """Encode what the partition's next owner needs, as a commit's metadata."""
        note = (*self.standing, self.revision, self.scores_offset, self.identity, self.topic_id)
        return msgspec.json.encode(note).decode()


class ResumePoint(NamedTuple):
    """Where to resume one partition: the committed offset (None: none), and the position of its decisions."""

    committed: int | None
    position: Position


@dataclass(slots=True)
class VoidCounter:
    """Counts the void scores of each partition's tail, each once even if the tail is read again."""

    _counted: dict[int, tuple[int | None, int]] = field(default_factory=dict)

    def count_new(self, partition: int, point: ResumePoint) -> int:
        """Return the number of void scores that have not been counted; each committed offset has a tail of its own."""
        committed, void = point.committed, point.position.void
        before, counted = self._counted.get(partition, (committed, 0))
        self._counted[partition] = (committed, void)
        return max(0, void - counted) if before == committed else void


def parse_metadata(metadata: str | None) -> Position:
    """Decode a commit's metadata; the beginning of the topic if it is not ours.

    Versions before the identity was noted wrote the first four fields only.
    """
    note = (metadata or "").encode("utf-8", "replace")
    try:
        epoch, place, revision, scores_offset, identity, topic_id = _decode_new(note)
    except msgspec.DecodeError:
        identity = topic_id = ""
        try:
            epoch, place, revision, scores_offset = _decode_old(note)
        except msgspec.DecodeError:
            return Position()
    return Position(Standing(epoch, place), revision, scores_offset, identity=identity, topic_id=topic_id)


async def read_resume_points(
    settings: Settings, admin: AIOKafkaAdminClient, partitions: Iterable[int], scores: str = SCORES.name
) -> dict[int, ResumePoint]:
    """Read the committed offsets and the tails of the scores, for all partitions at once.

    Raises:
        aiokafka.errors.KafkaError: the broker does not respond.
    """
    async with tail_reader(settings, admin, partitions, scores) as reader:
        points = await asyncio.gather(*map(reader.read, reader.partitions))
        return dict(zip(reader.partitions, points, strict=True))


async def committed_offsets(
    settings: Settings, admin: AIOKafkaAdminClient, tps: list[TopicPartition]
) -> dict[TopicPartition, OffsetAndMetadata]:
    """Return the group's committed offsets; -1 for a partition without one.

    Raises:
        aiokafka.errors.KafkaError: the coordinator does not respond.
    """
    committed: dict[TopicPartition, OffsetAndMetadata] = await admin.list_consumer_group_offsets(
        settings.group, partitions=tps
    )
    if any(tp not in committed for tp in tps):
        # A coordinator that is still loading omits partitions, which aiokafka mistakes for an empty group.
        raise GroupCoordinatorNotAvailableError(f"the coordinator returned no offsets of group {settings.group}")
    return committed


class TailReader:
    """Reads the tail of each scores partition from the position that the last commit names to its end.

    `progress` tells how far each partition has been read: the next offset, and the end.
    """

    def __init__(self, topic: str, consumer: LogConsumer, starts: Mapping[int, ResumePoint]) -> None:
        self.partitions = tuple(starts)
        self.progress: dict[int, tuple[int, int]] = {}
        self._topic = topic
        self._consumer = consumer
        self._starts = starts

    async def read(self, partition: int) -> ResumePoint:
        """Fold one partition's scores to its current end; no other partition is waited for.

        Raises:
            aiokafka.errors.KafkaError: its broker does not respond.
        """
        tp, start = TopicPartition(self._topic, partition), self._starts[partition]
        begin = (await self._consumer.beginning_offsets([tp]))[tp]
        end = (await self._consumer.end_offsets([tp]))[tp]
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


@asynccontextmanager
async def tail_reader(
    settings: Settings, admin: AIOKafkaAdminClient, partitions: Iterable[int], scores: str
) -> AsyncIterator[TailReader]:
    """Read the commits of some partitions of `transactions`, and open a reader of their tails in the topic `scores`.

    Raises:
        aiokafka.errors.KafkaError: the brokers do not respond.
    """
    topic = settings.topic(TRANSACTIONS.name)
    tps = [TopicPartition(topic, partition) for partition in partitions]
    committed = await committed_offsets(settings, admin, tps)
    known = {tp: committed[tp] for tp in tps if tp in committed and committed[tp].offset >= 0}
    starts = {
        tp.partition: ResumePoint(known[tp].offset, parse_metadata(known[tp].metadata))
        if tp in known
        else ResumePoint(None, Position())
        for tp in tps
    }
    consumer = open_consumer(settings, fetch_max_wait_ms=settings.fetch_wait_ms)
    try:
        await consumer.start()
        consumer.assign([TopicPartition(settings.topic(scores), partition) for partition in starts])
        yield TailReader(settings.topic(scores), consumer, starts)
    finally:
        await consumer.stop()


def _start(committed: Position, begin: int, end: int) -> Position:
    """Start at the committed position; at the beginning if that lies past the end, as after the topic was recreated."""
    if committed.scores_offset > end:
        return Position(scores_offset=begin)
    return committed._replace(scores_offset=max(committed.scores_offset, begin))


def folded(position: Position, record: FetchedRecord) -> Position:
    """Return the position after one more record of the scores; what is no score is passed over."""
    at = position._replace(scores_offset=record.offset)
    try:
        score = read_validity(record.value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return at._replace(scores_offset=record.offset + 1)
    identity = identity_of(score.card_id, score.transaction_id)
    return at.after(Decision(score.epoch, score.revision, score.place, identity))
