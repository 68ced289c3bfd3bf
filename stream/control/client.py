"""Send a command to a deployment's workers and wait for the verdict; used by the command line."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple
from uuid import uuid4

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupAuthorizationFailedError, KafkaError

from guards.ladder import Ladder
from models.command_decoder import argument_problems, read_command
from models.commands import Command, CommandKind, Event, RequestedArm, encode
from models.event_log import EventFold
from models.let_through import LetThroughWish
from models.times import format_time
from models.volume import VolumeBudget
from stream.clock import now_ms
from stream.control.announcements import outcome_attributes
from stream.control.estate import SealCommand, command_seal
from stream.control.exclusions import require_known_cards
from stream.control.history import History, history_of
from stream.control.keys import read_signer
from stream.control.log_reader import LogReader
from stream.engine.fetcher import open_consumer
from stream.engine.publisher import Headers
from stream.engine.tracing import OperationTracing
from stream.kafka.client import explain_error, group_members, open_admin, producer_options, require_topic
from stream.kafka.stray import PlainProducer, given_up_as_error
from stream.kafka.topics import MODEL_CONTROL
from stream.settings import Settings
from stream.tasks import end_tasks

LONGEST_WAIT_SECONDS = 86_400
_COMMANDS_SECONDS = 10.0
"""How long the commands behind verdicts are read; without them, a history does not say who and why."""

Tell = Callable[[str], None]
"""Receives what an operator should know while a command has no verdict."""
FIRST_SECONDS = 2.0
"""When the group is asked first: most verdicts are there earlier."""
_BETWEEN_SECONDS = 1.0
_LOOKS = 2


class PartitionArguments(NamedTuple):
    """The arguments of `accept_loss` (`log`, `first`, `up_to`) and of `skip` (`offset`)."""

    topic: str
    partition: int
    log: int | None = None
    up_to: int | None = None
    offset: int | None = None
    first: int | None = None


@dataclass(frozen=True, slots=True)
class CommandRequest:
    """A command to send; it expires after `wait` seconds.

    `watch` is for how many seconds a promotion keeps its predecessor in the shadow; None: the workers' setting.
    `share_bp` is a canary's share of the cards in 0.01 %, `salt` what the cards' hash is keyed with; None: the id of
    the command that starts it. `to_ms` is the time of which a roll-back restores the live model; None: the one before.
    `ladder` and `guards` are those of a rollout, the latter as plain JSON; without them, the default ones. `hands_off`
    belongs to a freeze. `arms` and `exclude` are those of a split, with `exclude_key_check` where cards are named by
    hashes, `winner` is the arm that wins it. `decline_cap` is
    the share of declines that `limits` allows, 1 for no cap, `let_through` what it lets through,
    `promote_needs_verdict` whether a promotion needs a verdict, `volume_budget` what it asks of a promoted model's
    alerts; what is None stays as it is. `evidence` says on what
    ground the command is sent. `partition` names what a loss or unreadable records are accepted of, `countersigns` the
    command that is approved. `despite` names what is on record against the models and is accepted.

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
    ladder: Ladder | None = None
    guards: Mapping[str, Any] | None = None
    hands_off: bool = False
    arms: Mapping[str, RequestedArm] | None = None
    exclude: Sequence[str] = ()
    exclude_key_check: str | None = None
    winner: str | None = None
    evidence: Mapping[str, Any] | None = None
    decline_cap: float | None = None
    let_through: LetThroughWish | None = None
    promote_needs_verdict: bool | None = None
    volume_budget: VolumeBudget | None = None
    partition: PartitionArguments | None = None
    countersigns: str | None = None
    despite: Sequence[str] = ()
    command_id: str = field(default_factory=lambda: uuid4().hex, compare=False)

    def __post_init__(self) -> None:
        given = {"expected_revision": self.expected_revision, **self.arguments()}
        problems = [problem.detail for problem in argument_problems(given)]
        if not 0 < self.wait <= LONGEST_WAIT_SECONDS:  # nor is NaN
            problems.append(f"wait: expected above 0 and at most {LONGEST_WAIT_SECONDS} seconds, got {self.wait:g}")
        if self.despite and not self.reason.strip():
            problems.append("reason: is empty; what is accepted with --despite needs a --reason, which is kept with it")
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
            "let_through": self.let_through,
            "promote_needs_verdict": self.promote_needs_verdict,
            "volume_budget": self.volume_budget,
            "to": None if self.to_ms is None else format_time(self.to_ms),
            "ladder": None if self.ladder is None else self.ladder.rungs,
            "guards": self.guards,
            "hands_off": self.hands_off,
            "arms": self.arms,
            "exclude": tuple(self.exclude),
            "exclude_key_check": self.exclude_key_check,
            "winner": self.winner,
            "evidence": self.evidence,
            "countersigns": self.countersigns,
            "despite": tuple(self.despite),
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
    async with LogReader(settings) as reader:
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
            commands = await read_commands(settings)
    except TimeoutError:
        unknown = f"{settings.topic(MODEL_CONTROL.name)} was not read within {_COMMANDS_SECONDS:g} s"
    except KafkaError as error:
        unknown = await explain_error(settings, error)
    else:
        return history_of(settings.deployment, events, commands)
    return replace(history_of(settings.deployment, events, {}), unknown=unknown)


class SentCommand(NamedTuple):
    """A command as it stands on `model-control`: with the bytes and the headers of its record."""

    command: Command
    value: bytes
    headers: Headers


async def read_commands(settings: Settings) -> dict[str, Command]:
    """Return the deployment's commands by id, the first of each id: a repeated one gets the first one's answer.

    Raises:
        aiokafka.errors.KafkaError: the broker does not answer.
    """
    sent = await read_sent_commands(settings)
    return {
        command_id: one.command for (deployment, command_id), one in sent.items() if deployment == settings.deployment
    }


async def read_sent_commands(settings: Settings) -> dict[tuple[str, str], SentCommand]:
    """Return the commands of all deployments of the topic by deployment and id, the first of each id.

    Raises:
        aiokafka.errors.KafkaError: the broker does not answer.
    """
    tp, found = TopicPartition(settings.topic(MODEL_CONTROL.name), 0), dict[tuple[str, str], SentCommand]()
    consumer = open_consumer(settings, fetch_max_wait_ms=50)
    try:
        await consumer.start()
        await require_topic(consumer, tp.topic)
        consumer.assign([tp])
        begin, end = (await consumer.beginning_offsets([tp]))[tp], (await consumer.end_offsets([tp]))[tp]
        consumer.seek(tp, begin)
        while await consumer.position(tp) < end:
            for record in (await consumer.getmany(tp, timeout_ms=200)).get(tp, ()):
                command = read_command(value := record.value or b"")
                if isinstance(command, Command):
                    one = SentCommand(command, value, record.headers)
                    found.setdefault((command.deployment, command.command_id), one)
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
        SettingsError: the key that signs cannot be used; nothing was sent.
        UnsentCommandError: workers that run do not know the excluded cards as they are named; nothing was sent.
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
    signer = read_signer(settings)
    async with LogReader(settings) as reader:
        seal = await command_seal(settings, signer)
        await reader.require_topic(settings.topic(MODEL_CONTROL.name))
        await reader.read_to_end()
        expected = request.expected_revision
        if expected is None:
            expected = reader.term() if request.kind is CommandKind.CUT_OVER else reader.revision()
        command = command_of(settings, request, expected)
        await require_known_cards(settings, command, reader.workers)
        await _send(settings, command, headers, seal)
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


def command_of(settings: Settings, request: CommandRequest, revision: int) -> Command:
    """Return the command that asks for what a request wants, with a new id, issued now."""
    now = now_ms()
    return Command(
        command_id=request.command_id,
        deployment=settings.deployment,
        expected_revision=revision,
        issued_at=format_time(now),
        expires_at=format_time(now + int(request.wait * 1000)),
        **request.arguments(),
    )


async def send_signed(
    settings: Settings, producer: PlainProducer, command: Command, headers: Headers, seal: SealCommand | None
) -> None:
    """Send a command, signed if there is a key for it, and wait until it is written.

    Raises:
        aiokafka.errors.KafkaError: it is unknown whether it was written.
    """
    value = encode(command)
    signature = () if seal is None else seal(value)
    topic, key = settings.topic(MODEL_CONTROL.name), settings.deployment.encode()
    await producer.send_and_wait(topic, value, key, 0, headers=[*headers, *signature])


async def _send(settings: Settings, command: Command, headers: Headers, seal: SealCommand | None) -> None:
    producer = PlainProducer(**producer_options(settings))
    try:
        await producer.start()
        await send_signed(settings, producer, command, headers, seal)
    finally:
        await producer.stop()


async def tell_if_unjudged(settings: Settings, first_seconds: float, tell: Callable[[str], None]) -> None:
    """Call `tell` once, with what to start, if the group has no worker; never where the group cannot be seen.

    A worker judges: the one that owns the control topic's partition. So a group without a worker of the deployment
    judges nothing. During a rebalance the coordinator still lists all members; only two looks in a row that find none
    count. It looks until it has told: a worker that crashed is listed until its session has timed out.
    """
    await asyncio.sleep(first_seconds)
    try:
        async with open_admin(settings) as admin:
            await _until_empty(settings, admin)
        tell(
            f"no worker of deployment {settings.deployment} is in the group {settings.group}, so nobody judges this "
            "command: start one by `fraudstream worker`"
        )
    except KafkaError:
        return  # without the right to see the group, or without a broker, nothing can be told


async def _until_empty(settings: Settings, admin: AIOKafkaAdminClient) -> None:
    """Return when the group was without a worker `_LOOKS` times in a row."""
    empty = 0
    while True:
        try:
            with given_up_as_error():
                empty = 0 if await group_members(admin, settings) else empty + 1
        except GroupAuthorizationFailedError:
            raise
        except KafkaError:
            empty = 0
        if empty == _LOOKS:
            return
        await asyncio.sleep(_BETWEEN_SECONDS)
