"""Keeps a second copy of the group's commits in Redis, for the day on which Kafka has them no more, or others.

A commit is copied after Kafka has accepted it, with the next ones of all partitions in one call: no batch waits for
that. Kafka drops commits with the group, when they expire, and with the topic that they are of; operators move them.
"""

from collections.abc import Callable, Mapping

from features.errors import StoreError
from features.redis.commit_notes import CommitNotes
from features.redis.progress import LogPart
from stream.kafka.commit_copies import CommitCopy
from stream.kafka.topics import LABELS, PREDICTIONS, TRANSACTIONS
from stream.kafka.transport import BatchConsumer
from stream.settings import Settings
from stream.tasks import until_tick


class CommitCopier:
    """Copies the commits of this worker; `scores_ids` are the ids of the topics of its scores, by partition."""

    def __init__(
        self,
        settings: Settings,
        notes: CommitNotes,
        consumer: Callable[[], BatchConsumer | None],
        scores_ids: Mapping[int, str],
    ) -> None:
        self._settings = settings
        self._notes = notes
        self._consumer = consumer
        self._scores_ids = scores_ids
        self._layouts = {settings.topic(one.name): one for one in (TRANSACTIONS, LABELS, PREDICTIONS)}

    async def run(self) -> None:
        """Copy new commits as often as offsets are committed, for ever."""
        while True:
            await until_tick(self._settings.commit_interval)
            await self.copy()

    async def copy(self) -> None:
        """Copy the commits that were made since the last copies; those that cannot be written are tried again later."""
        consumer = self._consumer()
        if consumer is None:
            return
        new, notes = dict(consumer.uncopied), {}
        for tp, commit in new.items():
            if layout := self._layouts.get(tp.topic):
                scores_id = self._scores_ids.get(tp.partition, "") if layout is TRANSACTIONS else ""
                copy = CommitCopy(self._settings.group, commit.offset, commit.metadata, scores_id)
                notes[LogPart(layout is LABELS, tp.partition, layout is PREDICTIONS)] = copy.encode()
        try:
            await self._notes.write(notes)
        except StoreError:
            return  # `/health/ready` tells of Redis
        for tp, commit in new.items():
            if consumer.uncopied.get(tp) is commit:
                del consumer.uncopied[tp]
