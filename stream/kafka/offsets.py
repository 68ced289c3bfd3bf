"""Where a partition's decisions end: the position after a score, and as it is written to a commit's metadata.

The scores topic is the record of decisions: whatever was committed, a worker resumes after the last valid decision
there. A commit's metadata says how far scores had been read, so only the rest has to be read again.
"""

import hashlib
import re
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


_Counter = Annotated[int, msgspec.Meta(ge=-1, le=2**63 - 1)]
read_validity = msgspec.json.Decoder(ScoreValidity).decode
_LOG = re.compile(r"[1-9][0-9]{0,2}")
_Text = Annotated[str, msgspec.Meta(max_length=64)]
_Old = tuple[_Counter, _Counter, Count, Count]
_New = tuple[_Counter, _Counter, Count, Count, _Text, _Text]
_decode_old = msgspec.json.Decoder(_Old).decode
_decode_new = msgspec.json.Decoder(_New).decode


class Position(NamedTuple):
    """One partition's standing at `scores_offset`, and the revision of its last valid decision.

    `cutovers` are the (revision, first offset) found while reading the tail, `void` is the number of void scores there.
    `identity` is that of the last decided transaction, empty if unknown; `topic_id` and `log` are those of the topic
    that is read, the id empty if unknown.
    """

    standing: Standing = Standing()
    revision: int = 0
    scores_offset: int = 0
    cutovers: tuple[tuple[int, int], ...] = ()
    void: int = 0
    identity: str = ""
    topic_id: str = ""
    log: int = 0

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

    def decided_to(self, log: int) -> int:
        """Return the offset after the last decision in a log; 0 if that decision is in another one."""
        decided_log, offset = log_and_offset(self.standing.last_place)
        return offset + 1 if decided_log == log else 0

    def to_metadata(self) -> str:
        """Encode what the partition's next owner needs, as a commit's metadata."""
        note = (*self.standing, self.revision, self.scores_offset, self.identity, topic_note(self.topic_id, self.log))
        return msgspec.json.encode(note).decode()


def topic_note(topic_id: str, log: int) -> str:
    """Return how a commit names the topic that was read: by its id, and by its log unless that is the first one.

    A log needs no other id: if the end of a topic was cut off and that was accepted, the same topic is another log.
    """
    return f"{topic_id}@{log}" if log else topic_id


def read_topic_note(note: str) -> tuple[str, int]:
    """Return the topic's id and the log that a commit names."""
    topic_id, at, log = note.rpartition("@")
    return (topic_id, int(log)) if at and _LOG.fullmatch(log) else (note, 0)


class ResumePoint(NamedTuple):
    """Where to resume one partition: the committed offset (None: none), and the position of its decisions.

    `copied` is the offset of a commit that Kafka has no more, by a copy that is proven; None without one.
    """

    committed: int | None
    position: Position
    copied: int | None = None

    @property
    def applied(self) -> int | None:
        """The offset before which everything is decided and applied; None if that is not known."""
        return self.copied if self.committed is None else self.committed

    def read_to(self, log: int) -> int:
        """Return the offset up to which the partition was read in a log: behind its last decision, or at its commit."""
        applied = self.applied if self.position.log == log else None
        return max(self.position.decided_to(log), applied or 0)


@dataclass(slots=True)
class VoidCounter:
    """Counts the void scores of each partition's tail, each once even if the tail is read again."""

    _counted: dict[int, tuple[int | None, int]] = field(default_factory=dict)

    def count_new(self, partition: int, point: ResumePoint) -> int:
        """Return the number of void scores that have not been counted; each committed offset has a tail of its own."""
        committed, void = point.applied, point.position.void
        before, counted = self._counted.get(partition, (committed, 0))
        self._counted[partition] = (committed, void)
        return max(0, void - counted) if before == committed else void


def parse_metadata(metadata: str | None) -> Position:
    """Decode a commit's metadata; the beginning of the topic if it is not ours.

    Versions before the identity was noted wrote the first four fields only.
    """
    note = (metadata or "").encode("utf-8", "replace")
    try:
        epoch, place, revision, scores_offset, identity, topic = _decode_new(note)
    except msgspec.DecodeError:
        identity = topic = ""
        try:
            epoch, place, revision, scores_offset = _decode_old(note)
        except msgspec.DecodeError:
            return Position()
    topic_id, log = read_topic_note(topic)
    return Position(Standing(epoch, place), revision, scores_offset, identity=identity, topic_id=topic_id, log=log)


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


def folded(position: Position, record: FetchedRecord) -> Position:
    """Return the position after one more record of the scores; what is no score is passed over."""
    score = read_decision(record)
    if score is None:
        return position._replace(scores_offset=record.offset + 1)
    return position._replace(scores_offset=record.offset).after(score)


def read_decision(record: FetchedRecord) -> Decision | None:
    """Return what a position needs of the score in a record; None if it holds no score."""
    try:
        score = read_validity(record.value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return Decision(score.epoch, score.revision, score.place, identity_of(score.card_id, score.transaction_id))
