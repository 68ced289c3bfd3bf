"""The judge: the worker that owns the control topic's partition answers each command with a verdict.

`models.judge` decides; this module looks up what it needs and publishes the verdict. A command that waits for workers
does not block later ones: it is judged again whenever the event log changes.
"""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import NamedTuple

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from models.commands import Command, Event, UnreadableRecord, read_command
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
from stream.clock import now_ms
from stream.consumer import trace_headers
from stream.control.announcements import new_origin, outcome_attributes
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

_POLL_SECONDS = 0.25
_RETRY_SECONDS = 1.0


class PendingCommand(NamedTuple):
    """A command without a verdict, and the trace of its judging."""

    command: Command
    trace: OperationTrace


class JudgeDeps(NamedTuple):
    """The judge's dependencies."""

    settings: Settings
    follower: Follower
    loader: ModelLoader
    publisher: Publisher
    admin: AIOKafkaAdminClient


class Judge:
    """Judges batches of commands in order; commands that wait for workers do not block the others."""

    def __init__(self, deps: JudgeDeps) -> None:
        self._deps = deps
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._tp = TopicPartition(deps.settings.topic(MODEL_CONTROL.name), 0)
        self._events = TopicPartition(deps.settings.topic(MODEL_EVENTS.name), 0)
        self._assignments = 0
        self._judged_to = 0
        self._backlog_end: int | None = 0

    @property
    def settled(self) -> bool:
        """Whether every command that was in the log when its partition was assigned has been judged once.

        Decisions wait for it, so that a roll-back is judged before the record that needs it is decided again.
        """
        return self._backlog_end is not None and self._judged_to >= self._backlog_end

    def reasons(self) -> list[str]:
        """Return why decisions wait for the judge; empty if they do not."""
        return [] if self.settled else ["earlier commands on the control topic have not been judged yet"]

    def assigned(self, *, owner: bool) -> None:
        """Handle a new assignment; `owner` tells whether it includes the control topic's partition."""
        self._assignments += 1
        self._judged_to = 0
        self._backlog_end = None if owner else 0
        if owner:
            self._spawn(self._find_backlog(self._assignments))

    async def _find_backlog(self, assignment: int) -> None:
        """Find out up to which offset commands must be judged before this worker decides anything."""
        while self._backlog_end is None and assignment == self._assignments:
            try:
                end = await end_offset(self._deps.settings, self._tp)
                committed = await committed_offsets(self._deps.settings, self._deps.admin, [self._tp])
                if assignment == self._assignments:
                    self._judged_to = max(committed[self._tp].offset, self._judged_to)
                    self._backlog_end = end
            except KafkaError as error:
                log.warning("the end of %s could not be read, retrying: %s", self._tp.topic, error)
                await asyncio.sleep(_RETRY_SECONDS)

    async def handle(self, batch: Batch) -> None:
        """Judge a batch of commands; a partition is acknowledged when all its commands have a verdict."""
        try:
            for partition, records in batch.records.items():
                await self._catch_up()
                waiting = [task for record in records if (task := await self._judge_record(batch, record))]
                self._judged_to = max(self._judged_to, records[-1].offset + 1)
                self._spawn(self._acknowledge(batch, partition, waiting))
        finally:
            batch.finish()

    async def _catch_up(self) -> None:
        """Wait until every published verdict has been folded, so that none is given twice."""
        while True:
            try:
                return await self._deps.follower.wait_past(await end_offset(self._deps.settings, self._events) - 1)
            except KafkaError as error:
                log.warning("the end of %s could not be read, retrying: %s", self._events.topic, error)
                await asyncio.sleep(_RETRY_SECONDS)

    async def _judge_record(self, batch: Batch, record: Record) -> "asyncio.Task[None] | None":
        """Judge one record; return a task if the verdict has to wait."""
        command = read_command(record.value or b"")
        if command.deployment not in (None, self._deps.settings.deployment):
            return None
        if isinstance(command, UnreadableRecord):
            await self._refuse_unreadable(command)
            return None
        operations = self._deps.follower.operations
        pending = PendingCommand(command, operations.begin(f"judge {command.kind}", trace_headers(record.headers)))
        if await self._judge_once(pending):
            return None
        return self._spawn(self._judge_until_final(batch, pending))

    async def _judge_until_final(self, batch: Batch, pending: PendingCommand) -> None:
        while batch.current():
            await self._deps.follower.wait_for_change(_POLL_SECONDS)
            if await self._judge_once(pending):
                return
        pending.trace.failed("given_up")

    async def _acknowledge(self, batch: Batch, partition: int, waiting: Sequence["asyncio.Task[None]"]) -> None:
        await asyncio.gather(*waiting)
        batch.acknowledge(partition)

    async def _judge_once(self, pending: PendingCommand) -> bool:
        """Judge a command once, publish the result, and tell whether it is final."""
        command = pending.command
        async with self._lock:
            try:
                verdict = judge(self._deps.follower.lineup, command, await self._fleet(command), now_ms())
                return await self._publish_verdict(pending, verdict)
            except KafkaError as error:
                log.warning("command %s could not be judged, retrying: %s", command.command_id, error)
                return False

    async def _fleet(self, command: Command) -> Fleet:
        deps, name = self._deps, artifact_needed(self._deps.follower.lineup, command)
        return Fleet(
            fingerprints=frozenset(deps.loader.computed),
            members=await group_members(deps.admin, deps.settings.group),
            artifact=await asyncio.to_thread(inspect_artifact, deps.loader.repository, name) if name else (),
            answers=deps.follower.candidates.answers_to(command.command_id),
            watch_ms=round(deps.settings.watch * 1000),
        )

    async def _publish_verdict(self, pending: PendingCommand, verdict: Verdict) -> bool:
        (command, trace), lineup = pending, self._deps.follower.lineup
        match verdict:
            case Waiting():
                if command.command_id not in self._deps.follower.candidates.pending:
                    event = verdict_event(command, verdict, lineup.revision, self._origin())
                    await self._publish(event, trace.headers)
                return False
            case Answered():
                await self._publish(verdict.answer, trace.headers)
                trace.done(outcome_attributes(verdict.answer))
                return True
            case Accepted() | Refused():
                event = verdict_event(command, verdict, lineup.revision, self._origin())
                log.info("command %s (%s): %s", command.command_id, command.kind, event.kind)
                await self._publish(event, trace.headers)
                answer = self._deps.follower.lineup.answers.get(command.command_id)
                final = answer is not None and answer.event_id == event.event_id
                if final:
                    trace.done(outcome_attributes(event))
                return final

    async def _refuse_unreadable(self, command: UnreadableRecord) -> None:
        lineup = self._deps.follower.lineup
        event = unreadable_event(command, lineup.deployment, lineup.revision, self._origin())
        while True:
            try:
                return await self._publish(event)
            except KafkaError as error:
                log.warning("the refusal of an unreadable command could not be written, retrying: %s", error)
                await asyncio.sleep(_RETRY_SECONDS)

    async def _publish(self, event: Event, headers: Headers = ()) -> None:
        """Publish an event and wait until this worker's follower has folded it."""
        await self._deps.follower.wait_past(await self._deps.publisher.publish_event(event, headers))

    def _origin(self) -> Origin:
        return new_origin(self._deps.loader.worker)

    def _spawn(self, work: Coroutine[None, None, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(end_on_error)
        return task
