"""Keeps a second copy of the group's commits in Redis, for the day on which Kafka has them no more.

A commit is copied after Kafka has accepted it, with the next ones of all partitions in one call: no batch waits for
that. Kafka drops commits with the group, when they expire, and with the topic that they are of.
"""

import logging
from collections.abc import Callable, Mapping

from features.errors import StoreError
from features.redis.commit_notes import CommitNotes
from features.redis.progress import LogPart
from stream.kafka.commit_copies import CommitCopy, parse_copy
from stream.kafka.topics import LABELS, TRANSACTIONS
from stream.kafka.transport import BatchConsumer
from stream.settings import Settings
from stream.tasks import until_tick

log = logging.getLogger("fraudstream.commit_copies")


class CommitCopies:
    """The copies of commits, as those read them that find none in Kafka."""

    def __init__(self, notes: CommitNotes) -> None:
        self._notes = notes

    async def of_transactions(self) -> dict[int, CommitCopy]:
        """Return the copy of each partition of `transactions`; none while Redis does not answer."""
        try:
            return await self._read(of_labels=False)
        except StoreError as error:
            log.warning("the copies of commits cannot be read: %s", error)
            return {}

    async def of_labels(self) -> dict[int, CommitCopy]:
        """Return the copy of each partition of `labels`.

        Raises:
            StoreError: Redis does not answer.
        """
        return await self._read(of_labels=True)

    async def _read(self, *, of_labels: bool) -> dict[int, CommitCopy]:
        notes = await self._notes.read()
        found = {part.partition: parse_copy(note) for part, note in notes.items() if part.of_labels is of_labels}
        return {partition: copy for partition, copy in found.items() if copy is not None}


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
        self._of_labels = {settings.topic(one.name): one is LABELS for one in (TRANSACTIONS, LABELS)}

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
            if tp.topic in self._of_labels:
                of_labels = self._of_labels[tp.topic]
                scores_id = "" if of_labels else self._scores_ids.get(tp.partition, "")
                copy = CommitCopy(self._settings.group, commit.offset, commit.metadata, scores_id)
                notes[LogPart(of_labels, tp.partition)] = copy.encode()
        try:
            await self._notes.write(notes)
        except StoreError:
            return  # `/health/ready` tells of Redis
        for tp, commit in new.items():
            if consumer.uncopied.get(tp) is commit:
                del consumer.uncopied[tp]
