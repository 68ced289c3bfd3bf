"""Decides batches of transactions: each offset once, and acknowledges a batch only after its scores are written.

`stream.pipeline` computes the decisions. The decider chooses when it runs and for which records, publishes its output,
and keeps the position of each partition. Published decisions are offered to the challenger without waiting for it.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import NamedTuple, Protocol

from aiokafka import TopicPartition

from models.decline_cap import WINDOW, DeclineCap, DeclineWindow
from models.limits import LimitState
from stream.clock import Stopwatch
from stream.contract.cloud_events import ScoreEvents
from stream.control.follower import Follower
from stream.control.model_cache import LoadedModels, ServingModels
from stream.engine.batches import Batch, Record
from stream.engine.publisher import Outgoing, Publisher
from stream.errors import ClockBehindError, StaleBatchError
from stream.kafka.topics import DEAD_LETTERS, TRANSACTIONS
from stream.pipeline import DecisionTerms, Outputs, Pipeline
from stream.positions.dead_letters import DeadLetter, DeadLetterRuns, Halt, LetterOrigin
from stream.positions.offsets import Position
from stream.recovery.outage import BackfilledShare
from stream.scoring.encode import Scored
from stream.scoring.facts import Decided, FactListener, Retried
from stream.scoring.overrule import overrule_decisions
from stream.scoring.tracing import BatchTrace, Tracing
from stream.settings import Settings
from stream.tasks import InProgress
from stream.worker.isolation import apply_isolating, decide_isolating, retry_until_done
from stream.worker.outputs import PartitionWriter, ScoresToWrite, TopicOutputs, UnconfirmedDecisions
from stream.worker.positions import DecisionPositions
from stream.worker.role import Role

log = logging.getLogger("fraudstream.decline_cap")

_POLL_SECONDS = 0.2
_POSITION_SECONDS = 2.0
"""After so long a batch goes on without the partitions whose positions are still not known."""


class CapLog:
    """Logs when the cap on declines begins to hold in a partition, and when it ends: never a line for each payment."""

    def __init__(self) -> None:
        self._held: set[tuple[int, str]] = set()

    def look(self, positions: Mapping[int, Position], cap: DeclineCap | None) -> None:
        """Log what has changed in these partitions; None: no cap."""
        if cap is None and not self._held:
            return
        for partition, position in positions.items():
            for arm, window in position.declines.items():
                self._look((partition, arm), window, cap)

    def _look(self, place: tuple[int, str], window: DeclineWindow, cap: DeclineCap | None) -> None:
        holds = window.holds(cap)
        if holds is (place in self._held):
            return
        partition, arm = place
        facts = {"partition": partition, "arm": arm, "declines": window.declines}
        if cap is not None and holds:
            self._held.add(place)
            log.warning(
                "partition %d: of the last %d decisions of %s, its model declined %d, and the cap is %d: what it "
                "declines is reviewed. End its canary or roll back, or set the cap by `fraudstream limits set`",
                *(partition, WINDOW, arm, window.declines, cap.most),
                extra={"event": "decline_cap_begins"} | facts,
            )
        else:
            self._held.discard(place)
            log.info(
                "partition %d: what the model of %s declines is declined again; it declined %d of the last %d",
                *(partition, arm, window.declines, WINDOW),
                extra={"event": "decline_cap_ends"} | facts,
            )


class Shadow(Protocol):
    """Receives published decisions, so that the challenger can score the same vectors."""

    def offer(self, scored: Scored, serving: ServingModels, trace: BatchTrace) -> None:
        """Queue the decisions, or count them as skipped; returns at once and does not raise."""
        ...


class _Parted(NamedTuple):
    """The records of a batch that have a score, those that get one, and how many get none: refused, or skipped."""

    decided: Sequence[Record]
    undecided: Sequence[Record]
    settled: int


class Decider:
    """Decides the batches of its partitions, and sets those aside that cannot go on.

    `may_decide` tells whether the other parts of the worker allow decisions now, `clock_is_checked` whether brokers
    refuse payments that are ahead of their clocks. `emit` receives facts for telemetry.
    """

    def __init__(  # noqa: PLR0913 - each part of a worker is named where all are wired
        self,
        *,
        settings: Settings,
        pipeline: Pipeline,
        models: LoadedModels,
        follower: Follower,
        publisher: Publisher,
        positions: DecisionPositions,
        may_decide: Callable[[], bool],
        emit: FactListener,
        tracing: Tracing,
        shadow: Shadow,
        backfilled: BackfilledShare,
        clock_is_checked: Callable[[], bool] = lambda: False,
    ) -> None:
        self._settings = settings
        self._pipeline = pipeline
        self._models = models
        self._follower = follower
        self._may_decide = may_decide
        self._emit = emit
        self._tracing = tracing
        self._shadow = shadow
        self._backfilled = backfilled
        self._clock_is_checked = clock_is_checked
        self._score_events = ScoreEvents(settings.deployment) if settings.cloud_events else None
        self._topic = settings.topic(TRANSACTIONS.name)
        letters = settings.topic(DEAD_LETTERS.name)
        self._writer = PartitionWriter(publisher, letters)
        self._positions = positions
        self._runs = DeadLetterRuns()
        self._runs_of: dict[int, tuple[int, int]] = {}
        """The assignment and the log in which each partition's run is counted."""
        self._behind: set[int] = set()
        self._unconfirmed = UnconfirmedDecisions()
        self._cap_log = CapLog()
        self._trouble: str | None = None
        self._in_progress = InProgress()

    def reasons(self) -> list[str]:
        """Return the reasons why the decider does not decide; empty when it can."""
        own = self._positions.partitions
        found = [f"partition {one} halted: {why}" for one, why in self._runs.halted.items() if one in own]
        found += self._positions.reasons()
        known, revision = self._positions.known(), self._follower.lineup.revision
        term = self._positions.role.term.number
        if behind := [one for one, at in known.items() if at.revision_in(term) > revision]:
            found.append(f"partitions {behind} were decided under a revision that is not known here yet")
        return [*found, self._trouble] if self._trouble else found

    def held(self) -> AbstractSet[TopicPartition]:
        """Return the halted partitions, which must not be read on until an operator skips the end of each one's run."""
        for partition, halt in tuple(self._runs.halted.items()):
            if self._goes_on(halt):
                log.warning("%s partition %d goes on behind its dead letters, after offset %d", *halt[:3])
                self._runs.forget(partition)
        return {TopicPartition(self._topic, partition) for partition in self._runs.halted}

    def _goes_on(self, halt: Halt) -> bool:
        """Tell whether a halt is over: its end is skipped, another worker has read on, or its log is gone.

        In the next log the offset is another record.
        """
        positions = self._positions
        if positions.log != halt.log or positions.committed(halt.partition) > halt.read_to:
            return True
        return halt.offset in self._follower.logs.skipped_in(self._topic, halt.partition, halt.log)

    @property
    def halted(self) -> int:
        """The number of own partitions that are halted."""
        return len(self._runs.halted.keys() & self._positions.partitions)

    async def decide_batch(self, batch: Batch) -> None:
        """Decide a batch as soon as possible; drop it if its partitions are revoked before it is done."""
        try:
            await retry_until_done(batch, lambda: self._attempt(batch), self._set_trouble, self._emit)
        finally:
            batch.finish()

    async def begun_are_done(self) -> None:
        """Wait until no attempt is in progress that was begun before: its records have a verdict, or none of it."""
        await self._in_progress.wait_for_begun()

    @property
    def clock_is_behind(self) -> int:
        """The number of own partitions that are set aside since this process's clock is behind."""
        return len(self._behind & self._positions.partitions)

    # --- before a decision

    async def _await_serving(self, batch: Batch) -> ServingModels:
        """Wait until this batch can be decided, and return the models that decide.

        Partitions that hold up the others for too long are set aside.

        Raises:
            StaleBatchError: its partitions were revoked first.
        """
        now, since = asyncio.get_running_loop().time, dict[int, float]()
        while batch.may_start():
            serving = self._models.serving()
            if serving is not None and self._may_decide():
                blocked = self._blocked(batch, serving.revision)
                if not blocked:
                    return serving
                for partition, why in blocked.items():
                    if now() - since.setdefault(partition, now()) >= _POSITION_SECONDS:
                        batch.set_aside(partition, why)
            await self._follower.wait_for_change(_POLL_SECONDS)
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
        self._backfilled.admit(batch)
        serving = await self._await_serving(batch)
        with self._in_progress.step():
            await self._decide_and_publish(batch, serving)

    async def _decide_and_publish(self, batch: Batch, serving: ServingModels) -> None:
        role = self._positions.role
        parted = self._part(batch)
        positions = {one: self._positions[one] for one in batch.current()}
        self._unconfirmed.look(positions)
        told = sum(len(one.scored.among(parted.decided)) for one in self._unconfirmed.found)
        await apply_isolating(self._pipeline, parted.decided, self._positions.log)
        trace = self._tracing.begin(parted.undecided)
        terms = DecisionTerms(
            serving,
            dict(self._positions.epochs),
            trace.headers,
            self._positions.log,
            {partition: position.limit_state for partition, position in positions.items()},
            accepted=not role.publishes,
            clock_is_checked=self._clock_is_checked(),
        )
        try:
            outputs = await self._decide(batch, parted.undecided, terms)
            fact = await self._publish(batch, role, terms, outputs)
        except BaseException as error:
            trace.failed(error)
            raise
        fact = replace(fact, already_decided=len(parted.decided) - told, already_refused=parted.settled)
        for found in (*self._unconfirmed.take_found(), fact):
            self._emit(found)
        trace.decided(fact)
        self._shadow.offer(fact.scored, serving, trace)

    def _part(self, batch: Batch) -> "_Parted":
        """Part the records into those that were accepted before, those to be decided, and those that get no verdict.

        The first may not be committed: the worker that decided them may have ended before they were in the histories.
        What was accepted as lost gets no verdict. A batch that is kept from an earlier reading of a partition may begin
        before the offset from which it is read on now: there all is done.
        """
        decided: list[Record] = []
        undecided: list[Record] = []
        count = 0
        for partition in batch.current():
            settled = self._positions.settled(partition)
            where = (self._settings.deployment, self._topic, partition)
            lost = self._follower.logs.lost_in(where, self._positions.log)
            left = [record for record in batch.records[partition] if record.offset >= settled.first]
            count += len(left)
            for record in left:
                if settled.has(record.offset) or (lost and any(record.offset in one for one in lost)):
                    continue
                (decided if self._positions.is_accepted(partition, record.offset) else undecided).append(record)
        return _Parted(decided, undecided, count - len(decided) - len(undecided))

    async def _decide(self, batch: Batch, records: Sequence[Record], terms: DecisionTerms) -> Outputs:
        """Decide records; set the partitions aside whose payments show that this process's clock is wrong."""
        while True:
            try:
                outputs = await decide_isolating(self._pipeline, records, terms)
            except ClockBehindError as error:
                for partition, why in error.reasons.items():
                    batch.set_aside(partition, why)
                    self._behind.add(partition)
                records = [record for record in records if record.partition not in error.reasons]
            else:
                self._behind.difference_update(batch.current())
                return outputs

    async def _publish(self, batch: Batch, role: Role, terms: DecisionTerms, outputs: Outputs) -> Decided:
        """Publish the outputs of a batch, advance the positions of its partitions, and return what was published.

        Partitions whose outputs are not acknowledged are set aside.

        Raises:
            StaleBatchError: its partitions were revoked, or are read again; nothing was written.
        """
        self._set_aside_unknown(batch)
        current = batch.current()
        if not current:
            raise StaleBatchError("its partitions were revoked, or are read again, before anything was written")
        if self._positions.role != role:
            for partition in current:
                batch.set_aside(partition, "another deployment publishes from now on")
            raise StaleBatchError("the deployment that publishes has changed; nothing was written")
        self._count_runs(batch, current, outputs.dead)
        stopwatch = Stopwatch()
        dead = self._unwritten(outputs.dead, current)
        scored, limits = _overruled(role, terms, outputs)
        events = self._score_events
        found = (scored if events is None else scored.as_events(events, terms.epochs, terms.log)).by_partition()
        scores = TopicOutputs(role.scores, {one: self._with_claim(one, found.get(one, [])) for one in current})
        await self._write(batch, terms._replace(limit_states=limits), scores, dead)
        stopwatch.lap("publish")
        written = batch.current()
        self._cap_log.look({one: self._positions[one] for one in written}, terms.serving.decline_cap)
        for partition in written:
            behind = batch.records[partition][-1].offset + 1
            self._runs.written(partition, terms.log, behind)
            # Also of one that is halted: what has a letter now must not be judged again after a restart.
            batch.acknowledge(partition, self._positions.note(partition, behind))
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
            backfilled=outputs.backfilled,
            erasures=outputs.erasures,
            attributes=outputs.attributes,
        )
        self._unconfirmed.keep(fact, set(current) - set(written), terms.epochs, terms.log)
        return fact if written == current else _of_partitions(fact, written)

    def _count_runs(self, batch: Batch, current: Iterable[int], dead: Iterable[DeadLetter]) -> None:
        """Count dead letters in a row; a run ends with the assignment, and with the log."""
        scope = batch.generation, self._positions.log
        for partition in current:
            if self._runs_of.setdefault(partition, scope) != scope:
                self._runs_of[partition] = scope
                self._runs.forget(partition)
        self._runs.add(dead, {partition: batch.records[partition] for partition in current})

    def _with_claim(self, partition: int, scores: Sequence[Outgoing]) -> Sequence[Outgoing]:
        """Return a partition's scores; the first one of an epoch says how far dead letters had been read before.

        It says so in its first headers: of a record's headers workers read no more than the first 1,000.
        """
        headers = self._positions.claim_headers(partition) if scores else []
        if not headers:
            return scores
        first, *others = scores
        return [first._replace(headers=[*headers, *first.headers]), *others]

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

        After a failure it is unknown what was written, so the end of that partition's scores is read before the retry;
        what was given up may be written even later, so the next decisions are of another epoch.
        """
        try:
            settings = self._settings
            origin = LetterOrigin(settings.deployment, terms.log, terms.epochs, settings.dead_letter_values)
            written = await self._writer.write(scores, dead, batch.may_start, origin)
        except asyncio.CancelledError:
            for partition in scores.records:
                self._positions.read_again(partition)
            raise
        self._positions.refusals.written(written.letters_end)
        for partition, why in written.failed.items():
            batch.set_aside(partition, why)
            self._emit(Retried(batch.topic, "PublishError"))
            was_given_up = partition in written.given_up
            self._positions.read_again(partition, written.pending.get(partition), given_up=was_given_up)
        self._set_aside_unknown(batch)
        for partition, end in written.ends.items():
            new = ScoresToWrite(scores.records[partition], terms.limit_states[partition])
            if batch.is_current(partition) and not self._positions.advance(partition, terms.serving.revision, new, end):
                batch.set_aside(partition, "another worker has written to its scores, which are read again")
                self._positions.read_again(partition)

    def _set_aside_unknown(self, batch: Batch) -> None:
        """Set aside the partitions whose positions are read again, since their topic or the role has changed."""
        for partition in batch.current():
            if self._positions.get(partition) is None:
                batch.set_aside(partition, self._positions.why(partition))

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
