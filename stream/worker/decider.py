"""Decides batches of transactions: each offset once, and acknowledges a batch only after its scores are written.

`stream.pipeline` computes the decisions. The decider chooses when it runs and for which records, publishes its output,
and keeps the position of each partition. Published decisions are offered to the challenger without waiting for it.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

from aiokafka import TopicPartition

from models.limits import LimitState
from stream.clock import Stopwatch
from stream.control.follower import Follower
from stream.control.model_cache import LoadedModels, ServingModels
from stream.errors import StaleBatchError
from stream.kafka.batches import Batch, Record
from stream.kafka.dead_letters import DeadLetter, DeadLetterRuns
from stream.kafka.publisher import Publisher
from stream.kafka.topics import DEAD_LETTERS, TRANSACTIONS
from stream.kafka.transport import BatchConsumer
from stream.pipeline import DecisionTerms, Outputs, Pipeline
from stream.scoring.encode import Scored
from stream.scoring.facts import Decided, FactListener, Retried
from stream.scoring.overrule import overrule_decisions
from stream.scoring.tracing import BatchTrace, Tracing
from stream.settings import Settings
from stream.worker.backfilled import BackfilledShare
from stream.worker.cap_log import CapLog
from stream.worker.isolation import apply_isolating, decide_isolating
from stream.worker.outputs import PartitionWriter, TopicOutputs
from stream.worker.positions import DecisionPositions, ScoresToWrite
from stream.worker.retry import retry_until_done
from stream.worker.role import Role
from stream.worker.unconfirmed import UnconfirmedDecisions

log = logging.getLogger("fraudstream.decider")

_POLL_SECONDS = 0.2
_POSITION_SECONDS = 2.0
"""After so long a batch goes on without the partitions whose positions are still not known."""


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
    positions: DecisionPositions
    consumer: Callable[[], BatchConsumer]
    may_decide: Callable[[], bool]
    emit: FactListener
    tracing: Tracing
    shadow: Shadow
    backfilled: BackfilledShare


class Decider:
    """Decides the batches of its partitions, and sets those aside that cannot go on."""

    def __init__(self, deps: DeciderDeps) -> None:
        self._deps = deps
        self._topic = deps.settings.topic(TRANSACTIONS.name)
        letters = deps.settings.topic(DEAD_LETTERS.name)
        self._writer = PartitionWriter(deps.publisher, letters, deps.settings.deployment)
        self._positions = deps.positions
        self._runs = DeadLetterRuns()
        self._unconfirmed = UnconfirmedDecisions()
        self._cap_log = CapLog()
        self._trouble: str | None = None

    def reasons(self) -> list[str]:
        """Return the reasons why the decider does not decide; empty when it can."""
        found = [f"partition {partition} halted: {why}" for partition, why in self._runs.halted.items()]
        found += self._positions.reasons()
        known, revision = self._positions.known(), self._deps.follower.lineup.revision
        term = self._positions.role.term.number
        if behind := [one for one, at in known.items() if at.revision_in(term) > revision]:
            found.append(f"partitions {behind} were decided under a revision that is not known here yet")
        return [*found, self._trouble] if self._trouble else found

    async def handle(self, batch: Batch) -> None:
        """Decide a batch as soon as possible; drop it if its partitions are revoked before it is done."""
        try:
            await retry_until_done(batch, lambda: self._attempt(batch), self._set_trouble, self._deps.emit)
        finally:
            batch.finish()

    # --- before a decision

    async def _await_serving(self, batch: Batch) -> ServingModels:
        """Wait until this batch can be decided, and return the models that decide.

        Partitions that hold up the others for too long are set aside.

        Raises:
            StaleBatchError: its partitions were revoked first.
        """
        now, since = asyncio.get_running_loop().time, dict[int, float]()
        while batch.may_start():
            serving = self._deps.models.serving()
            if serving is not None and self._deps.may_decide():
                blocked = self._blocked(batch, serving.revision)
                if not blocked:
                    return serving
                for partition, why in blocked.items():
                    if now() - since.setdefault(partition, now()) >= _POSITION_SECONDS:
                        batch.set_aside(partition, why)
            await self._deps.follower.wait_for_change(_POLL_SECONDS)
        raise StaleBatchError("none of its partitions could be decided")

    def _blocked(self, batch: Batch, revision: int) -> dict[int, str]:
        """Return the partitions whose position is not known or has a later revision, and why."""
        positions = {partition: self._positions.get(partition) for partition in batch.current()}
        unread = {partition: self._positions.why(partition) for partition, at in positions.items() if at is None}
        term = self._positions.role.term.number
        return unread | {
            partition: f"it was decided under revision {at.revision}, which is not known here yet"
            for partition, at in positions.items()
            if at is not None and at.revision_in(term) > revision
        }

    # --- decide and publish

    async def _attempt(self, batch: Batch) -> None:
        """Decide and publish a batch once; every step may be repeated by the next attempt."""
        self._deps.backfilled.admit(batch)
        serving = await self._await_serving(batch)
        role = self._positions.role
        decided, records = self._split_decided(batch)
        positions = {one: self._positions[one] for one in batch.current()}
        self._unconfirmed.look(positions)
        already_decided = len(decided) - sum(len(one.scored.among(decided)) for one in self._unconfirmed.found)
        await apply_isolating(self._deps.pipeline, decided, self._positions.log)
        trace = self._deps.tracing.begin(records)
        limits = {partition: position.limit_state for partition, position in positions.items()}
        terms = DecisionTerms(serving, dict(self._positions.epochs), trace.headers, self._positions.log, limits)
        try:
            outputs = await decide_isolating(self._deps.pipeline, records, terms)
            fact = await self._publish(batch, role, terms, outputs, already_decided)
        except BaseException as error:
            trace.failed(error)
            raise
        for found in (*self._unconfirmed.take_found(), fact):
            self._deps.emit(found)
        trace.decided(fact)
        self._deps.shadow.offer(fact.scored, serving, trace)

    def _split_decided(self, batch: Batch) -> tuple[list[Record], list[Record]]:
        """Split the records into those that have a score already, and those to be decided.

        Those that were accepted as lost are neither. The former are not committed: the worker that decided them may
        have ended before it wrote them to the histories.
        """
        decided: list[Record] = []
        undecided: list[Record] = []
        for partition in batch.current():
            records = () if partition in self._runs.halted else batch.records[partition]
            where = (self._deps.settings.deployment, self._topic, partition)
            if lost := self._deps.follower.logs.lost_in(where, self._positions.log):
                records = [record for record in records if not any(record.offset in one for one in lost)]
            for record in records:
                (decided if self._positions.is_decided(partition, record.offset) else undecided).append(record)
        return decided, undecided

    async def _publish(
        self, batch: Batch, role: Role, terms: DecisionTerms, outputs: Outputs, already_decided: int
    ) -> Decided:
        """Publish the outputs of a batch, advance the positions of its partitions, and return what was published.

        Partitions whose outputs are not acknowledged are set aside. `already_decided` is a part of what is returned.

        Raises:
            StaleBatchError: its partitions were revoked; nothing was written.
        """
        current = batch.current()
        if not current:
            raise StaleBatchError("its partitions were revoked before anything was written")
        if self._positions.role != role:
            for partition in current:
                batch.set_aside(partition, "another deployment publishes from now on")
            raise StaleBatchError("the deployment that publishes has changed; nothing was written")
        self._runs.add(outputs.dead, {partition: batch.records[partition] for partition in current})
        stopwatch = Stopwatch()
        dead = self._unwritten(outputs.dead, current)
        scored, limits = _overruled(role, terms, outputs)
        found = scored.by_partition()
        scores = TopicOutputs(role.scores, {partition: found.get(partition, []) for partition in current})
        await self._write(batch, terms._replace(limit_states=limits), scores, dead)
        stopwatch.lap("publish")
        written = batch.current()
        self._cap_log.look({one: self._positions[one] for one in written}, terms.serving.decline_cap)
        for partition in written:
            if partition in self._runs.halted:
                self._deps.consumer().halt(TopicPartition(self._topic, partition))
            else:
                batch.acknowledge(partition, self._positions.note(partition))
        outputs.stages.extend(stopwatch.stages)
        fact = Decided(
            scored,
            dead,
            outputs.repeated,
            outputs.unknown_fields,
            outputs.stages,
            terms.serving.revision,
            terms.serving.live.digest,
            outputs.stopgap,
            already_decided=already_decided,
            backfilled=outputs.backfilled,
        )
        self._unconfirmed.keep(fact, set(current) - set(written), terms.epochs, terms.log)
        return fact if written == current else _of_partitions(fact, written)

    def _unwritten(self, dead: Iterable[DeadLetter], current: list[int]) -> list[DeadLetter]:
        """Leave out dead letters below the committed offset: they are written and counted already."""
        return [
            letter
            for letter in dead
            if letter.record.partition in current
            and letter.record.offset >= self._positions.committed(letter.record.partition)
        ]

    async def _write(
        self, batch: Batch, terms: DecisionTerms, scores: TopicOutputs, dead: Sequence[DeadLetter]
    ) -> None:
        """Write dead letters and scores; advance the partitions that were written, and set the others aside.

        After a failure it is unknown what was written, so the end of that partition's scores is read before the retry.
        """
        try:
            written = await self._writer.write(scores, dead, batch.may_start)
        except asyncio.CancelledError:
            for partition in scores.records:
                self._positions.read_again(partition)
            raise
        for partition, why in written.failed.items():
            batch.set_aside(partition, why)
            self._deps.emit(Retried(batch.topic, "PublishError"))
            self._positions.read_again(partition, written.pending.get(partition))
        for partition in batch.current():
            if self._positions.get(partition) is None:  # its topic or the role has changed meanwhile
                batch.set_aside(partition, self._positions.why(partition))
        for partition, end in written.ends.items():
            new = ScoresToWrite(scores.records[partition], terms.limit_states[partition])
            if batch.is_current(partition) and not self._positions.advance(partition, terms.serving.revision, new, end):
                batch.set_aside(partition, "another worker has written to its scores, which are read again")
                self._positions.read_again(partition)

    def _set_trouble(self, trouble: str | None) -> None:
        self._trouble = trouble


def _of_partitions(fact: Decided, partitions: Collection[int]) -> Decided:
    """Return what was published to some partitions."""
    letters = [letter for letter in fact.dead if letter.record.partition in partitions]
    return replace(fact, scored=fact.scored.of(partitions), dead=letters)


def _overruled(role: Role, terms: DecisionTerms, outputs: Outputs) -> tuple[Scored, Mapping[int, LimitState]]:
    """Return the decisions as the limits leave them, and what these go by in each partition after them.

    A silent deployment lets nothing through, so it draws no lots either.
    """
    serving = terms.serving
    rule = serving.let_through if role.publishes else None
    return overrule_decisions(outputs.scored, terms.limit_states, serving.decline_cap, rule)
