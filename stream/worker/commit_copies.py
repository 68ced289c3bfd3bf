"""Keeps a second copy of the group's commits in Redis, for the day on which Kafka has them no more, or others.

A commit is copied after Kafka has accepted it, with the next ones of all partitions in one call: no batch waits for
that. Kafka drops commits with the group, when they expire, and with the topic that they are of; operators move them.
Where Redis has lost what it held, or a partition has come from another worker, Kafka's commits are copied again: a
partition on which nothing arrives gets no new one.
"""

from collections.abc import Awaitable, Callable, Mapping

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from features.errors import StoreError
from features.redis.progress import CommitNotes, LogPart
from stream.engine.batches import Commit
from stream.engine.transport import BatchConsumer
from stream.kafka.topics import LABELS, PREDICTIONS, TRANSACTIONS
from stream.positions.commit_copies import CommitCopy
from stream.positions.inputs import partitions_of
from stream.settings import Settings
from stream.tasks import until_tick

FindCommits = Callable[[list[TopicPartition]], Awaitable[Mapping[TopicPartition, OffsetAndMetadata]]]


class CommitCopier:
    """Copies the commits of this worker's partitions.

    `scores_ids` are the ids of the topics of this worker's scores, by partition; `commits` reads the group's commits
    from Kafka, and `history_epoch` returns the number that rises with each loss of Redis.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        notes: CommitNotes,
        consumer: Callable[[], BatchConsumer | None],
        scores_ids: Mapping[int, str],
        commits: FindCommits,
        history_epoch: Callable[[], int],
    ) -> None:
        self._settings = settings
        self._kept = notes
        self._consumer = consumer
        self._scores_ids = scores_ids
        self._commits = commits
        self._history_epoch = history_epoch
        self._layouts = {settings.topic(one.name): one for one in (TRANSACTIONS, LABELS, PREDICTIONS)}
        self._copied: dict[TopicPartition, int] = {}
        """The history epoch under which the commits of each own partition were copied."""

    async def run(self) -> None:
        """Copy new commits as often as offsets are committed, for ever."""
        while True:
            await until_tick(self._settings.commit_interval)
            await self.copy()

    async def copy(self) -> None:
        """Copy the commits that were made since the last copies, and those of which Redis may have none.

        What cannot be read or written is tried again later.
        """
        consumer, epoch = self._consumer(), self._history_epoch()
        if consumer is None:
            return
        own = [tp for topic in self._layouts for tp in partitions_of(topic, consumer.partitions(topic))]
        self._copied = {tp: self._copied[tp] for tp in own if tp in self._copied}
        new = dict(consumer.uncopied)
        lacking = [tp for tp in own if tp not in new and self._copied.get(tp) != epoch and self._is_read(tp)]
        try:
            earlier = await self._of_kafka(lacking)
            await self._kept.write(self._notes({**earlier, **new}))
        except (StoreError, KafkaError):
            return  # `/health/ready` tells of both
        self._copied |= dict.fromkeys([*lacking, *(tp for tp in new if tp in own)], epoch)
        for tp, commit in new.items():
            if consumer.uncopied.get(tp) is commit:
                del consumer.uncopied[tp]

    def _is_read(self, tp: TopicPartition) -> bool:
        """Tell whether it is known which topic a partition's scores are in: a copy without its id is of no use."""
        return self._layouts[tp.topic] is not TRANSACTIONS or tp.partition in self._scores_ids

    async def _of_kafka(self, tps: list[TopicPartition]) -> dict[TopicPartition, Commit]:
        """Return the commits that Kafka has of partitions, as far as workers have made them."""
        found = await self._commits(tps) if tps else {}
        return {tp: Commit(one.offset, one.metadata) for tp, one in found.items() if one.offset >= 0 and one.metadata}

    def _notes(self, commits: Mapping[TopicPartition, Commit]) -> dict[LogPart, bytes]:
        notes = {}
        for tp, commit in commits.items():
            if layout := self._layouts.get(tp.topic):
                scores_id = self._scores_ids.get(tp.partition, "") if layout is TRANSACTIONS else ""
                copy = CommitCopy(self._settings.group, commit.offset, commit.metadata, scores_id)
                notes[LogPart(layout is LABELS, tp.partition, layout is PREDICTIONS)] = copy.encode()
        return notes
