"""Decide batches of transactions: each offset once, by one revision, acknowledged only when it is written.

The steps themselves are `pipeline`'s. Here is when they may run, for which records, and what is kept of the outcome.

The port to the shadow: what was decided is offered to the challenger, and nobody waits for it.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import NamedTuple, Protocol

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, RebalanceInProgressError

from stream.clock import Stopwatch
from stream.control.announcements import Cutover, announce_cutover
from stream.control.follower import Follower
from stream.control.model_cache import ModelCache, ServingModels
from stream.errors import PublishError, StaleBatchError
from stream.kafka.batches import Batch, Commit, Record
from stream.kafka.dead_letters import DeadLetter, DeadLetterRuns
from stream.kafka.offsets import Position, ResumePoint, VoidCounter, read_resume_points
from stream.kafka.publisher import Destination, Outgoing, Publisher
from stream.kafka.topics import DEAD_LETTERS, SCORES, TRANSACTIONS
from stream.kafka.transport import BatchConsumer
from stream.pipeline import DecisionTerms, Outputs, Pipeline
from stream.scoring.encode import Scored
from stream.scoring.facts import Decided, FactListener, VoidFound
from stream.scoring.tracing import BatchTrace, Tracing
from stream.settings import Settings
from stream.watchdog import end_on_error
from stream.worker.isolation import apply_isolating, decide_isolating
from stream.worker.retry import insist

log = logging.getLogger("fraudstream.deciding")

_LOOK_SECONDS = 0.2
_RETRY_SECONDS = 0.5


class Shadow(Protocol):
    """Takes decisions that are written, for the challenger to score the same vectors."""

    def offer(self, scored: Scored, serving: ServingModels, journey: BatchTrace) -> None:
        """Take them, or count them as skipped; returns at once and does not raise."""
        ...


class NoShadow:
    """The shadow of a process that compares nothing."""

    def offer(self, scored: Scored, serving: ServingModels, journey: BatchTrace) -> None:
        """Let them go."""


class DeciderDeps(NamedTuple):
    """What deciding works with; `consumer` is there once Faust has made it, `settled` is the word of others."""

    settings: Settings
    pipeline: Pipeline
    shelf: ModelCache
    follower: Follower
    publisher: Publisher
    admin: AIOKafkaAdminClient
    consumer: Callable[[], BatchConsumer]
    settled: Callable[[], bool]
    emit: FactListener
    tracing: Tracing
    shadow: Shadow


class Decider:
    """Takes transaction batches; knows where each of its partitions stands."""

    def __init__(self, desk: DeciderDeps) -> None:
        self._desk = desk
        self._topic = desk.settings.topic(TRANSACTIONS.name)
        self._positions: dict[int, Position] = {}
        self._epochs: dict[int, int] = {}
        self._committed: dict[int, int] = {}
        self._voids = VoidCounter()
        self._generation: int | None = None
        self._partitions: frozenset[int] = frozenset()
        self._runs = DeadLetterRuns()
        self._trouble: str | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def reasons(self) -> list[str]:
        """Say why decisions are held up here; empty where they are not."""
        found = [f"partition {partition} halted: {why}" for partition, why in self._runs.halted.items()]
        if self._generation is None:
            found.append("the consumer group has not been joined")
        unread = sorted(self._partitions - self._positions.keys())
        if unread:
            found.append(f"where decisions stand is being read for partitions {unread}")
        behind = [one for one, at in self._positions.items() if at.revision > self._desk.follower.lineup.revision]
        if behind:
            found.append(f"partitions {behind} were decided under a revision that is not known here yet")
        if self._trouble:
            found.append(self._trouble)
        return found

    def assigned(self, generation: int, partitions: Iterable[int]) -> None:
        """Begin to find out where the partitions of a new assignment stand."""
        self._generation, self._partitions = generation, frozenset(partitions)
        self._positions, self._epochs, self._committed = {}, {}, {}
        self._spawn(self._resume(generation, self._partitions))

    def revoked(self) -> None:
        """Forget the partitions: another worker may own them from now on."""
        self._generation, self._partitions = None, frozenset()

    async def take(self, batch: Batch) -> None:
        """Decide a batch, as soon as that is possible and for as long as it is ours."""
        try:
            await insist(batch, lambda: self._attempt(batch), self._complain, self._desk.emit)
        finally:
            batch.finish()

    def decided(self) -> Mapping[int, int] | None:
        """Return the offset behind each own partition's last valid decision; None while one is not known."""
        if self._generation is None or self._partitions - self._positions.keys():
            return None
        return {partition: at.standing.last_offset + 1 for partition, at in self._positions.items()}

    # --- before

    async def _await_serving(self, batch: Batch) -> ServingModels:
        """Wait until this batch can be decided."""
        while batch.may_start():
            serving = self._desk.shelf.serving()
            if serving is not None and self._desk.settled() and self._may_serve(batch, serving.revision):
                return serving
            await self._desk.follower.wait_for_change(_LOOK_SECONDS)
        raise StaleBatchError("its partitions were taken away before anything was done")

    def _may_serve(self, batch: Batch, revision: int) -> bool:
        """Tell whether all partitions are known to stand at this revision or below."""
        return all(
            partition in self._positions and self._positions[partition].revision <= revision
            for partition in batch.current()
        )

    async def _resume(self, generation: int, partitions: frozenset[int]) -> None:
        """Read where partitions stand; a broker that is away is asked again."""
        while self._generation == generation and partitions:
            try:
                resumed = await read_resume_points(self._desk.settings, self._desk.admin, partitions)
                for partition, resumption in resumed.items():
                    await self._take_up(generation, partition, resumption)
            except KafkaError as error:
                log.warning("where decisions stand cannot be read, trying again: %s", error)
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return

    async def _take_up(self, generation: int, partition: int, resumption: ResumePoint) -> None:
        """Go on in one partition; back to the first undecided record where a commit is past it."""
        committed, position = resumption
        first = position.standing.last_offset + 1
        if self._generation == generation and committed is not None and 0 < first < committed:
            await self._desk.consumer().rewind(TopicPartition(self._topic, partition), first)
        if self._generation == generation and await self._claim(partition, resumption, generation):
            self._committed[partition] = committed or 0
            self._positions[partition] = position
            if void := self._voids.count_new(partition, resumption):
                self._desk.emit(VoidFound(partition, void))
            self._tell_cutovers(partition, position.cutovers)

    async def _claim(self, partition: int, resumption: ResumePoint, generation: int) -> bool:
        """Take an epoch once an assignment; never outbid whoever came after us, for he is the owner.

        An epoch above our generation is either older than the group's count, or his. Only the coordinator knows: it is
        asked until it says that we are the owner, or the assignment ends.
        """
        committed, position = resumption
        mine, seen = self._epochs.get(partition), position.standing.highest_epoch
        if mine is None and seen >= generation:
            commit = Commit(
                committed or 0, position.to_metadata()
            )  # no further: what is behind it may not be applied yet
            if not await self._desk.consumer().commit_now(TopicPartition(self._topic, partition), commit):
                raise RebalanceInProgressError(f"epoch {seen} of partition {partition} may be a newer owner's")
        if mine is not None and seen > mine:
            log.error(
                "partition %d: epoch %d was written after ours, %d; another worker owns it", partition, seen, mine
            )
            return False
        self._epochs[partition] = position.next_epoch(generation) if mine is None else mine
        return True

    # --- deciding

    async def _attempt(self, batch: Batch) -> None:
        serving = await self._await_serving(batch)
        decided, records = self._parted(batch)
        await apply_isolating(self._desk.pipeline, decided)
        journey = self._desk.tracing.begin(records)
        terms = DecisionTerms(serving, self._epochs, journey.headers)
        try:
            outputs = await decide_isolating(self._desk.pipeline, records, terms)
            fact = await self._publish(batch, terms, outputs)
        except BaseException as error:
            journey.failed(error)
            raise
        self._desk.emit(fact)
        journey.decided(fact)
        self._desk.shadow.offer(fact.scored, serving, journey)

    def _parted(self, batch: Batch) -> tuple[list[Record], list[Record]]:
        """Part what was decided before us from what is to be decided.

        The former was not committed: who decided it may have ended before it was applied to the histories.
        """
        decided: list[Record] = []
        undecided: list[Record] = []
        for partition in batch.current():
            last = self._positions[partition].standing.last_offset
            for record in () if partition in self._runs.halted else batch.records[partition]:
                (undecided if record.offset > last else decided).append(record)
        return decided, undecided

    async def _publish(self, batch: Batch, terms: DecisionTerms, outputs: Outputs) -> Decided:
        """Write what a batch came to, keep where each partition then stands, and return what was written."""
        current = batch.current()
        if not current:
            raise StaleBatchError("its partitions were taken away before anything was written")
        self._runs.add(outputs.dead, {partition: batch.records[partition] for partition in current})
        watch, lots = Stopwatch(), outputs.scored.by_partition()
        letters = [letter.to_record() for letter in self._unwritten(outputs.dead, current)]
        ends = await self._write(
            {(self._desk.settings.topic(DEAD_LETTERS.name), 0): letters}, self._destined(lots, current)
        )
        watch.lap("publish")
        for partition in current:
            scores = lots.get(partition, [])
            end = ends.get((self._desk.settings.topic(SCORES.name), partition))
            if scores and end is not None:
                self._advance(partition, terms.serving.revision, scores, end)
            if partition in self._runs.halted:
                self._desk.consumer().halt(TopicPartition(self._topic, partition))
            else:
                batch.acknowledge(partition, self._positions[partition].to_metadata())
        outputs.stages.extend(watch.stages)
        return Decided(
            outputs.scored.of(current),
            self._unwritten(outputs.dead, current),
            outputs.repeated,
            outputs.unknown_fields,
            outputs.stages,
            terms.serving.revision,
            terms.serving.live.digest,
            outputs.stopgap,
        )

    def _destined(self, scores: Mapping[int, list[Outgoing]], current: list[int]) -> dict[Destination, list[Outgoing]]:
        """Send each partition's scores to the partition of the same number."""
        return {(self._desk.settings.topic(SCORES.name), partition): scores.get(partition, []) for partition in current}

    def _unwritten(self, dead: Iterable[DeadLetter], current: list[int]) -> list[DeadLetter]:
        """Leave out dead letters of before the last commit: those are on their topic, and counted."""
        return [
            letter
            for letter in dead
            if letter.record.partition in current
            and letter.record.offset >= self._committed.get(letter.record.partition, 0)
        ]

    async def _write(
        self, letters: Mapping[Destination, list[Outgoing]], lots: Mapping[Destination, list[Outgoing]]
    ) -> dict[Destination, int]:
        """Publish; where that fails nobody knows what was written, so the tails say it before the next try.

        Dead letters first: nobody goes back behind a decision that is written.
        """
        try:
            await self._desk.publisher.publish(letters)
            return await self._desk.publisher.publish(lots)
        except (PublishError, asyncio.CancelledError):
            if self._generation is not None:
                partitions = frozenset(self._positions)
                self._positions = {}
                self._spawn(self._resume(self._generation, partitions))
            raise

    def _advance(self, partition: int, revision: int, scores: list[Outgoing], end: int) -> None:
        before = self._positions[partition]
        standing = before.standing.after(self._epochs[partition], scores[-1].source_offset)
        if revision > before.revision:
            self._tell_cutovers(partition, ((revision, scores[0].source_offset),))
        self._positions[partition] = Position(standing, revision, end)

    # --- beside

    def _tell_cutovers(self, partition: int, cutovers: Iterable[tuple[int, int]]) -> None:
        for revision, offset in cutovers:
            cutover = Cutover(partition, revision, offset)
            self._spawn(announce_cutover(self._desk.publisher, self._desk.settings, cutover))

    def _complain(self, trouble: str | None) -> None:
        self._trouble = trouble

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(end_on_error)
