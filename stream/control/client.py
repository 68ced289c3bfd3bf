"""Send a command to a deployment's workers and wait for the verdict; used by the command line."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self
from uuid import uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from models.commands import (
    Command,
    CommandKind,
    Event,
    EventKind,
    argument_problems,
    encode,
    read_command,
    read_event,
)
from models.event_log import EventFold, EventLog
from models.times import format_time
from stream.clock import now_ms
from stream.control.announcements import outcome_attributes
from stream.control.history import History, history_of
from stream.control.unjudged import FIRST_SECONDS, tell_if_unjudged
from stream.errors import ControlLogError
from stream.kafka.client import connection_options, explain_error, producer_options, require_topic
from stream.kafka.fetcher import open_consumer
from stream.kafka.publisher import Headers
from stream.kafka.topics import MODEL_CONTROL, MODEL_EVENTS
from stream.kafka.tracing import OperationTracing
from stream.settings import Settings
from stream.tasks import end_tasks

LONGEST_WAIT_SECONDS = 86_400
_VERDICTS = (EventKind.ACCEPTED, EventKind.REFUSED)
_COMMANDS_SECONDS = 10.0
"""How long the commands behind verdicts are read; without them, a history does not say who and why."""

Tell = Callable[[str], None]
"""Receives what an operator should know while a command has no verdict."""


class PartitionArguments(NamedTuple):
    """The arguments of `accept_loss` (`log`, `up_to`) and of `skip` (`offset`)."""

    topic: str
    partition: int
    log: int | None = None
    up_to: int | None = None
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class CommandRequest:
    """A command to send; it expires after `wait` seconds.

    `watch` is for how many seconds a promotion keeps its predecessor in the shadow; None: the workers' setting.
    `share_bp` is a canary's share of the cards in 0.01 %, `salt` what the cards' hash is keyed with; None: the id of
    the command that starts it. `to_ms` is the time of which a roll-back restores the live model; None: the one before.
    `decline_cap` is the share of declines that `limits` allows, 1 for no cap. `partition` names what a loss or
    unreadable records are accepted of.

    Raises:
        ValueError: workers would refuse the command for some of its values, all of them named.
    """

    kind: CommandKind
    actor: str
    reason: str
    wait: float
    model: str | None = None
    expected_revision: int | None = None
    force: bool = False
    watch: float | None = None
    share_bp: int | None = None
    salt: str | None = None
    to_ms: int | None = None
    decline_cap: float | None = None
    partition: PartitionArguments | None = None

    def __post_init__(self) -> None:
        given = {"expected_revision": self.expected_revision, **self.arguments()}
        problems = [problem.detail for problem in argument_problems(given)]
        if not 0 < self.wait <= LONGEST_WAIT_SECONDS:  # nor is NaN
            problems.append(f"wait: expected above 0 and at most {LONGEST_WAIT_SECONDS} seconds, got {self.wait:g}")
        if problems:
            raise ValueError("; ".join(problems))

    def arguments(self) -> dict[str, Any]:
        """Return the fields of the command that the request determines; one that is None is absent."""
        return {
            "kind": self.kind,
            "model": self.model,
            "actor": self.actor,
            "reason": self.reason,
            "force": self.force,
            "watch_seconds": None if self.watch is None else math.ceil(self.watch),
            "share_bp": self.share_bp,
            "salt": self.salt,
            "decline_cap": self.decline_cap,
            "to": None if self.to_ms is None else format_time(self.to_ms),
            **({} if self.partition is None else self.partition._asdict()),
        }


class ReadLog(NamedTuple):
    """What the log says as a whole, and the deployment's events in it."""

    fold: EventFold
    events: list[Event]


async def read_events(settings: Settings) -> list[Event]:
    """Read all events of the deployment that the log holds now, each once: verdicts in the order in which they count.

    Raises:
        ControlLogError: the log has lost records.
        aiokafka.errors.KafkaError: the broker does not answer.
    """
    return (await read_log(settings)).events


async def read_fold(settings: Settings) -> EventFold:
    """Return what the events of all deployments say: the lineup, the logs of the input, and the term.

    Raises:
        ControlLogError: the log has lost records.
        aiokafka.errors.KafkaError: the broker does not answer.
    """
    return (await read_log(settings)).fold


async def read_log(settings: Settings) -> ReadLog:
    """Read the log once, for what `read_fold` returns and what `read_events` returns.

    Raises:
        ControlLogError: the log has lost records.
        aiokafka.errors.KafkaError: the broker does not answer.
    """
    async with _LogReader(settings) as reader:
        await reader.read_to_end()
        reader.require_trusted()
        return ReadLog(reader.log.fold, reader.events())


async def read_history(settings: Settings) -> History:
    """Return all verdicts of the deployment with the commands behind them, as far as these can be read.

    Raises:
        ControlLogError: the event log has lost records.
        aiokafka.errors.KafkaError: the broker does not answer.
    """
    return await history_with_commands(settings, await read_events(settings))


async def history_with_commands(settings: Settings, events: Sequence[Event]) -> History:
    """Return the verdicts among the deployment's events with the commands behind them, as far as these can be read."""
    try:
        async with asyncio.timeout(_COMMANDS_SECONDS):
            commands = await _read_commands(settings)
    except TimeoutError:
        unknown = f"{settings.topic(MODEL_CONTROL.name)} was not read within {_COMMANDS_SECONDS:g} s"
    except KafkaError as error:
        unknown = await explain_error(settings, error)
    else:
        return history_of(settings.deployment, events, commands)
    return replace(history_of(settings.deployment, events, {}), unknown=unknown)


async def _read_commands(settings: Settings) -> dict[str, Command]:
    """Return the deployment's commands by id, the first of each id: a repeated one gets the first one's answer."""
    tp, found = TopicPartition(settings.topic(MODEL_CONTROL.name), 0), dict[str, Command]()
    consumer = open_consumer(settings, fetch_max_wait_ms=50)
    try:
        await consumer.start()
        await require_topic(consumer, tp.topic)
        consumer.assign([tp])
        begin, end = (await consumer.beginning_offsets([tp]))[tp], (await consumer.end_offsets([tp]))[tp]
        consumer.seek(tp, begin)
        while await consumer.position(tp) < end:
            for record in (await consumer.getmany(tp, timeout_ms=200)).get(tp, ()):
                command = read_command(record.value or b"")
                if isinstance(command, Command) and command.deployment == settings.deployment:
                    found.setdefault(command.command_id, command)
        return found
    finally:
        await consumer.stop()


async def send_command(
    settings: Settings, request: CommandRequest, operations: OperationTracing, tell: Tell | None = None
) -> tuple[str, Event | None]:
    """Send one command; return its id and its verdict, or None if there was none in time.

    `tell` is called, while there is none, if no worker is there to judge. If `operations` traces, the command starts a
    trace that its verdict and every worker's answer continue.

    Raises:
        aiokafka.errors.KafkaError: the broker does not answer.
    """
    trace = operations.begin(f"model {request.kind}")
    try:
        command_id, answer = await _send_and_await_verdict(settings, request, trace.headers, tell)
    except BaseException as error:
        trace.failed(type(error).__name__)
        raise
    if answer is None:
        trace.failed("no_verdict")
    else:
        trace.done(outcome_attributes(answer))
    return command_id, answer


async def _send_and_await_verdict(
    settings: Settings, request: CommandRequest, headers: Headers, tell: Tell | None
) -> tuple[str, Event | None]:
    async with _LogReader(settings) as reader:
        await reader.require_topic(settings.topic(MODEL_CONTROL.name))
        await reader.read_to_end()
        expected = request.expected_revision
        command = _command(settings, request, reader.revision() if expected is None else expected)
        await _send(settings, command, headers)
        try:
            async with asyncio.timeout(request.wait + 1.0), _telling(settings, request, tell):
                while (answer := reader.answer_to(command.command_id)) is None:
                    await reader.read()
        except TimeoutError:
            return command.command_id, None
        return command.command_id, answer


@asynccontextmanager
async def _telling(settings: Settings, request: CommandRequest, tell: Tell | None) -> AsyncIterator[None]:
    """Tell beside the block's work that no worker judges; a short wait is told in its first half."""
    if tell is None:
        yield
        return
    telling = asyncio.create_task(tell_if_unjudged(settings, min(FIRST_SECONDS, request.wait / 2), tell))
    try:
        yield
    finally:
        await end_tasks(telling)


def _command(settings: Settings, request: CommandRequest, revision: int) -> Command:
    now = now_ms()
    return Command(
        command_id=uuid4().hex,
        deployment=settings.deployment,
        expected_revision=revision,
        issued_at=format_time(now),
        expires_at=format_time(now + int(request.wait * 1000)),
        **request.arguments(),
    )


async def _send(settings: Settings, command: Command, headers: Headers) -> None:
    producer = AIOKafkaProducer(**producer_options(settings))
    try:
        await producer.start()
        topic, key = settings.topic(MODEL_CONTROL.name), settings.deployment.encode()
        await producer.send_and_wait(topic, encode(command), key, 0, headers=list(headers))
    finally:
        await producer.stop()


class _LogReader:
    """A reader of the event log, from its beginning."""

    def __init__(self, settings: Settings) -> None:
        self.log = EventLog(settings.deployment)
        self._deployment = settings.deployment
        self._tp = TopicPartition(settings.topic(MODEL_EVENTS.name), 0)
        self._other: dict[str, Event] = {}
        self._verdicts: dict[str, Event] = {}
        self._consumer = AIOKafkaConsumer(
            **connection_options(settings), enable_auto_commit=False, auto_offset_reset="earliest", fetch_max_wait_ms=50
        )

    async def __aenter__(self) -> Self:
        try:
            await self._consumer.start()
            await self.require_topic(self._tp.topic)
        except BaseException:  # a cancellation as well
            await self._consumer.stop()
            raise
        self._consumer.assign([self._tp])
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()

    async def require_topic(self, topic: str) -> None:
        """Fail at once if a topic is missing."""
        await require_topic(self._consumer, topic)

    async def read_to_end(self) -> None:
        """Read up to the end that the log has now."""
        end = (await self._consumer.end_offsets([self._tp]))[self._tp]
        begin = (await self._consumer.beginning_offsets([self._tp]))[self._tp]
        self._consumer.seek(self._tp, self.log.seek(begin, end))
        while await self._consumer.position(self._tp) < end:
            await self.read()

    async def read(self) -> None:
        """Read new events; waits briefly if there are none."""
        for record in (await self._consumer.getmany(self._tp, timeout_ms=200)).get(self._tp, []):
            event = self.log.add(record.offset, record.value or b"")
            if event is None or event.deployment != self._deployment:
                continue
            if event.kind in _VERDICTS and event.command_id is not None:
                self._verdicts.setdefault(event.command_id, event)
            elif event.kind not in _VERDICTS:
                self._other.setdefault(event.event_id, event)

    def require_trusted(self) -> None:
        """Raise if the log has lost records, so that its fold may be another deployment's past.

        Raises:
            ControlLogError: it has.
        """
        if (loss := self.log.why_untrusted(self._tp.topic)) is not None:
            raise ControlLogError(loss)

    def revision(self) -> int:
        """Return the current revision; of a log that has lost records, the newest that it still names.

        Raises:
            ControlLogError: it names none.
        """
        if self.log.why_untrusted(self._tp.topic) is None:
            return self.log.fold.lineup.revision
        accepted = [event.revision for event in self._verdicts.values() if event.kind is EventKind.ACCEPTED]
        if not accepted:
            self.require_trusted()
        return max(accepted)

    def answer_to(self, command_id: str) -> Event | None:
        """Return the verdict on a command; where the log has lost records, the first that names it."""
        if self.log.why_untrusted(self._tp.topic) is None:
            return self.log.fold.lineup.answers.get(command_id)
        return self._verdicts.get(command_id)

    def events(self) -> list[Event]:
        """Return the deployment's events, verdicts first."""
        verdicts = (read_event(value) for value in self.log.kept.values())
        own = [event for event in verdicts if isinstance(event, Event) and event.deployment == self._deployment]
        return [*own, *self._other.values()]
