"""Decides batches of transactions: each offset once, and acknowledges a batch only after its scores are written.

`stream.pipeline` computes the decisions. The decider chooses when it runs and for which records, publishes its output,
and keeps the position of each partition. Published decisions are offered to the challenger without waiting for it.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, RebalanceInProgressError

from stream.clock import Stopwatch
from stream.control.announcements import Cutover, announce_cutover
from stream.control.follower import Follower
from stream.control.model_cache import LoadedModels, ServingModels
from stream.errors import PublishError, StaleBatchError
from stream.kafka.batches import Batch, Commit, Record
from stream.kafka.dead_letters import DeadLetter, DeadLetterRuns, publish_dead_letters
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
from stream.worker.retry import retry_until_done

log = logging.getLogger("fraudstream.decider")

_POLL_SECONDS = 0.2
_RETRY_SECONDS = 0.5


class Shadow(Protocol):
    """Receives published decisions, so that the challenger can score the same vectors."""

    def offer(self, scored: Scored, serving: ServingModels, trace: BatchTrace) -> None:
        """Queue the decisions, or count them as skipped; returns at once and does not raise."""
        ...


class DeciderDeps(NamedTuple):
    """What the decider uses.

    `consumer` returns the consumer that Faust has created. `may_decide` tells whether the other parts of the worker
    allow decisions now. `emit` receives facts for telemetry.
    """

    settings: Settings
    pipeline: Pipeline
    models: LoadedModels
    follower: Follower
    publisher: Publisher
    admin: AIOKafkaAdminClient
    consumer: Callable[[], BatchConsumer]
    may_decide: Callable[[], bool]
    emit: FactListener
    tracing: Tracing
    shadow: Shadow


class Decider:
    """Decides the batches of its partitions; knows the last decided offset, epoch and revision of each."""

    def __init__(self, deps: DeciderDeps) -> None:
        self._deps = deps
        self._topic = deps.settings.topic(TRANSACTIONS.name)
        self._scores = deps.settings.topic(SCORES.name)
        self._dead_letters = deps.settings.topic(DEAD_LETTERS.name)
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
        """Return the reasons why the decider does not decide; empty when it can."""
        found = [f"partition {partition} halted: {why}" for partition, why in self._runs.halted.items()]
        if self._generation is None:
            found.append("the consumer group has not been joined")
        unread = sorted(self._partitions - self._positions.keys())
        if unread:
            found.append(f"the last decisions of partitions {unread} are being read")
        behind = [one for one, at in self._positions.items() if at.revision > self._deps.follower.lineup.revision]
        if behind:
            found.append(f"partitions {behind} were decided under a revision that is not known here yet")
        if self._trouble:
            found.append(self._trouble)
        return found

    def assigned(self, generation: int, partitions: Iterable[int]) -> None:
        """Start to read the positions of the partitions of a new assignment."""
        self._generation, self._partitions = generation, frozenset(partitions)
        self._positions, self._epochs, self._committed = {}, {}, {}
        self._spawn(self._resume(generation, self._partitions))

    def revoked(self) -> None:
        """Forget the partitions: another worker may own them now."""
        self._generation, self._partitions = None, frozenset()

    async def handle(self, batch: Batch) -> None:
        """Decide a batch as soon as possible; drop it if its partitions are revoked before it is done."""
        try:
            await retry_until_done(batch, lambda: self._attempt(batch), self._set_trouble, self._deps.emit)
        finally:
            batch.finish()

    def decided(self) -> Mapping[int, int] | None:
        """Return the offset after the last valid decision, by own partition; None until all are known."""
        if self._generation is None or self._partitions - self._positions.keys():
            return None
        return {partition: at.standing.last_offset + 1 for partition, at in self._positions.items()}

    # --- before a decision

    async def _await_serving(self, batch: Batch) -> ServingModels:
        """Wait until this batch can be decided, and return the models that decide.

        Raises:
            StaleBatchError: its partitions were revoked first.
        """
        while batch.may_start():
            serving = self._deps.models.serving()
            if serving is not None and self._deps.may_decide() and self._may_serve(batch, serving.revision):
                return serving
            await self._deps.follower.wait_for_change(_POLL_SECONDS)
        raise StaleBatchError("its partitions were revoked before anything was done")

    def _may_serve(self, batch: Batch, revision: int) -> bool:
        """Tell whether the position of every partition is known and at this revision or an earlier one."""
        return all(
            partition in self._positions and self._positions[partition].revision <= revision
            for partition in batch.current()
        )

    async def _resume(self, generation: int, partitions: frozenset[int]) -> None:
        """Read the positions of partitions; retry while the broker is unavailable."""
        while self._generation == generation and partitions:
            try:
                resumed = await read_resume_points(self._deps.settings, self._deps.admin, partitions)
                for partition, resumption in resumed.items():
                    await self._resume_partition(generation, partition, resumption)
            except KafkaError as error:
                log.warning("the positions of decisions cannot be read, retrying: %s", error)
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return

    async def _resume_partition(self, generation: int, partition: int, resumption: ResumePoint) -> None:
        """Resume one partition; rewind to the first undecided record if the commit is past it."""
        committed, position = resumption
        first = position.standing.last_offset + 1
        if self._generation == generation and committed is not None and 0 < first < committed:
            await self._deps.consumer().rewind(TopicPartition(self._topic, partition), first)
        if self._generation == generation and await self._claim_epoch(partition, resumption, generation):
            self._committed[partition] = committed or 0
            self._positions[partition] = position
            if void := self._voids.count_new(partition, resumption):
                self._deps.emit(VoidFound(partition, void))
            self._announce_cutovers(partition, position.cutovers)

    async def _claim_epoch(self, partition: int, resumption: ResumePoint, generation: int) -> bool:
        """Take an epoch once per assignment, but never one above a newer owner's; tell whether we own the partition.

        An epoch at or above our generation was written either before the group's generations were reset, or by a newer
        owner. Only the coordinator knows: it must accept a commit of ours first.

        Raises:
            RebalanceInProgressError: it did not; read the position again.
        """
        committed, position = resumption
        mine, seen = self._epochs.get(partition), position.standing.highest_epoch
        if mine is None and seen >= generation:
            # The offset stays: later records may be decided, but not applied to the histories yet.
            commit = Commit(committed or 0, position.to_metadata())
            if not await self._deps.consumer().commit_now(TopicPartition(self._topic, partition), commit):
                raise RebalanceInProgressError(f"epoch {seen} of partition {partition} may be a newer owner's")
        if mine is not None and seen > mine:
            log.error(
                "partition %d: epoch %d was written after ours, %d; another worker owns it", partition, seen, mine
            )
            return False
        self._epochs[partition] = position.next_epoch(generation) if mine is None else mine
        return True

    # --- decide and publish

    async def _attempt(self, batch: Batch) -> None:
        """Decide and publish a batch once; every step may be repeated by the next attempt."""
        serving = await self._await_serving(batch)
        decided, records = self._split_decided(batch)
        await apply_isolating(self._deps.pipeline, decided)
        trace = self._deps.tracing.begin(records)
        terms = DecisionTerms(serving, self._epochs, trace.headers)
        try:
            outputs = await decide_isolating(self._deps.pipeline, records, terms)
            fact = await self._publish(batch, terms, outputs)
        except BaseException as error:
            trace.failed(error)
            raise
        self._deps.emit(fact)
        trace.decided(fact)
        self._deps.shadow.offer(fact.scored, serving, trace)

    def _split_decided(self, batch: Batch) -> tuple[list[Record], list[Record]]:
        """Split the records into those that have a score already, and those to be decided.

        The former are not committed: the worker that decided them may have ended before it wrote them to the histories.
        """
        decided: list[Record] = []
        undecided: list[Record] = []
        for partition in batch.current():
            last = self._positions[partition].standing.last_offset
            for record in () if partition in self._runs.halted else batch.records[partition]:
                (undecided if record.offset > last else decided).append(record)
        return decided, undecided

    async def _publish(self, batch: Batch, terms: DecisionTerms, outputs: Outputs) -> Decided:
        """Publish the outputs of a batch, advance the positions of its partitions, and return what was published.

        Raises:
            PublishError: not every output is known to be written.
            StaleBatchError: its partitions were revoked; nothing was written.
        """
        current = batch.current()
        if not current:
            raise StaleBatchError("its partitions were revoked before anything was written")
        self._runs.add(outputs.dead, {partition: batch.records[partition] for partition in current})
        stopwatch, scores = Stopwatch(), outputs.scored.by_partition()
        dead = self._unwritten(outputs.dead, current)
        ends = await self._write(
            batch, dead, {(self._scores, partition): scores.get(partition, []) for partition in current}
        )
        stopwatch.lap("publish")
        for partition in current:
            end = ends.get((self._scores, partition))
            if scores.get(partition) and end is not None:
                self._advance(partition, terms.serving.revision, scores[partition], end)
            if partition in self._runs.halted:
                self._deps.consumer().halt(TopicPartition(self._topic, partition))
            else:
                batch.acknowledge(partition, self._positions[partition].to_metadata())
        outputs.stages.extend(stopwatch.stages)
        return Decided(
            outputs.scored.of(current),
            dead,
            outputs.repeated,
            outputs.unknown_fields,
            outputs.stages,
            terms.serving.revision,
            terms.serving.live.digest,
            outputs.stopgap,
        )

    def _unwritten(self, dead: Iterable[DeadLetter], current: list[int]) -> list[DeadLetter]:
        """Leave out dead letters below the committed offset: they are written and counted already."""
        return [
            letter
            for letter in dead
            if letter.record.partition in current
            and letter.record.offset >= self._committed.get(letter.record.partition, 0)
        ]

    async def _write(
        self, batch: Batch, dead: Sequence[DeadLetter], scores: Mapping[Destination, list[Outgoing]]
    ) -> dict[Destination, int]:
        """Publish dead letters, then scores: a worker never resumes below a score that is written.

        After a failure it is unknown what was written, so the ends of the score partitions are read before the retry.
        """
        try:
            await publish_dead_letters(self._deps.publisher, self._dead_letters, dead, batch.may_start)
            return await self._deps.publisher.publish(scores)
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
            self._announce_cutovers(partition, ((revision, scores[0].source_offset),))
        self._positions[partition] = Position(standing, revision, end)

    # --- background

    def _announce_cutovers(self, partition: int, cutovers: Iterable[tuple[int, int]]) -> None:
        for revision, offset in cutovers:
            cutover = Cutover(partition, revision, offset)
            self._spawn(announce_cutover(self._deps.publisher, self._deps.settings, cutover))

    def _set_trouble(self, trouble: str | None) -> None:
        self._trouble = trouble

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(end_on_error)
