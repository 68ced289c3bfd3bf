"""The judge: the worker that owns the control log's partition answers each command with a verdict.

A command that waits for the fleet holds up nobody: later ones are judged meanwhile, and it is asked about again
whenever the log moves. What is judged is decided by `models.judge`; here is only what the judge must look up.
"""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import NamedTuple
from uuid import uuid4

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from models.commands import Command, Event, EventKind, UnreadableRecord, read_command
from models.judge import (
    Accepted,
    Answered,
    Fleet,
    Origin,
    Refused,
    Verdict,
    Waiting,
    judge,
    unreadable_event,
    verdict_event,
)
from models.lineup import artifact_needed
from models.loading import inspect_artifact
from models.times import format_time
from stream.clock import now_ms
from stream.consumer import trace_headers
from stream.control.announcements import outcome_attributes
from stream.control.follower import Follower, end_offset
from stream.control.model_cache import ModelLoader
from stream.kafka.batches import Batch, Record
from stream.kafka.client import group_members
from stream.kafka.offsets import committed_offsets
from stream.kafka.publisher import Headers, Publisher
from stream.kafka.topics import MODEL_CONTROL, MODEL_EVENTS
from stream.kafka.tracing import OperationTrace
from stream.settings import Settings
from stream.watchdog import end_on_error

log = logging.getLogger("fraudstream.judge")

_ASK_AGAIN_SECONDS = 0.25
_RETRY_SECONDS = 1.0


class PendingCommand(NamedTuple):
    """A command, and the step of its trace that is its judging."""

    command: Command
    step: OperationTrace


class JudgeDeps(NamedTuple):
    """What a judge works with."""

    settings: Settings
    follower: Follower
    loader: ModelLoader
    publisher: Publisher
    admin: AIOKafkaAdminClient


class Judge:
    """Takes command batches and writes verdicts, one command at a time but for those that wait."""

    def __init__(self, bench: JudgeDeps) -> None:
        self._bench = bench
        self._turn = asyncio.Lock()
        self._cases: set[asyncio.Task[None]] = set()
        self._tp = TopicPartition(bench.settings.topic(MODEL_CONTROL.name), 0)
        self._events = TopicPartition(bench.settings.topic(MODEL_EVENTS.name), 0)
        self._assignments = 0
        self._judged_to = 0
        self._settles_at: int | None = 0

    @property
    def settled(self) -> bool:
        """Whether every command that was there when the log became ours has been looked at once.

        Decisions wait for it, so that a roll-back is judged before the record that needs it is met again.
        """
        return self._settles_at is not None and self._judged_to >= self._settles_at

    def reasons(self) -> list[str]:
        """Say why decisions wait for the judge; empty where they do not."""
        return [] if self.settled else ["commands that were there before are still to be judged"]

    def assigned(self, *, owner: bool) -> None:
        """Hear whether the control log is ours under a new assignment."""
        self._assignments += 1
        self._judged_to = 0
        self._settles_at = None if owner else 0
        if owner:
            self._spawn(self._learn_backlog(self._assignments))

    async def _learn_backlog(self, assignment: int) -> None:
        """Find out up to where the log must be judged before this worker decides anything."""
        while self._settles_at is None and assignment == self._assignments:
            try:
                end = await end_offset(self._bench.settings, self._tp)
                committed = await committed_offsets(self._bench.settings, self._bench.admin, [self._tp])
                if assignment == self._assignments:
                    self._judged_to = max(committed[self._tp].offset, self._judged_to)
                    self._settles_at = end
            except KafkaError as error:
                log.warning("the control log's end is not known, asking again: %s", error)
                await asyncio.sleep(_RETRY_SECONDS)

    async def take(self, batch: Batch) -> None:
        """Judge a batch of commands; its partition is acknowledged when the last of them has its verdict."""
        try:
            for partition, records in batch.records.items():
                await self._catch_up()
                waiting = [case for record in records if (case := await self._open(batch, record))]
                self._judged_to = max(self._judged_to, records[-1].offset + 1)
                self._spawn(self._close(batch, partition, waiting))
        finally:
            batch.finish()

    async def _catch_up(self) -> None:
        """Know every verdict that is written before adding one."""
        while True:
            try:
                return await self._bench.follower.wait_past(await end_offset(self._bench.settings, self._events) - 1)
            except KafkaError as error:
                log.warning("the log of events cannot be read, trying again: %s", error)
                await asyncio.sleep(_RETRY_SECONDS)

    async def _open(self, batch: Batch, record: Record) -> "asyncio.Task[None] | None":
        """Judge one record; a task where the verdict has to wait."""
        command = read_command(record.value or b"")
        if command.deployment not in (None, self._bench.settings.deployment):
            return None
        if isinstance(command, UnreadableRecord):
            await self._decline(command)
            return None
        operations = self._bench.follower.operations
        case = PendingCommand(command, operations.begin(f"judge {command.kind}", trace_headers(record.headers)))
        if await self._try(case):
            return None
        return self._spawn(self._wait(batch, case))

    async def _wait(self, batch: Batch, case: PendingCommand) -> None:
        while batch.current():
            await self._bench.follower.wait_for_change(_ASK_AGAIN_SECONDS)
            if await self._try(case):
                return
        case.step.failed("given_up")

    async def _close(self, batch: Batch, partition: int, waiting: Sequence["asyncio.Task[None]"]) -> None:
        await asyncio.gather(*waiting)
        batch.acknowledge(partition)

    async def _try(self, case: PendingCommand) -> bool:
        """Judge a command once, write what there is to say, and tell whether that was the verdict."""
        command = case.command
        async with self._turn:
            try:
                verdict = judge(self._bench.follower.lineup, command, await self._fleet(command), now_ms())
                return await self._say(case, verdict)
            except KafkaError as error:
                log.warning("command %s cannot be judged yet: %s", command.command_id, error)
                return False

    async def _fleet(self, command: Command) -> Fleet:
        bench, name = self._bench, artifact_needed(self._bench.follower.lineup, command)
        return Fleet(
            fingerprints=frozenset(bench.loader.computed),
            members=await group_members(bench.admin, bench.settings.group),
            artifact=await asyncio.to_thread(inspect_artifact, bench.loader.repository, name) if name else (),
            answers=bench.follower.candidates.answers_to(command.command_id),
            watch_ms=round(bench.settings.watch * 1000),
        )

    async def _say(self, case: PendingCommand, verdict: Verdict) -> bool:
        (command, step), lineup = case, self._bench.follower.lineup
        match verdict:
            case Waiting():
                if command.command_id not in self._bench.follower.candidates.pending:
                    await self._write(self._candidate(command, verdict.model), step.headers)
                return False
            case Answered():
                await self._write(verdict.answer, step.headers)
                step.done(outcome_attributes(verdict.answer))
                return True
            case Accepted() | Refused():
                event = verdict_event(command, verdict, lineup.revision, self._origin())
                log.info("command %s (%s): %s", command.command_id, command.kind, event.kind)
                await self._write(event, step.headers)
                told = self._bench.follower.lineup.answers.get(command.command_id)
                settled = told is not None and told.event_id == event.event_id
                if settled:
                    step.done(outcome_attributes(event))
                return settled

    async def _decline(self, command: UnreadableRecord) -> None:
        lineup = self._bench.follower.lineup
        event = unreadable_event(command, lineup.deployment, lineup.revision, self._origin())
        while True:
            try:
                return await self._write(event)
            except KafkaError as error:
                log.warning("a command that cannot be read is not refused yet, trying again: %s", error)
                await asyncio.sleep(_RETRY_SECONDS)

    async def _write(self, event: Event, headers: Headers = ()) -> None:
        """Write an event and wait until our own fold has it."""
        await self._bench.follower.wait_past(await self._bench.publisher.publish_event(event, headers))

    def _candidate(self, command: Command, model: str) -> Event:
        origin = self._origin()
        return Event(
            event_id=origin.event_id,
            deployment=command.deployment,
            kind=EventKind.CANDIDATE,
            revision=self._bench.follower.lineup.revision,
            worker=origin.worker,
            at=format_time(origin.at_ms),
            command_id=command.command_id,
            command=command.kind,
            model=model,
        )

    def _origin(self) -> Origin:
        return Origin(uuid4().hex, self._bench.loader.worker, now_ms())

    def _spawn(self, work: Coroutine[None, None, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self._cases.add(task)
        task.add_done_callback(self._cases.discard)
        task.add_done_callback(end_on_error)
        return task
