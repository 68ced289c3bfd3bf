"""Send a command to a deployment's workers and wait for the verdict; used by the command line."""

import asyncio
import math
from dataclasses import dataclass
from typing import NamedTuple, Self
from uuid import uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from models.commands import Command, CommandKind, Event, encode, read_event
from models.lineup import Lineup, follow
from models.logs import Logs, follow_logs
from models.times import format_time
from stream.clock import now_ms
from stream.control.announcements import outcome_attributes
from stream.kafka.client import connection_options, producer_options, require_topic
from stream.kafka.publisher import Headers
from stream.kafka.topics import MODEL_CONTROL, MODEL_EVENTS
from stream.kafka.tracing import OperationTracing
from stream.settings import Settings


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
    `partition` names what a loss or unreadable records are accepted of.
    """

    kind: CommandKind
    actor: str
    reason: str
    wait: float
    model: str | None = None
    expected_revision: int | None = None
    force: bool = False
    watch: float | None = None
    partition: PartitionArguments | None = None


async def read_events(settings: Settings) -> list[Event]:
    """Read all events that the deployment's log holds now.

    Raises:
        aiokafka.errors.KafkaError: the broker does not answer.
    """
    async with _EventLog(settings) as log:
        return [event for _, event in await log.read_to_end() if event.deployment == settings.deployment]


async def read_logs(settings: Settings) -> Logs:
    """Return the logs of the input topics, folded from the events of all deployments.

    Raises:
        aiokafka.errors.KafkaError: the broker does not answer.
    """
    logs = Logs()
    async with _EventLog(settings) as log:
        for _, event in await log.read_to_end():
            logs = follow_logs(logs, event)
    return logs


async def read_lineup(settings: Settings) -> Lineup:
    """Return the deployment's current lineup, folded from its log."""
    lineup = Lineup(settings.deployment)
    for event in await read_events(settings):
        lineup = follow(lineup, event)
    return lineup


async def send_command(
    settings: Settings, request: CommandRequest, operations: OperationTracing
) -> tuple[str, Event | None]:
    """Send one command; return its id and its verdict, or None if there was none in time.

    If `operations` traces, the command starts a trace that its verdict and every worker's answer continue.

    Raises:
        aiokafka.errors.KafkaError: the broker does not answer.
    """
    trace = operations.begin(f"model {request.kind}")
    try:
        command_id, answer = await _send_and_await_verdict(settings, request, trace.headers)
    except BaseException as error:
        trace.failed(type(error).__name__)
        raise
    if answer is None:
        trace.failed("no_verdict")
    else:
        trace.done(outcome_attributes(answer))
    return command_id, answer


async def _send_and_await_verdict(
    settings: Settings, request: CommandRequest, headers: Headers
) -> tuple[str, Event | None]:
    async with _EventLog(settings) as log:
        lineup = Lineup(settings.deployment)
        for _, event in await log.read_to_end():
            lineup = follow(lineup, event)
        command = _command(settings, request, lineup.revision)
        await _send(settings, command, headers)
        try:
            async with asyncio.timeout(request.wait + 1.0):
                while command.command_id not in lineup.answers:
                    for _, event in await log.read():
                        lineup = follow(lineup, event)
        except TimeoutError:
            return command.command_id, None
        return command.command_id, lineup.answers[command.command_id]


def _command(settings: Settings, request: CommandRequest, revision: int) -> Command:
    now = now_ms()
    return Command(
        command_id=uuid4().hex,
        deployment=settings.deployment,
        expected_revision=revision if request.expected_revision is None else request.expected_revision,
        kind=request.kind,
        model=request.model,
        actor=request.actor,
        reason=request.reason,
        issued_at=format_time(now),
        expires_at=format_time(now + int(request.wait * 1000)),
        force=request.force,
        watch_seconds=None if request.watch is None else math.ceil(request.watch),
        **({} if request.partition is None else request.partition._asdict()),
    )


async def _send(settings: Settings, command: Command, headers: Headers) -> None:
    producer = AIOKafkaProducer(**producer_options(settings))
    try:
        await producer.start()
        topic, key = settings.topic(MODEL_CONTROL.name), settings.deployment.encode()
        await producer.send_and_wait(topic, encode(command), key, 0, headers=list(headers))
    finally:
        await producer.stop()


class _EventLog:
    """A reader of the event log, from its beginning."""

    def __init__(self, settings: Settings) -> None:
        self._tp = TopicPartition(settings.topic(MODEL_EVENTS.name), 0)
        self._consumer = AIOKafkaConsumer(
            **connection_options(settings), enable_auto_commit=False, auto_offset_reset="earliest", fetch_max_wait_ms=50
        )

    async def __aenter__(self) -> Self:
        try:
            await self._consumer.start()
            await require_topic(self._consumer, self._tp.topic)
        except KafkaError:
            await self._consumer.stop()
            raise
        self._consumer.assign([self._tp])
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()

    async def read_to_end(self) -> list[tuple[int, Event]]:
        """Read up to the end that the log has now."""
        end = (await self._consumer.end_offsets([self._tp]))[self._tp]
        found: list[tuple[int, Event]] = []
        while await self._consumer.position(self._tp) < end:
            found += await self.read()
        return found

    async def read(self) -> list[tuple[int, Event]]:
        """Read new events; waits briefly if there are none."""
        records = (await self._consumer.getmany(self._tp, timeout_ms=200)).get(self._tp, [])
        events = [(record.offset, read_event(record.value or b"")) for record in records]
        return [(offset, event) for offset, event in events if isinstance(event, Event)]
