"""A second copy of a partition's commit, kept in Redis, and whether it may stand in for one that Kafka has no more.

A commit says what reading the scores up to some offset has found. A copy is used only where it is proven to say the
same: it was written after Kafka had accepted the commit, so it holds for the topics that it names, and its last
decision is read once more. Scores behind it are read as behind a commit. An older copy only leaves more of them.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

import msgspec
from aiokafka import TopicPartition

from features.redis.progress import LogPart, TopicName
from fraudstream_client.field_types import Count
from fraudstream_client.validity import Standing
from stream.positions.offsets import Decision, Position, parse_metadata
from stream.settings import Settings


class CommitCopy(msgspec.Struct, frozen=True, array_like=True):
    """What a group committed: the next offset, with its metadata; and the id of the topic of the scores.

    `scores_id` is empty for labels, and where the brokers have no ids.
    """

    group: str
    offset: Count
    metadata: str
    scores_id: str = ""

    @property
    def position(self) -> Position:
        """The position that the metadata of a commit of transactions says."""
        return parse_metadata(self.metadata)

    def encode(self) -> bytes:
        """Encode it for Redis."""
        return msgspec.json.encode(self)


class NoteSource(Protocol):
    """Where the copies are kept, as `features.redis.progress.CommitNotes` keeps them."""

    async def read(self) -> Mapping[LogPart, bytes]:
        """Return the note of each part that has one.

        Raises:
            StoreError: Redis does not answer.
        """
        ...


class CommitCopies:
    """The copies of commits, for readers that find none in Kafka, or one that no worker has made."""

    def __init__(self, notes: NoteSource) -> None:
        self._notes = notes

    async def of(self, topic: TopicName) -> dict[int, CommitCopy]:
        """Return the copy of each partition of a topic that has one.

        Raises:
            StoreError: Redis does not answer.
        """
        notes = await self._notes.read()
        found = {part.partition: parse_copy(note) for part, note in notes.items() if part.topic == topic}
        return {partition: copy for partition, copy in found.items() if copy is not None}


async def copies_of(
    copies: CommitCopies, settings: Settings, partitions: Iterable[TopicPartition]
) -> dict[TopicPartition, CommitCopy]:
    """Return the copies of the group's commits of some partitions of labels or predictions.

    Raises:
        StoreError: Redis does not answer.
    """
    found = dict[TopicPartition, CommitCopy]()
    wanted = set(partitions)
    names: tuple[TopicName, ...] = ("labels", "predictions")
    for name in names:
        if own := [tp for tp in wanted if tp.topic == settings.topic(name)]:
            stored = await copies.of(name)
            found |= {tp: stored[tp.partition] for tp in own if tp.partition in stored}
    return {tp: copy for tp, copy in found.items() if copy.group == settings.group}


_decode = msgspec.json.Decoder(CommitCopy).decode


def parse_copy(note: bytes) -> CommitCopy | None:
    """Decode a copy; None if the bytes are none."""
    try:
        return _decode(note)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def names_place(copy: CommitCopy, group: str) -> bool:
    """Tell whether a copy of a commit of transactions says what this group had read, and of which topic."""
    return copy.group == group and bool(copy.position.topic_id)


class Origin(NamedTuple):
    """The group, and the ids of the topics of transactions and of their scores; empty where the brokers have none."""

    group: str
    transactions_id: str
    scores_id: str


def why_unproven(copy: CommitCopy | None, origin: Origin, span: tuple[int, int], last: Decision | None) -> str:
    """Return why a copy is not proven to say what reading all scores would say; empty if it is.

    `span` is where the partition's scores begin and end; `last` is the score right before the position of the copy,
    None if no score is there.
    """
    if copy is None:
        return "there is none"
    position, (begin, end) = copy.position, span
    at = position.scores_offset
    found = None if last is None else (Standing(last.epoch, last.place), last.revision, last.identity)
    doubts = {
        f"it is of group {copy.group}": copy.group != origin.group,
        "it is of another topic of scores": not copy.scores_id or copy.scores_id != origin.scores_id,
        "it is of another topic of transactions": not position.topic_id or position.topic_id != origin.transactions_id,
        f"it ends at offset {at} of the scores, which are those from {begin} to {end}": not begin < at <= end,
        f"the score before offset {at} is not the one that it describes": found
        != (position.standing, position.revision, position.identity),
    }
    return next((why for why, is_so in doubts.items() if is_so), "")
