"""Where the decisions of each own partition end: read at an assignment and after a failed write, advanced by our own.

Each partition is read on its own, so that one whose scores cannot be read holds up no other.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import AsyncExitStack
from typing import NamedTuple

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, RebalanceInProgressError

from fraudstream_client.arms import LIVE
from fraudstream_client.validity import place_of
from models.terms import Term
from stream.control.announcements import Cutover, Handover, announce
from stream.control.follower import Follower
from stream.engine.batches import Commit
from stream.engine.publisher import Publisher
from stream.engine.transport import BatchConsumer
from stream.errors import WriteGivenUpError
from stream.kafka.stray import given_up_as_error
from stream.kafka.topics import TRANSACTIONS
from stream.positions.commit_copies import CommitCopies
from stream.positions.inputs import input_reader, partitions_of
from stream.positions.letters import letters_read_of
from stream.positions.losses import moved_text
from stream.positions.offsets import Position, ResumePoint, VoidCounter, identity_of
from stream.positions.score_tails import TailReader, TailSources, tail_reader
from stream.scoring.facts import FactListener, VoidFound
from stream.settings import Settings
from stream.tasks import both, failure_of
from stream.watchdog import end_on_error, end_process
from stream.worker.epochs import Epochs, GroupMembers
from stream.worker.outputs import ScoresToWrite
from stream.worker.refusals import PartitionRefusals, SettledOffsets
from stream.worker.role import PublishedScores, role_of
from stream.worker.starts import PartitionStarts, Readers

log = logging.getLogger("fraudstream.positions")

_RETRY_SECONDS = 0.5
_ROLE_SECONDS = 1.0


class _Reading(NamedTuple):
    """One reading of partitions: only the newest of a partition, in its assignment, says where it is read on."""

    generation: int
    number: int


class DecisionPositions:
    """The position, epoch and committed offset of each own partition of `transactions`, once they are known."""

    def __init__(  # noqa: PLR0913 - each part of a worker is named where all are wired
        self,
        *,
        settings: Settings,
        follower: Follower,
        published: PublishedScores,
        publisher: Publisher,
        admin: AIOKafkaAdminClient,
        consumer: Callable[[], BatchConsumer],
        copies: CommitCopies,
        emit: FactListener,
        members: GroupMembers,
        fatal: Callable[[str], None] = end_process,
    ) -> None:
        self._settings = settings
        self._follower = follower
        self._published = published
        self._publisher = publisher
        self._admin = admin
        self._consumer = consumer
        self._copies = copies
        self._emit = emit
        self._members = members
        self.topic = settings.topic(TRANSACTIONS.name)
        """The topic whose partitions these are."""
        self._known: dict[int, Position] = {}
        self._committed: dict[int, int] = {}
        self._handled: dict[int, int] = {}
        self._voids = VoidCounter()
        self.refusals = PartitionRefusals(follower, self.topic, emit)
        self._readers: list[TailReader] = []
        self._starts = PartitionStarts(settings, follower, published, emit)
        self._newest: dict[int, _Reading] = {}
        self._readings = 0
        self._writes: dict[int, asyncio.Task[int]] = {}
        self._displaced: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.scores_ids: dict[int, str] = {}
        """The id of the topic in which each partition's scores were read; empty where the brokers have none."""
        self.epochs = Epochs(members, fatal)
        """The epoch of each partition's next decisions under this assignment."""
        self.generation: int | None = None
        """The group's generation; None while no partitions are assigned."""
        self.partitions: frozenset[int] = frozenset()
        self.log = 0
        """The number of the topic's log that is read now."""
        self._term: Term = follower.term
        self.role = role_of(settings, follower)
        """Under which the positions are known."""

    def __getitem__(self, partition: int) -> Position:
        return self._known[partition]

    def get(self, partition: int) -> Position | None:
        """Return a partition's position; None while it is not known."""
        return self._known.get(partition)

    def known(self) -> Mapping[int, Position]:
        """Return the position of each own partition that is known."""
        return self._known

    def capped(self) -> Mapping[str, int]:
        """Return in how many own partitions the cap on declines holds, by arm; callable from any thread."""
        cap, found = self._follower.lineup.decline_cap, Counter({LIVE: 0})
        for partition, position in tuple(self._known.items()):
            for arm, window in position.declines.items() if partition in self.partitions else ():
                found[arm] += window.holds(cap)
        return found

    def committed(self, partition: int) -> int:
        """Return the offset that was committed when the assignment began."""
        return self._committed.get(partition, 0)

    def why(self, partition: int) -> str:
        """Return why a partition's position is not known."""
        return self._starts.losses.get(partition, "its last decisions are being read")

    def reasons(self) -> list[str]:
        """Return which positions are not known yet, and how far their reading is."""
        found = [] if self.generation is not None else ["the consumer group has not been joined"]
        losses = sorted(self._starts.losses.items())
        found += [f"{self.topic} partition {one}: {why}" for one, why in losses if one in self.partitions]
        unread = sorted(self.partitions - self._known.keys() - self._starts.losses.keys())
        if unread:
            progress = sorted(one for reader in self._readers for one in reader.progress.items())
            behind = "; ".join(f"partition {one} at offset {offset} of {end}" for one, (offset, end) in progress)
            held = [why for one in unread for reader in self._readers if (why := reader.why_held_back(one))]
            found += dict.fromkeys(held)  # the letters of one reader hold all its partitions
            found.append(f"the last decisions of partitions {unread} are being read{behind and f' ({behind})'}")
        return found

    def assigned(self, generation: int, partitions: Iterable[int]) -> None:
        """Start to read the positions of a new assignment."""
        self.generation, self.partitions, self._displaced = generation, frozenset(partitions), set()
        self._claim()

    def _claim(self) -> None:
        """Read all positions under the present role."""
        self._term = self._follower.term
        self.role = role_of(self._settings, self._follower)
        self._known, self._committed, self._handled = {}, {}, {}
        self.refusals.begin_assignment()
        self._starts.losses.clear()
        self.epochs.clear()
        self._begin(self.partitions)

    async def watch_role(self) -> None:
        """Claim every partition anew whenever the role changes, for ever."""
        while True:
            await self._follower.wait_for_change(_ROLE_SECONDS)
            if role_of(self._settings, self._follower) != self.role:
                term = self._follower.term
                log.warning("term %d: deployment %s publishes from now on", term.number, term.publisher)
                self._displaced |= self.partitions
                self._claim()

    def revoked(self) -> None:
        """Forget the partitions: another worker may own them now, so what is still being written is given up."""
        self.generation, self.partitions = None, frozenset()
        self._publisher.give_up(self._writes.values())
        self._writes.clear()

    def displace(self, partition: int) -> None:
        """Note that the consumer stands at no place of the topic, wherever the commit is: it has to go to the start."""
        self._displaced.add(partition)

    def read_again(self, partition: int, after: "asyncio.Task[int] | None" = None, *, given_up: bool = False) -> None:
        """Read a partition's position again, once the write `after` has ended: it is not known what was written.

        Dead letters are read again, too: one that was written, but not acknowledged in time, is a verdict. A reading
        that has begun before ends without effect: what it has found may be older. If a write was given up, or `after`
        will be, the partition goes on under the next epoch.
        """
        if (known := self._known.pop(partition, None)) is not None:
            self.epochs.note(partition, known.standing.highest_epoch)
            self.refusals.expect(partition, known.scores_offset)
        if given_up:
            self.epochs.raise_attempt(partition)
        self._begin(frozenset({partition}), after)

    def is_decided(self, partition: int, offset: int) -> bool:
        """Tell whether a known partition's record has a valid decision."""
        return place_of(self.log, offset) <= self._known[partition].standing.last_place

    def is_accepted(self, partition: int, offset: int) -> bool:
        """Tell whether a known partition's record, if it is not `settled`, was accepted: it is not judged again.

        It has a valid decision, or lies before a commit of ours: then it got all that it gets, though no later one has
        a decision.
        """
        return offset < self._handled.get(partition, 0) or self.is_decided(partition, offset)

    def settled(self, partition: int) -> SettledOffsets:
        """Return the offsets of a known partition that get no verdict any more, and from which on it is read.

        A silent deployment takes the verdicts of the one that publishes.
        """
        of_publisher = None if self.role.publishes else self._published.refused(partition, self.log)
        return self.refusals.settled(partition, self.log, of_publisher)

    def claim_headers(self, partition: int) -> list[tuple[str, bytes]]:
        """Return what the next score of a known partition says of its claim, unless an earlier one has said it."""
        if not self.role.publishes:
            return []
        return self.refusals.claim_headers(partition, self._known[partition].standing, self.epochs[partition])

    def is_behind(self, partition: int, finished: int) -> bool:
        """Tell whether own payments may be left to apply that have a decision; `finished` is the offset after the last.

        Not of a partition that waits for an operator.
        """
        if partition not in self.partitions or partition in self._starts.losses:
            return False
        return partition not in self._known or self.is_decided(partition, finished)

    def read_to(self) -> Mapping[int, int] | None:
        """Return the offset up to which each own partition was read in this log; None until all are known.

        That is behind its last decision, or at its commit where that is later: payments that were filled in have no
        decision, and histories held them.
        """
        if self.generation is None or self.partitions - self._known.keys():
            return None
        return {one: max(at.decided_to(self.log), self.committed(one)) for one, at in self._known.items()}

    def note(self, partition: int, behind: int) -> str:
        """Return the metadata of a commit of offset `behind`, which lies behind a known partition's last score."""
        return self._note(partition, self._known[partition], behind)

    def _note(self, partition: int, position: Position, behind: int) -> str:
        # The next owner begins behind the last decision, so it needs the letters of what lies from there to `behind`.
        behind = min(behind, position.decided_to(position.log) or behind)
        published = None if self.role.publishes else self._published.noted(partition, self.log, behind)
        if self.role.publishes:
            position = self.refusals.noted(partition, position, behind)
        return position.to_metadata(
            with_declines=self._follower.lineup.limits is not None,
            term=self.role.term.number,
            published=published,
            with_letters=not self._members.is_mixed,
        )

    def advance(self, partition: int, revision: int, scores: ScoresToWrite, end: int) -> bool:
        """Move a partition behind scores that the broker has acknowledged; its topic ends at `end` now.

        Returns False if they do not follow ours, since others wrote or Kafka lost some: read again which are valid.
        """
        before, last = self._known[partition], scores.records[-1]
        if (wanted_end := before.scores_offset + len(scores.records)) != end:
            log.warning("partition %d: its scores end at %d, and not at %d", partition, end, wanted_end)
            self._known[partition] = before._replace(scores_offset=wanted_end)  # it is read again from here on
            return False
        place, first = place_of(self.log, last.source_offset), scores.records[0].source_offset
        term, epoch = self.role.term.number, self.epochs[partition]
        self.refusals.claimed(partition)
        if revision > before.revision_in(term):
            self._announce(Cutover(partition, revision, first))
        if before.term < term and self.role.publishes:
            self._announce(Handover(partition, term, revision, first))
        self._known[partition] = before._replace(
            standing=before.standing.after(epoch, place),
            revision=revision,
            scores_offset=end,
            cutovers=(),
            void=0,
            identity=identity_of((last.key or b"").decode(), last.transaction_id),
            declines=scores.limits.declines,
            let_through=scores.limits.let_through,
            term=term,
            handover=None,
            claims=before.claims_after(epoch, letters_read_of(self.claim_headers(partition))),
        )
        return True

    # --- reading

    def _begin(self, partitions: frozenset[int], after: "asyncio.Task[int] | None" = None) -> None:
        if self.generation is None or not partitions:
            return
        self._readings += 1
        reading = _Reading(self.generation, self._readings)
        self._newest |= dict.fromkeys(partitions, reading)
        self._writes |= {} if after is None else dict.fromkeys(partitions, after)
        self._spawn(self._read_all(reading, partitions))

    def _is_newest(self, reading: _Reading, partition: int) -> bool:
        """Tell whether what a reading finds out about a partition holds: the assignment lasts, and none began later."""
        return self.generation == reading.generation and self._newest.get(partition) == reading

    async def _read_all(self, reading: _Reading, partitions: frozenset[int]) -> None:
        """Read partitions together; retry each that cannot be read, while no other reading of it has begun.

        What is still being written, also before an earlier reading, comes first.
        """
        if writes := {self._writes[one] for one in partitions & self._writes.keys()}:
            await asyncio.wait(writes)
        # Others may have waited for the same write: whichever is first takes the next epoch, once.
        for partition in [one for one in partitions if one in self._writes and self._writes[one].done()]:
            if isinstance(failure_of(self._writes.pop(partition)), WriteGivenUpError):
                self.epochs.raise_attempt(partition)
        left = set(partitions)
        while left := {one for one in left if self._is_newest(reading, one)}:
            try:
                with given_up_as_error():
                    await self._read_together(reading, left)
            except KafkaError as error:
                log.warning("the positions of decisions cannot be read, retrying: %s", error)
                await asyncio.sleep(_RETRY_SECONDS)

    async def _read_together(self, reading: _Reading, left: set[int]) -> None:
        sources, own = TailSources(self._copies, self._published.position), partitions_of(self.topic, sorted(left))
        async with AsyncExitStack() as stack:
            reader, inputs = await both(
                stack.enter_async_context(tail_reader(self._settings, self._admin, sorted(left), self._term, sources)),
                stack.enter_async_context(input_reader(self._settings, self._admin, own)),
            )
            self._readers.append(reader)
            try:
                await asyncio.gather(*(self._read((reader, inputs), reading, one, left) for one in reader.partitions))
            finally:
                self._readers.remove(reader)

    async def _read(self, readers: Readers, reading: _Reading, partition: int, left: set[int]) -> None:
        """Read one partition's position; retry while its broker is unavailable."""
        while self._is_newest(reading, partition):
            try:
                with given_up_as_error():
                    point = await readers[0].read(partition)
                    self.scores_ids[partition] = readers[0].scores_id
                    await self._resume(readers, reading, partition, point)
            except RebalanceInProgressError as error:
                log.info("the position of partition %d has to be read again: %s", partition, error)
                await asyncio.sleep(_RETRY_SECONDS)
                return  # with the commit as it is then
            except KafkaError as error:
                log.warning("the position of partition %d cannot be read, retrying: %s", partition, error)
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                left.discard(partition)
                return

    async def _resume(self, readers: Readers, reading: _Reading, partition: int, point: ResumePoint) -> None:
        """Resume one partition where it can be read on; wait while what it lost is not accepted."""
        standing = self._starts.standing_of(partition, point, publishes=self.role.publishes)
        tp = TopicPartition(self.topic, partition)
        found = await self._starts.find(readers, tp, point, lambda: self._is_newest(reading, partition))
        if found is None or not self._is_newest(reading, partition):
            return
        start, state = found
        position = point.position._replace(standing=standing, topic_id=state.topic_id or "", log=start.log)
        if self.role.publishes:
            tail = readers[0].letters
            await self.refusals.read(tail, position)
            position = self.refusals.settle(partition, position, tail, start.offset)
        point = point._replace(position=position)
        await self.refusals.resume(readers[0], partition, point, start.offset)
        stands_at = next((one for one in (point.committed, point.moved) if one is not None), state.begin)
        committed = max(start.offset, start.committed or 0)
        if partition in self._displaced or start.offset != stands_at:
            await self._consumer().rewind(tp, start.offset, committed)
        await self._members.settle()
        if not self._is_newest(reading, partition) or not await self._claim_epoch(partition, point, committed):
            return
        if point.moved is not None:
            log.warning("%s partition %d: %s", *tp, moved_text(point.moved, committed))
        if self._is_newest(reading, partition):
            self.log = start.log
            self._displaced.discard(partition)
            self._committed[partition] = committed
            self._handled[partition] = 0 if point.scores_lost else start.committed or 0
            self._known[partition] = position
            self._count_void(partition, point)
            self._announce_found(partition, position)
            self._consumer().aside.hurry(tp)
            log.debug("partition %d is decided from offset %d on", partition, start.offset)
            await self._follower.wake()

    def _count_void(self, partition: int, point: ResumePoint) -> None:
        if void := self._voids.count_new(partition, point):
            self._emit(VoidFound(partition, void))

    async def _claim_epoch(self, partition: int, point: ResumePoint, offset: int) -> bool:
        """Take an epoch once per assignment, but never one above a newer owner's; tell whether we own the partition.

        An epoch at or above our generation's was written either before the group's generations were reset, or by a
        newer owner. Only the coordinator knows: it must accept a commit of ours first.

        Raises:
            RebalanceInProgressError: it did not; read the position again.
        """
        generation, term, position = self.generation or 0, self.role.term, point.position
        mine, seen = self.epochs.get(partition), position.standing.highest_epoch
        if term.is_before(seen):
            self._count_void(partition, point)
            raise RebalanceInProgressError(f"partition {partition} has scores of a term that is not known here yet")
        may_be_newer = mine is None and self.epochs.may_be_newer(seen, term, generation)
        # A commit that no worker has made is replaced at once: `topics accept-loss` then sees what the worker does.
        if may_be_newer or point.moved is not None:
            if not self.role.publishes and self._published.position(partition) is None:
                raise RebalanceInProgressError("how far the published scores were followed is not known yet")
            # The offset stays: later records may be decided, but not applied to the histories yet.
            commit = Commit(offset, self._note(partition, position, offset))
            owned = await self._consumer().commit_now(TopicPartition(self.topic, partition), commit)
            if not owned or self.generation != generation:
                raise RebalanceInProgressError(f"epoch {seen} of partition {partition} may be a newer owner's")
        if mine is not None and seen > mine:
            log.error(
                "partition %d: epoch %d was written after ours, %d; another worker owns it", partition, seen, mine
            )
            return False
        self.epochs.take(partition, seen, term, generation)
        return True

    def _announce_found(self, partition: int, position: Position) -> None:
        """Announce what the tail holds of this term; it may be that whoever decided it died before."""
        if position.term != self.role.term.number:
            return
        for revision, offset in position.cutovers:
            self._announce(Cutover(partition, revision, offset))
        if position.handover is not None and self.role.publishes:
            first = next(iter(position.cutovers), (position.revision, 0))[0]
            self._announce(Handover(partition, position.term, first, position.handover))

    def _announce(self, found: Cutover | Handover) -> None:
        self._spawn(announce(self._publisher, self._settings, found))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(end_on_error)
