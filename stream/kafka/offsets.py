"""Find where each partition's decisions end, by reading the scores topic.

The scores topic is the record of decisions: whatever was committed, a worker resumes after the last valid decision
there. A commit's metadata says how far scores had been read, so only the rest has to be read again.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, NamedTuple

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError
from aiokafka.structs import OffsetAndMetadata

from stream.consumer import Standing
from stream.contract.outputs import Count
from stream.kafka.client import connection_options
from stream.kafka.topics import SCORES, TRANSACTIONS
from stream.settings import Settings


class SourceOffset(msgspec.Struct):
    """The offset of a score's transaction."""

    offset: Count


class ScoreValidity(msgspec.Struct):
    """The fields of a score that decide whether it is valid, and its revision."""

    epoch: Count
    revision: Count
    source: SourceOffset


_Counter = Annotated[int, msgspec.Meta(ge=-1, le=2**63 - 1)]
read_validity = msgspec.json.Decoder(ScoreValidity).decode
_decode_metadata = msgspec.json.Decoder(tuple[_Counter, _Counter, Count, Count]).decode


class Position(NamedTuple):
    """One partition's standing at `scores_offset`, and the revision of its last valid decision.

    `cutovers` are the (revision, first offset) found while reading the tail, `void` is the number of void scores there.
    """

    standing: Standing = Standing()
    revision: int = 0
    scores_offset: int = 0
    cutovers: tuple[tuple[int, int], ...] = ()
    void: int = 0

    def next_epoch(self, generation: int) -> int:
        """Return an epoch above all earlier ones: the group's generation, or one more than the highest so far."""
        return max(generation, self.standing.highest_epoch + 1)

    def after(self, epoch: int, offset: int, revision: int) -> "Position":
        """Return the position after one more score."""
        scores_offset = self.scores_offset + 1
        standing = self.standing.after(epoch, offset)
        if not self.standing.is_valid(epoch, offset):
            return self._replace(standing=standing, scores_offset=scores_offset, void=self.void + 1)
        new = ((revision, offset),) if revision > self.revision else ()
        return Position(standing, max(revision, self.revision), scores_offset, self.cutovers + new, self.void)

    def to_metadata(self) -> str:
        """Encode what the partition's next owner needs, as a commit's metadata."""
        return msgspec.json.encode((*self.standing, self.revision, self.scores_offset)).decode()


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
    """Decode a commit's metadata; the beginning of the topic if it is not ours."""
    try:
        epoch, offset, revision, scores_offset = _decode_metadata((metadata or "").encode("utf-8", "replace"))
    except msgspec.DecodeError:
        return Position()
    return Position(Standing(epoch, offset), revision, scores_offset)


async def read_resume_points(
    settings: Settings, admin: AIOKafkaAdminClient, partitions: Iterable[int]
) -> dict[int, ResumePoint]:
    """Read the committed offsets and the tails of the scores, for all partitions at once.

    Raises:
        aiokafka.errors.KafkaError: the broker does not respond.
    """
    topic = settings.topic(TRANSACTIONS.name)
    tps = [TopicPartition(topic, partition) for partition in partitions]
    committed = await committed_offsets(settings, admin, tps)
    known = {tp: committed[tp] for tp in tps if tp in committed and committed[tp].offset >= 0}
    starts = {tp.partition: parse_metadata(known[tp].metadata if tp in known else None) for tp in tps}
    positions = await read_positions(settings, starts)
    return {tp.partition: ResumePoint(known[tp].offset if tp in known else None, positions[tp.partition]) for tp in tps}


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


async def read_positions(settings: Settings, starts: Mapping[int, Position]) -> dict[int, Position]:
    """Fold each scores partition from its start position to its current end."""
    consumer = AIOKafkaConsumer(
        **connection_options(settings),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=settings.fetch_wait_ms,
    )
    await consumer.start()
    try:
        topic = settings.topic(SCORES.name)
        tails = {TopicPartition(topic, partition): start for partition, start in starts.items()}
        consumer.assign(list(tails))
        begins, ends = await consumer.beginning_offsets(list(tails)), await consumer.end_offsets(list(tails))
        positions = {tp: _start(start, begins[tp], ends[tp]) for tp, start in tails.items()}
        for tp, position in positions.items():
            consumer.seek(tp, position.scores_offset)
        await _fold(consumer, positions, ends)
        return {tp.partition: position for tp, position in positions.items()}
    finally:
        await consumer.stop()


def _start(committed: Position, begin: int, end: int) -> Position:
    """Start at the committed position; at the beginning if that lies past the end, as after the topic was recreated."""
    if committed.scores_offset > end:
        return Position(scores_offset=begin)
    return committed._replace(scores_offset=max(committed.scores_offset, begin))


async def _fold(
    consumer: AIOKafkaConsumer, positions: dict[TopicPartition, Position], ends: Mapping[TopicPartition, int]
) -> None:
    while behind := [tp for tp, position in positions.items() if position.scores_offset < ends[tp]]:
        for tp, records in (await consumer.getmany(*behind, timeout_ms=500)).items():
            for record in records:
                at = positions[tp]._replace(scores_offset=record.offset)
                try:
                    score = read_validity(record.value or b"")
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                    positions[tp] = at._replace(scores_offset=record.offset + 1)  # not a score: skip it
                    continue
                positions[tp] = at.after(score.epoch, score.source.offset, score.revision)
