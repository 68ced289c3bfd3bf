"""The judge: the worker that owns the control topic's partition answers each command with a verdict.

`models.judge` decides; this module looks up what it needs and publishes the verdict. A command that waits for workers
or for the model repository does not block later ones: it is judged again whenever the event log changes. Only commands
that name a model ask the repository; the way back, a roll-back or a demotion, does not.
"""

import asyncio
import logging
import re
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

import msgspec
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError

from fraudstream_client.validity import trace_headers
from guards.excluded import exclusion_key_check, is_hash
from models.command_decoder import read_command
from models.commands import ABOUT_PARTITIONS, Command, Event, EventKind, UnreadableRecord
from models.deadline import in_thread
from models.judge import Accepted, Answered, Fleet, HeldArtifact, InputTopic, Refused, Verdict, Waiting
from models.lineup import artifact_needed
from models.loading import inspect_artifact
from models.problems import Problem, ProblemCode
from models.repository import DEADLINE_SECONDS
from models.signing import Seal
from models.two_persons import Rules, Sealed, judge_sealed
from models.verdict_events import Origin, unreadable_event, verdict_event
from stream.clock import now_ms
from stream.control.announcements import new_origin, outcome_attributes
from stream.control.backlog import last_record
from stream.control.estate import Estate
from stream.control.follower import Follower, end_offset
from stream.control.keys import read_signatures
from stream.control.model_cache import ModelCache, ModelLoader
from stream.engine.batches import Batch, Record
from stream.engine.publisher import Headers, Publisher
from stream.engine.tracing import OperationTrace
from stream.kafka.client import committed_offsets, group_members
from stream.kafka.stray import given_up_as_error
from stream.kafka.topics import LABELS, MODEL_CONTROL, MODEL_EVENTS, PREDICTIONS, TRANSACTIONS
from stream.positions.inputs import input_states
from stream.redaction import holds_card_number, redact_json, redact_text
from stream.settings import Settings
from stream.watchdog import end_on_error

log = logging.getLogger("fraudstream.judge")

_T = TypeVar("_T")
_POLL_SECONDS = 0.25
_RETRY_SECONDS = 1.0
_IN_ORDER_SECONDS = 1.0
"""How long later commands wait for the repository, so that they are judged in order if it is quick."""
_MOST_INSPECTIONS = 4

Inspected = HeldArtifact | tuple[Problem, ...]
"""What the repository holds of a model, or why it holds nothing."""
Inspection = Mapping[str, Inspected]
"""What it holds for a command: of each arm's model by the arm's name, of one without arms by an empty name."""
_NO_ARM = ""
_EVENT_ID = re.compile("[0-9a-f]{32}")


class PendingCommand(NamedTuple):
    """A command without a verdict, the trace of its judging, and what the repository holds of the models it names.

    `seal` says who signed its record, `batch` is the one that it came in. `late` is one that had expired before it was
    read: its answer waits for the repository, up to the deadline, so that it names the model and not a slow repository.
    No decision waits for that answer, which is a refusal in any case.
    """

    command: Command
    trace: OperationTrace
    inspection: "asyncio.Task[Inspection]"
    seal: Seal
    batch: Batch
    late: bool


class Judge:
    """Judges batches of commands in order; commands that wait for workers or the repository do not block the others.

    Raises:
        SettingsError: the file of the keys that sign commands cannot be used.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        follower: Follower,
        loader: ModelLoader,
        cache: ModelCache,
        publisher: Publisher,
        admin: AIOKafkaAdminClient,
        estate: Estate,
    ) -> None:
        self._settings = settings
        self._follower = follower
        self._loader = loader
        self._cache = cache
        self._publisher = publisher
        self._admin = admin
        self._estate = estate
        self._signatures = read_signatures(settings)
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._inspections = asyncio.Semaphore(_MOST_INSPECTIONS)
        self._inspecting: set[asyncio.Task[Inspection]] = set()
        self._pending: dict[str, PendingCommand] = {}
        """The commands without an answer by id, of each id the first."""
        self._tp = TopicPartition(settings.topic(MODEL_CONTROL.name), 0)
        self._events = TopicPartition(settings.topic(MODEL_EVENTS.name), 0)
        self.owner = False
        """Whether this worker judges: the last assignment had the control topic's partition."""
        self._assignments = 0
        self._judged_to = 0
        self._backlog_end: int | None = 0
        self._backlog: set[str] = set()

    def erasure_problem(self, record: Record) -> str:
        """Say what is wrong with the signature of an erasure of a card; empty if it counts."""
        return self._signatures.erasure_problem(self._estate.scope, record.value or b"", record.headers)

    @property
    def settled(self) -> bool:
        """Whether every command in the log when its partition was assigned, unless it had expired, was judged once.

        Decisions wait for it, so that a roll-back is judged before the record that needs it is decided again.
        """
        return self._backlog_end is not None and self._judged_to >= self._backlog_end and not self._backlog

    def reasons(self) -> list[str]:
        """Return why decisions wait for the judge; empty if they do not."""
        return [] if self.settled else ["earlier commands on the control topic have not been judged yet"]

    def assigned(self, *, owner: bool) -> None:
        """Handle a new assignment; `owner` tells whether it includes the control topic's partition."""
        self.owner = owner
        self._assignments += 1
        self._judged_to = 0
        self._backlog_end = None if owner else 0
        self._backlog = set()
        if owner:
            self._spawn(self._find_backlog(self._assignments))

    async def _find_backlog(self, assignment: int) -> None:
        """Find out up to which offset commands must be judged before this worker decides anything."""
        while self._backlog_end is None and assignment == self._assignments:
            try:
                with given_up_as_error():
                    committed = await committed_offsets(self._settings, self._admin, [self._tp])
                    last = await last_record(self._settings, self._tp, committed[self._tp].offset)
                if assignment == self._assignments:
                    self._backlog_end = last + 1
                    await self._follower.wake()
            except KafkaError as error:
                log.warning("the end of %s could not be read, retrying: %s", self._tp.topic, error)
                await asyncio.sleep(_RETRY_SECONDS)

    async def judge_batch(self, batch: Batch) -> None:
        """Judge a batch of commands; a partition is acknowledged when all its commands have a verdict."""
        try:
            async with batch.alive():
                await self._judge_all(batch)
        finally:
            batch.finish()

    async def _judge_all(self, batch: Batch) -> None:
        for partition, records in batch.records.items():
            await self._catch_up()
            waiting = [task for record in records if (task := await self._judge_record(batch, record))]
            self._judged_to = max(self._judged_to, records[-1].offset + 1)
            await self._follower.wake()
            self._spawn(self._acknowledge(batch, partition, waiting))

    async def _catch_up(self) -> None:
        """Wait until every published verdict has been folded, so that none is given twice."""
        while True:
            try:
                with given_up_as_error():
                    end = await end_offset(self._settings, self._events)
                return await self._follower.wait_past(end - 1)
            except KafkaError as error:
                log.warning("the end of %s could not be read, retrying: %s", self._events.topic, error)
                await asyncio.sleep(_RETRY_SECONDS)

    async def _judge_record(self, batch: Batch, record: Record) -> "asyncio.Task[None] | None":
        """Judge one record; return a task if the verdict has to wait."""
        command = _without_card_numbers(read_command(record.value or b""))
        if command.deployment not in (None, self._settings.deployment):
            return None
        if isinstance(command, UnreadableRecord):
            await self._refuse_unreadable(command)
            return None
        pending = await self._begin(batch, command, record)
        if await self._judge_once(pending):
            self._forget(pending)
            return None
        return self._spawn(self._judge_until_final(pending))

    async def _begin(self, batch: Batch, command: Command, record: Record) -> PendingCommand:
        """Begin to judge a command; if it needs the repository, give it a moment, unless it is already slow."""
        trace = self._follower.operations.begin(f"judge {command.kind}", trace_headers(record.headers))
        seal = self._signatures.seal(self._estate.scope, command, record.value or b"", record.headers)
        slow, inspection = bool(self._inspecting), self._spawn(self._inspect(command, seal))
        self._inspecting.add(inspection)
        inspection.add_done_callback(self._inspecting.discard)
        pending = PendingCommand(command, trace, inspection, seal, batch, now_ms() >= command.expires_ms)
        of_backlog = self._backlog_end is None or record.offset < self._backlog_end
        if self._is_first(pending) and of_backlog and not pending.late:
            self._backlog.add(command.command_id)
        if not slow or not command.needs_candidate:
            await asyncio.wait({inspection}, timeout=_IN_ORDER_SECONDS)
        return pending

    def _is_first(self, pending: PendingCommand) -> bool:
        """Tell whether no earlier record with the command's id waits: a repeated id gets the answer of the first.

        So nobody can put another command in the place of one that a second person is about to countersign.
        """
        first = self._pending.get(pending.command.command_id)
        if first is None or not first.batch.current():
            self._pending[pending.command.command_id] = first = pending
        return first is pending

    def _forget(self, pending: PendingCommand) -> None:
        if self._pending.get(pending.command.command_id) is pending:
            del self._pending[pending.command.command_id]

    async def _inspect(self, command: Command, seal: Seal) -> Inspection:
        """Ask the repository for the models that the command names, if it names any and is signed as it must be."""
        if not command.needs_candidate or seal.problems:
            return {}
        needed = {name: arm.model for name, arm in (command.arms or {}).items()}
        if (one := artifact_needed(self._follower.lineup, command)) is not None:
            needed[_NO_ARM] = one
        found = await asyncio.gather(*(self._inspect_one(name) for name in needed.values()))
        return dict(zip(needed, found, strict=True))

    async def _inspect_one(self, name: str) -> Inspected:
        try:
            async with asyncio.timeout(DEADLINE_SECONDS), self._inspections:
                work = partial(inspect_artifact, self._loader.repository, name)
                return await asyncio.wrap_future(in_thread(work))
        except TimeoutError:
            return self._unanswered(f"no answer within {DEADLINE_SECONDS:g} s")

    def _unanswered(self, why: str) -> tuple[Problem, ...]:
        return (Problem(ProblemCode.REPOSITORY_UNAVAILABLE, f"{self._loader.repository.place}: {why}"),)

    async def _judge_until_final(self, pending: PendingCommand) -> None:
        while pending.batch.current():
            await self._follower.wait_for_change(_POLL_SECONDS)
            if await self._judge_once(pending):
                self._forget(pending)
                return
        self._backlog.discard(pending.command.command_id)
        self._forget(pending)
        pending.trace.failed("given_up")

    async def _acknowledge(self, batch: Batch, partition: int, waiting: Sequence["asyncio.Task[None]"]) -> None:
        await asyncio.gather(*waiting)
        batch.acknowledge(partition)

    async def _judge_once(self, pending: PendingCommand) -> bool:
        """Judge a command once, publish the result, and tell whether it is final; not before the repository answers."""
        command = pending.command
        if not pending.inspection.done() and (pending.late or now_ms() < command.expires_ms):
            return False
        if not self._is_first(pending) and command.command_id not in self._follower.lineup.answers:
            return False
        # One after the other: a command that is judged while the verdict of the one before is still being written would
        # be judged by the lineup from before that verdict.
        async with self._lock:
            try:
                with given_up_as_error():
                    fleet = await self._fleet(pending)
                sealed = Sealed(command, pending.seal)
                verdict = judge_sealed(self._follower.lineup, sealed, fleet, self._rules(command), now_ms())
                self._backlog.discard(command.command_id)
                return await self._publish_verdict(pending, verdict)
            except KafkaError as error:
                log.warning("command %s could not be judged, retrying: %s", command.command_id, error)
                return False

    async def _fleet(self, pending: PendingCommand) -> Fleet:
        command = pending.command
        return Fleet(
            fingerprints=frozenset(self._loader.computed),
            members=await group_members(self._admin, self._settings),
            artifact=self._artifact(pending),
            arms={name: self._inspected(pending, name) for name in pending.command.arms or ()},
            answers=self._follower.candidates.answers_to(command.command_id),
            watch_ms=round(self._settings.watch * 1000),
            logs=self._follower.logs,
            input_topic=await self._input_topic(command),
            term=self._follower.term,
            partitions=await self._partitions(command),
            record=self._follower.record,
            can=self._follower.workers.can(self._settings.deployment),
            exclude_key_check=exclusion_key_check(),
        )

    async def _partitions(self, command: Command) -> int:
        """Return how many partitions `transactions` has, if the command divides a cap among them.

        Raises:
            aiokafka.errors.KafkaError: the brokers do not respond, or the topic is not there now.
        """
        if command.let_through is None:
            return 1
        topic = self._settings.topic(TRANSACTIONS.name)
        described = (await self._admin.describe_topics([topic]))[0]
        if described["error_code"]:
            raise UnknownTopicOrPartitionError(f"{topic} could not be described")
        return len(described["partitions"])

    def _rules(self, command: Command) -> Rules:
        """Return what is known of signatures, and the command that this one countersigns, if it waits here."""
        awaited = self._pending.get(command.countersigns or "")
        sealed = None if awaited is None else Sealed(awaited.command, awaited.seal)
        return Rules(self._signatures.two_persons, self._follower.countersigned, sealed)

    async def _input_topic(self, command: Command) -> InputTopic | None:
        """Return what the brokers say of the partition that the command names, if it is one of ours."""
        inputs = {self._settings.topic(layout.name) for layout in (TRANSACTIONS, LABELS, PREDICTIONS)}
        if command.kind not in ABOUT_PARTITIONS or command.topic not in inputs or command.partition is None:
            return None
        count = (await self._admin.describe_topics([command.topic]))[0]["partitions"]
        if command.partition >= len(count):
            return None
        tp = TopicPartition(command.topic, command.partition)
        return (await input_states(self._settings, self._admin, [tp]))[tp]

    def _artifact(self, pending: PendingCommand) -> Inspected:
        """Return what the repository holds of a model that is named, or what this worker has of the one before."""
        if pending.command.needs_candidate:
            return self._inspected(pending, _NO_ARM)
        target = artifact_needed(self._follower.lineup, pending.command)
        return () if target is None else self._cache.held(target)

    def _inspected(self, pending: PendingCommand, name: str) -> Inspected:
        """Return what the repository holds of the model of an arm, or of the command's own."""
        if not pending.inspection.done():
            return self._unanswered("no answer yet")
        return pending.inspection.result().get(name, ())

    async def _publish_verdict(self, pending: PendingCommand, verdict: Verdict) -> bool:
        command, trace, lineup = pending.command, pending.trace, self._follower.lineup
        match verdict:
            case Waiting():
                if command.command_id not in self._follower.candidates.pending:
                    event = verdict_event(command, verdict, lineup.revision, self._origin())
                    await self._publish(event, trace.headers)
                return False
            case Answered():
                await self._publish(verdict.answer, trace.headers)
                trace.done(outcome_attributes(verdict.answer))
                return True
            case Accepted() | Refused():
                event = verdict_event(command, verdict, lineup.revision, self._origin())
                if event.kind is EventKind.ACCEPTED or event.evidence is not None:
                    event = _with_author(event, command, self._follower.countersigned.get(command.command_id))
                _log_verdict(command, event)
                await self._publish(event, trace.headers)
                answer = self._follower.lineup.answers.get(command.command_id)
                final = answer is not None and answer.event_id == event.event_id
                if final:
                    trace.done(outcome_attributes(event))
                return final

    async def _refuse_unreadable(self, command: UnreadableRecord) -> None:
        lineup = self._follower.lineup
        if command.command_id in self._pending:  # the answer of that id belongs to the command that waits
            command = msgspec.structs.replace(command, command_id=None)
        event = unreadable_event(command, lineup.deployment, lineup.revision, self._origin())
        while True:
            try:
                return await self._publish(event)
            except KafkaError as error:
                log.warning("the refusal of an unreadable command could not be written, retrying: %s", error)
                await asyncio.sleep(_RETRY_SECONDS)

    async def _publish(self, event: Event, headers: Headers = ()) -> None:
        """Publish an event and wait until this worker's follower has folded it."""
        await self._follower.wait_past(await self._publisher.publish_event(event, headers))

    def _origin(self) -> Origin:
        return new_origin(self._loader.worker)

    def _spawn(self, work: Coroutine[None, None, _T]) -> "asyncio.Task[_T]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(end_on_error)
        return task


def _without_card_numbers(command: Command | UnreadableRecord) -> Command | UnreadableRecord:
    """Refuse names of arms, excluded cards and ids that hold card numbers: acceptance and scores would have them.

    A payment whose `card_id` is one gets no decision, so there is nothing to exclude. Hashes are not searched: one in
    some thousands looks as if it held a card number.
    """
    if isinstance(command, UnreadableRecord):
        return command
    ids = (one for one in command.exclude if not is_hash(one))
    texts: dict[str, Iterable[str]] = {"arms": command.arms or (), "exclude": ids}
    # The id of an event is drawn: one in some thousands looks as if it held a card number.
    texts["despite"] = (one for one in command.despite or () if not _EVENT_ID.fullmatch(one))
    found = [name for name, some in texts.items() if any(map(holds_card_number, some))]
    problems = tuple(
        Problem(ProblemCode.INVALID_FIELD, f"{name}: holds card numbers; name arms and cards by tokens")
        for name in found
    )
    return UnreadableRecord(problems, command.command_id, command.deployment) if problems else command


def _with_author(event: Event, command: Command, second: str | None) -> Event:
    """Return a verdict that is remembered with who asked for it, why, and who countersigned: others see no command."""
    return msgspec.structs.replace(
        event,
        actor=redact_text(command.actor),
        reason=redact_text(command.reason),
        evidence=redact_json(command.evidence),
        countersigned_by=second,
    )


def _log_verdict(command: Command, event: Event) -> None:
    why = "".join(f"; {problem.code}: {problem.detail}" for problem in event.problems)
    log.info(
        "command %s (%s): %s%s",
        *(command.command_id, command.kind, event.kind, redact_text(why)),
        extra={"event": "verdict", "command_id": command.command_id, "command": command.kind, "verdict": event.kind},
    )
