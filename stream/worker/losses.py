"""What the worker does about input that cannot be read on: wait, tell of it, and go on where an operator accepted it.

For `transactions` the positions of decisions say where a partition is read on; this is for `labels` and `predictions`,
for ranges that cannot be unpacked, and for topics that are made anew while they are read.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from typing import NamedTuple

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, RebalanceInProgressError
from aiokafka.structs import OffsetAndMetadata

from features.errors import StoreError
from models.judge import InputTopic
from models.logs import SkippedRange
from stream.control.follower import Follower
from stream.engine.batches import Commit
from stream.engine.fetcher import Trouble
from stream.engine.transport import BatchConsumer
from stream.engine.unpacking import Unreadable
from stream.kafka.client import committed_offsets
from stream.kafka.stray import given_up_as_error
from stream.kafka.topic_ids import topic_states
from stream.kafka.topics import LABELS, LAYOUTS, PREDICTIONS, TRANSACTIONS, count_problems
from stream.positions.commit_copies import CommitCopies, CommitCopy, copies_of
from stream.positions.inputs import input_states, partitions_of
from stream.positions.losses import (
    Loss,
    Progress,
    Start,
    find_start,
    is_of_worker,
    moved_text,
    place_of_labels,
    place_of_predictions,
)
from stream.positions.offsets import read_topic_note, topic_note
from stream.scoring.facts import FactListener, LossFound
from stream.settings import Settings
from stream.tasks import until_tick
from stream.watchdog import end_on_error
from stream.worker.positions import DecisionPositions

log = logging.getLogger("fraudstream.losses")

_RETRY_SECONDS = 1.0
_WATCH_SECONDS = 5.0
_TOGETHER_SECONDS = 1.0


class _InputFound(NamedTuple):
    """What brokers hold of a partition, what the group has committed, and the copy of its last commit by a worker.

    The copy is read only where the commit was not made by a worker.
    """

    state: InputTopic
    commit: OffsetAndMetadata
    copy: CommitCopy | None


class InputLosses:
    """Holds back partitions of `labels` and `predictions` that lost records, and watches the ids of the inputs.

    Of predictions from storage nothing is held back but what a commit that no worker has made would pass over: one that
    Kafka no longer has is a feature that is not there. `consumer` returns the consumer that Faust has created.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        follower: Follower,
        admin: AIOKafkaAdminClient,
        positions: DecisionPositions,
        consumer: Callable[[], BatchConsumer],
        copies: CommitCopies,
        emit: FactListener,
        reads_predictions: bool = False,
    ) -> None:
        self._settings = settings
        self._follower = follower
        self._admin = admin
        self._positions = positions
        self._consumer = consumer
        self._copies = copies
        self._emit = emit
        self._reads_predictions = reads_predictions
        self._transactions = settings.topic(TRANSACTIONS.name)
        self._labels = settings.topic(LABELS.name)
        self._predictions = settings.topic(PREDICTIONS.name)
        self._assignment = 0
        self._held: dict[TopicPartition, str] = {}
        self._ids: dict[str, str] = {}
        self._notes: dict[TopicPartition, str] = {}
        self._displaced: set[TopicPartition] = set()
        self._count_problems: list[str] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.log = 0
        """The number of the labels' log that is read now."""

    def reasons(self) -> list[str]:
        """Return which partitions of labels and predictions wait and why, and which topics lack partitions."""
        waiting = [f"{tp.topic} partition {tp.partition}: {why}" for tp, why in sorted(self._held.items()) if why]
        return [*waiting, *self._count_problems]

    @property
    def held(self) -> AbstractSet[TopicPartition]:
        """The partitions that must not be read now."""
        return self._held.keys()

    def label_note(self, partition: int) -> str:
        """Return the metadata of a commit of labels: the topic that was checked before the partition was read."""
        return self._notes.get(TopicPartition(self._labels, partition), "")

    def prediction_note(self, partition: int) -> str:
        """Return the metadata of a commit of predictions, likewise."""
        return self._notes.get(TopicPartition(self._predictions, partition), "")

    def awaits_payments(self, partition: int) -> bool:
        """Tell whether payments of a partition that have a decision may not be in the histories yet."""
        consumer, positions = self._consumer(), self._positions
        finished = consumer.finished_offsets(self._transactions).get(partition, 0)
        return positions.is_behind(partition, finished)

    def assigned(self, partitions: Iterable[TopicPartition]) -> None:
        """Check the partitions of labels and predictions of a new assignment before they are read."""
        self._assignment += 1
        checked = (self._labels, self._predictions)
        self._held, self._displaced = {tp: "" for tp in partitions if tp.topic in checked}, set()
        if self._held:
            self._spawn(self._check_together(sorted(self._held), self._assignment))

    def revoked(self) -> None:
        """Stop the checks: another worker may own the partitions now."""
        self._assignment += 1

    async def watch(self) -> None:
        """Compare the topics' ids and partition counts regularly, for ever; check inputs again that are made anew."""
        settings = self._settings
        names = [settings.topic(layout.name) for layout in LAYOUTS]
        while True:
            try:
                with given_up_as_error():
                    found = await topic_states(self._admin, names)
            except KafkaError as error:
                log.info("the states of the topics cannot be read, retrying: %s", error)
            else:
                self._count_problems = count_problems(
                    settings,
                    {one: state.partitions for one, state in found.items()},
                    reads_predictions=self._reads_predictions,
                )
                for topic in (self._transactions, self._labels):
                    if topic in found:
                        self._compare(topic, found[topic].topic_id)
            await until_tick(_WATCH_SECONDS)

    def _compare(self, topic: str, topic_id: str) -> None:
        if self._ids.get(topic, topic_id) != topic_id:
            log.error("%s was deleted and made anew while it was read", topic)
            self._check_again(topic)
        self._ids[topic] = topic_id

    def _check_again(self, topic: str) -> None:
        own = partitions_of(topic, self._consumer().partitions(topic))
        for tp in own:
            if topic == self._transactions:
                self._positions.displace(tp.partition)
                self._positions.read_again(tp.partition)
            else:
                self._check_displaced(tp)

    def _check_displaced(self, tp: TopicPartition) -> None:
        """Find out where a partition is read on, and go there: the consumer stands at no place of it."""
        self._held[tp] = ""
        self._displaced.add(tp)
        self._spawn(self._check(tp, self._assignment))

    async def examine(self, tp: TopicPartition, trouble: Trouble) -> str | int:
        """Return why a partition that cannot be read on waits, or the offset from which it goes on."""
        if isinstance(trouble, Unreadable):
            return self._unreadable(tp, trouble)
        if isinstance(trouble, KafkaError):
            return str(trouble)
        if tp.topic == self._transactions:
            positions = self._positions
            positions.displace(tp.partition)
            if positions.get(tp.partition) is not None:  # otherwise it is being read, and may wait for an operator
                positions.read_again(tp.partition)
            return positions.why(tp.partition)
        if tp.topic == self._labels:
            self._check_displaced(tp)
        else:
            return await self._beginning(tp, trouble)
        return f"it holds no offset {trouble}"

    def _unreadable(self, tp: TopicPartition, found: Unreadable) -> str | int:
        """Return why a partition waits, or the offset behind what cannot be unpacked: of predictions at once."""
        if tp.topic == self._predictions:
            log.error("%s: offsets %d to %d cannot be read, and are passed over", tp, found.first, found.end - 1)
            return found.end
        skipped = self._follower.logs.skipped.get((self._settings.deployment, *tp), frozenset())
        number = self._log_of(tp)
        if number is not None and SkippedRange(number, found.first) in skipped:
            return found.end
        command = f"dead-letters skip --topic {tp.topic} --partition {tp.partition} --offset {found.first}"
        what = f"offsets {found.first} to {found.end - 1} cannot be read: {found.reason}"
        return f"{what}. To pass over them: `fraudstream {command}`"

    def _log_of(self, tp: TopicPartition) -> int | None:
        """Return the number of the log that is read of a partition; None while that is not known."""
        if tp.topic == self._transactions:
            position = self._positions.get(tp.partition)
            return None if position is None else position.log
        note = self._notes.get(tp)
        return None if note is None else read_topic_note(note)[1]

    async def _beginning(self, tp: TopicPartition, offset: int) -> str | int:
        """Go on with the first command, or prediction, that is there: those before it are gone.

        Commands expire unanswered.
        """
        try:
            with given_up_as_error():
                (state,) = (await input_states(self._settings, self._admin, [tp])).values()
        except KafkaError as error:
            return str(error)
        what = "predictions" if tp.topic == self._predictions else "commands"
        log.error("%s from offset %d to %d of %s are gone; they stay without an answer", what, offset, state.begin, tp)
        return state.begin

    async def _check_together(self, partitions: Sequence[TopicPartition], assignment: int) -> None:
        """Check partitions by the same requests; where these fail, each asks on its own."""
        seen: Mapping[TopicPartition, _InputFound] = {}
        with suppress(KafkaError, StoreError, TimeoutError), given_up_as_error():
            async with asyncio.timeout(_TOGETHER_SECONDS):
                seen = await self._look(partitions)
        for tp in partitions:
            self._spawn(self._check(tp, assignment, seen.get(tp)))

    async def _look(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, _InputFound]:
        """Ask what brokers hold of partitions, and what the group has committed.

        Raises:
            aiokafka.errors.KafkaError: the brokers do not respond.
            StoreError: some commits were not made by workers, and Redis does not answer.
        """
        settings, admin = self._settings, self._admin
        commits = await committed_offsets(settings, admin, list(partitions))
        states = await input_states(settings, admin, partitions)  # later: an end is never below what was committed
        lacking = [tp for tp in partitions if not is_of_worker(commits[tp], states[tp].topic_id)]
        copies = await copies_of(self._copies, settings, lacking) if lacking else {}
        return {tp: _InputFound(states[tp], commits[tp], copies.get(tp)) for tp in partitions}

    async def _check(self, tp: TopicPartition, assignment: int, seen: _InputFound | None = None) -> None:
        """Find out where a partition is read on; hold it back until it can be.

        `seen` is what was asked for just now.
        """
        while assignment == self._assignment and tp in self._held:
            found: Start | tuple[str, int | None] | str
            try:
                with given_up_as_error():
                    found = await self._find_start(tp, seen or (await self._look([tp]))[tp])
            except (KafkaError, StoreError) as error:
                found = f"it cannot be checked for losses: {error}"
            seen = None
            if assignment != self._assignment:
                return
            if isinstance(found, Start):
                if tp.topic == self._labels:
                    self.log = found.log
                self._displaced.discard(tp)
                self._held.pop(tp, None)  # a check of the same partition may have ended before
                return
            if isinstance(found, str):
                self._held[tp] = found
            else:
                self._tell(tp, found)
            await self._follower.wait_for_change(_RETRY_SECONDS)

    async def _find_start(self, tp: TopicPartition, seen: _InputFound) -> Start | tuple[str, int | None]:
        """Let the consumer go to where a partition is read on; or return why it waits, and how much is lost.

        Raises:
            RebalanceInProgressError: the coordinator refused a commit; check the partition again.
            aiokafka.errors.KafkaError: the brokers do not respond.
        """
        state, commit, copy = seen
        place_of = place_of_predictions if tp.topic == self._predictions else place_of_labels
        place = place_of(commit, state.topic_id, copy)
        if place.copy is not None:  # all that looks for losses starts from it
            await self._commit(tp, Commit(place.copy.offset, place.copy.metadata), commit)
            # The consumer stands at the commit that was there; the next look finds this one, and would leave it there.
            self._displaced.add(tp)
        found = self._start_of(tp, state, place.progress)
        if isinstance(found, str):
            return found, 0
        if not isinstance(found, Start):
            return found.text, found.lost
        stands_at = commit.offset if commit.offset >= 0 else state.begin
        if tp in self._displaced or found.offset != stands_at:
            await self._consumer().rewind(tp, found.offset)
        self._notes[tp] = topic_note(state.topic_id or "", found.log)
        if place.copy is None and commit.offset >= 0 and not is_of_worker(commit, state.topic_id):
            await self._commit(tp, Commit(found.offset, self._notes[tp]), commit)
        return found

    def _start_of(self, tp: TopicPartition, state: InputTopic, progress: Progress) -> Start | Loss | str:
        if tp.topic == self._predictions and progress.moved is None:
            return Start(0, state.begin if progress.committed is None else progress.committed, progress.committed)
        return find_start(self._follower.logs, (self._settings.deployment, *tp), state, progress)

    async def _commit(self, tp: TopicPartition, commit: Commit, instead: OffsetAndMetadata) -> None:
        """Commit in place of what Kafka has: nothing, or a commit without a note.

        Raises:
            RebalanceInProgressError: the coordinator refused the commit; check the partition again.
        """
        if not await self._consumer().commit_now(tp, commit):
            raise RebalanceInProgressError("a commit in place of what Kafka has was not accepted")
        if instead.offset < 0:
            log.warning(
                "%s partition %d: the group's commit was gone; it is made again, %d, by its copy", *tp, commit.offset
            )
        elif instead.offset != commit.offset:
            log.warning("%s partition %d: %s", *tp, moved_text(instead.offset, commit.offset))

    def _tell(self, tp: TopicPartition, found: tuple[str, int | None]) -> None:
        why, lost = found
        if self._held.get(tp) != why:
            log.error("%s partition %d does not go on: %s", *tp, why)
            self._emit(LossFound(tp.topic, tp.partition, lost))
        self._held[tp] = why

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(end_on_error)
