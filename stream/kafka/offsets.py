"""Where each partition's decisions stand, read from the scores topic itself.

The scores topic is the record of decisions: whatever was committed, a worker resumes behind the last valid decision
that is written there. A commit's metadata names how far that had been read, so only the tail is read again.
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


read_validity = msgspec.json.Decoder(ScoreValidity).decode


class Position(NamedTuple):
    """One partition's standing behind `scores_offset`, and the revision of its last valid decision.

    `cutovers` are the (revision, first offset) that reading the tail met, `void` counts its void scores.
    """

    standing: Standing = Standing()
    revision: int = 0
    scores_offset: int = 0
    cutovers: tuple[tuple[int, int], ...] = ()
    void: int = 0

    def next_epoch(self, generation: int) -> int:
        """Return an epoch above every earlier one: the group's generation, or one more than the highest seen."""
        return max(generation, self.standing.highest_epoch + 1)

    def after(self, epoch: int, offset: int, revision: int) -> "Position":
        """Return the position behind one more score."""
        scores_offset = self.scores_offset + 1
        standing = self.standing.after(epoch, offset)
        if not self.standing.is_valid(epoch, offset):
            return self._replace(standing=standing, scores_offset=scores_offset, void=self.void + 1)
        new = ((revision, offset),) if revision > self.revision else ()
        return Position(standing, max(revision, self.revision), scores_offset, self.cutovers + new, self.void)

    def to_metadata(self) -> str:
        """Write what the next owner needs as a commit's metadata."""
        return msgspec.json.encode((*self.standing, self.revision, self.scores_offset)).decode()


class ResumePoint(NamedTuple):
    """Where to go on in one partition: what was committed (None: nothing), and the decisions' position."""

    committed: int | None
    position: Position


@dataclass(slots=True)
class VoidCounter:
    """How many void scores each tail had when it was last read: one that is read again has nothing new to tell."""

    _read: dict[int, tuple[int | None, int]] = field(default_factory=dict)

    def count_new(self, partition: int, resumption: ResumePoint) -> int:
        """Return how many void scores were not there before; a tail behind another commit is another tail."""
        committed, void = resumption.committed, resumption.position.void
        before, known = self._read.get(partition, (committed, 0))
        self._read[partition] = (committed, void)
        return max(0, void - known) if before == committed else void


_Kept = Annotated[int, msgspec.Meta(ge=-1, le=2**63 - 1)]
_decode_note = msgspec.json.Decoder(tuple[_Kept, _Kept, Count, Count]).decode


def parse_metadata(metadata: str | None) -> Position:
    """Read a commit's metadata; from the beginning where there is none of ours."""
    try:
        epoch, offset, revision, scores_offset = _decode_note((metadata or "").encode("utf-8", "replace"))
    except msgspec.DecodeError:
        return Position()
    return Position(Standing(epoch, offset), revision, scores_offset)


async def read_resume_points(
    settings: Settings, admin: AIOKafkaAdminClient, partitions: Iterable[int]
) -> dict[int, ResumePoint]:
    """Read what was committed and the tails of the scores, all partitions at once.

    Raises:
        aiokafka.errors.KafkaError: the broker does not answer.
    """
    topic = settings.topic(TRANSACTIONS.name)
    asked = [TopicPartition(topic, partition) for partition in partitions]
    committed = await committed_offsets(settings, admin, asked)
    noted = {tp: committed[tp] for tp in asked if tp in committed and committed[tp].offset >= 0}
    notes = {tp.partition: parse_metadata(noted[tp].metadata if tp in noted else None) for tp in asked}
    positions = await read_positions(settings, notes)
    return {
        tp.partition: ResumePoint(noted[tp].offset if tp in noted else None, positions[tp.partition]) for tp in asked
    }


async def committed_offsets(
    settings: Settings, admin: AIOKafkaAdminClient, asked: list[TopicPartition]
) -> dict[TopicPartition, OffsetAndMetadata]:
    """Ask what the group has committed; an offset of -1 where it has nothing.

    Raises:
        aiokafka.errors.KafkaError: the coordinator does not say.
    """
    committed: dict[TopicPartition, OffsetAndMetadata] = await admin.list_consumer_group_offsets(
        settings.group, partitions=asked
    )
    if any(tp not in committed for tp in asked):
        # A coordinator that is still loading answers so, and the client takes it for an empty group.
        raise GroupCoordinatorNotAvailableError(f"no offsets of group {settings.group}")
    return committed


async def read_positions(settings: Settings, notes: Mapping[int, Position]) -> dict[int, Position]:
    """Fold each scores partition from its note's position to its end."""
    consumer = AIOKafkaConsumer(
        **connection_options(settings),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=settings.fetch_wait_ms,
    )
    await consumer.start()
    try:
        tails = {TopicPartition(settings.topic(SCORES.name), partition): note for partition, note in notes.items()}
        consumer.assign(list(tails))
        begins, ends = await consumer.beginning_offsets(list(tails)), await consumer.end_offsets(list(tails))
        positions = {tp: _start(note, begins[tp], ends[tp]) for tp, note in tails.items()}
        for tp, position in positions.items():
            consumer.seek(tp, position.scores_offset)
        await _fold(consumer, positions, ends)
        return {tp.partition: position for tp, position in positions.items()}
    finally:
        await consumer.stop()


def _start(note: Position, begin: int, end: int) -> Position:
    """Begin where the note says; with a clean slate where the topic is another than the note was written on."""
    if note.scores_offset > end:
        return Position(scores_offset=begin)
    return note._replace(scores_offset=max(note.scores_offset, begin))


async def _fold(
    consumer: AIOKafkaConsumer, positions: dict[TopicPartition, Position], ends: Mapping[TopicPartition, int]
) -> None:
    while behind := [tp for tp, position in positions.items() if position.scores_offset < ends[tp]]:
        for tp, records in (await consumer.getmany(*behind, timeout_ms=500)).items():
            for record in records:
                at = positions[tp]._replace(scores_offset=record.offset)
                try:
                    told = read_validity(record.value or b"")
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                    positions[tp] = at._replace(scores_offset=record.offset + 1)  # not ours; it decides nothing
                    continue
                positions[tp] = at.after(told.epoch, told.source.offset, told.revision)
