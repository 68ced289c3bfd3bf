"""The guard's loop: read the log, count what was decided, look, and act.

All that it knows can be read again from the topics, so it may be killed at any time, and two of them do no harm: the
second one's command expects a revision that is over.
"""

import asyncio
import logging
import math
import socket
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from fraudstream.ops.folds.run import LoopTerms, run_fold
from fraudstream.ops.folds.tail import SharedTail
from fraudstream.ops.rollout.guard.checkpoint_file import CheckpointFile
from fraudstream.ops.rollout.guard.finding import Finding, Limits, Order, Sight, finding_on
from fraudstream.ops.rollout.guard.gauges import GuardGauges
from fraudstream.ops.rollout.guard.reader import GuardReader
from fraudstream.ops.rollout.guard.sight import empty_state, reader_of, sight_of, silent
from fraudstream.ops.rollout.guard.training import KnownTraining
from fraudstream.ops.rollout.guard.watched import Past, Watched, past_of
from guards.errors import OtherHashKeyError
from guards.first_payments import Training
from guards.report import explain_each
from models.commands import LONGEST_ACTOR, Command, CommandKind, EventKind
from models.problems import Problem, ProblemCode
from models.signing import GUARD_AT
from stream.clock import now_ms
from stream.control.client import CommandRequest, command_of, send_signed
from stream.control.estate import SealCommand, command_seal
from stream.control.keys import read_signer
from stream.control.log_reader import LogReader
from stream.engine.tracing import OperationTrace, OperationTracing
from stream.errors import ControlLogError
from stream.kafka.client import producer_options
from stream.kafka.stray import PlainProducer
from stream.settings import Settings

log = logging.getLogger("fraudstream.guard")

_IDLE_SECONDS = 0.5
_LOOK_SECONDS = 0.5
"""So often it looks where nothing new was decided: time alone makes a rung due."""
_LOG_SECONDS = 2.0
"""So often it reads the event log where nothing says that this changed, to see whether it lost records."""
_TURN_SECONDS = 0.03
"""It takes turns at most so often, unless much is to be read."""
_MANY_RECORDS = 500
_TERMS = LoopTerms(
    log,
    "the guard cannot watch",
    "the guard watches again",
    retry_seconds=1.0,
    keep_seconds=30.0,
    troubles=(ControlLogError, OtherHashKeyError),
)
_ENDING_SECONDS = 15.0
"""A command that ends a model's exposure is sent again if no worker has judged it in this time."""
_RAISING_SECONDS = 60.0
_SENT = (
    CommandKind.CANARY,
    CommandKind.PROMOTE,
    CommandKind.PAUSE,
    CommandKind.END_CANARY,
    CommandKind.END_SPLIT,
    CommandKind.ROLL_BACK,
)
_OF_THE_SENDER = frozenset(
    {
        ProblemCode.UNSIGNED,
        ProblemCode.UNKNOWN_KEY,
        ProblemCode.WRONG_SIGNATURE,
        ProblemCode.NOT_PERMITTED,
        ProblemCode.WRONG_ACTOR,
    }
)
"""Why a command is refused whoever sends the same one again in the same way."""
_PAUSE_AFTER_REFUSAL_MS = {False: 1_000, True: 30_000}
"""How long after a refusal the guard tries again, by whether the command raises exposure."""


def actor_of(settings: Settings) -> str:
    """Return in whose name a guard sends commands: its own, `guard@HOST`, and not that of whoever started it.

    A signed command has to name the person to whom the key belongs, or workers refuse it: that is `FRAUDSTREAM_ACTOR`.
    """
    return settings.actor or "guard" if settings.signing_key else guard_name()


def guard_name() -> str:
    """Return the name of a guard's process, by where it runs."""
    return f"{GUARD_AT}{socket.gethostname()}"[:LONGEST_ACTOR]


class Unfinished(msgspec.Struct):
    """A command that was sent and has no verdict yet."""

    command: Command
    order: Order
    trace: OperationTrace


@dataclass(frozen=True, slots=True)
class GuardView:
    """What the guard sees at present.

    Attributes:
        watched: what is watched; None if nothing is.
        sight: what was counted of it; None until all of it was read once.
        finding: what follows from it.
        trouble: why the guard does not see, in words; None if it does.
        refused: why workers refuse its commands for who sends them, in words; None if they do not, as far as is known.
    """

    watched: Watched | None = None
    sight: Sight | None = None
    finding: Finding | None = None
    trouble: str | None = "the event log was not read yet"
    refused: str | None = None

    def reasons(self, now: int, longest_behind_ms: int = 60_000) -> list[str]:
        """Return why the guard does not watch, or cannot act; empty if it can, or if there is nothing to watch."""
        return [*self._blind(now, longest_behind_ms), *([] if self.refused is None else [self.refused])]

    def _blind(self, now: int, longest_behind_ms: int) -> list[str]:
        if self.trouble is not None:
            return [self.trouble]
        if self.watched is None:
            return []
        if self.sight is None:
            return ["what was decided since the beginning is being counted"]
        behind_ms = now - self.sight.read_until_ms
        return [f"it is {behind_ms / 1000:,.0f} s behind the decisions"] if behind_ms > longest_behind_ms else []


def refused_for_its_sender(problems: Sequence[Problem]) -> str | None:
    """Say that a command was refused for who sent it, and what to do; None if it was not."""
    found = [one for one in problems if one.code in _OF_THE_SENDER]
    if not found:
        return None
    why = "; ".join(f"{one.code}: {one.detail}" for one in found)
    return f"workers refuse its commands ({why}): FRAUDSTREAM_SIGNING_KEY must name a key with the role `guard`"


class Guard:
    """Watches the canaries, splits and promotions of one deployment until it is cancelled."""

    def __init__(
        self,
        settings: Settings,
        limits: Limits,
        operations: OperationTracing,
        checkpoint: CheckpointFile | None,
        tail: SharedTail | None = None,
    ) -> None:
        self.view = GuardView()
        self.gauges = GuardGauges()
        for kind in _SENT:
            self.gauges.announce(kind, EventKind.ACCEPTED)
        self._settings = settings
        self._limits = limits
        self._operations = operations
        self._checkpoint = checkpoint
        self._tail = tail
        self._signer = read_signer(settings)
        self._seal: SealCommand | None = None
        self._training = KnownTraining(settings)
        self._reader: GuardReader | None = None
        self._since: int | None = None
        self._named: Mapping[str, Any] = {}
        self._unfinished: list[Unfinished] = []
        self._not_before_ms = {False: 0, True: 0}
        self._folded: tuple[tuple[int, int], Past] | None = None
        self._said: tuple[Any, ...] = ()
        self._looked = (0, 0.0)
        self._log_read_at = -math.inf
        self._refused: str | None = None

    @property
    def trouble(self) -> str | None:
        """Why it does not see, in words; None if it does."""
        return self.view.trouble

    @trouble.setter
    def trouble(self, said: str | None) -> None:
        self.view = replace(self.view, trouble=said)

    async def run(self) -> None:
        """Watch for ever; where Kafka does not answer, or excluded cards are not known here, try again."""
        await run_fold(self._settings, self, _TERMS)

    async def close(self) -> None:
        """Disconnect, and keep what was counted."""
        for one in self._unfinished:
            one.trace.failed("given_up")
        await self.keep()
        if self._reader is not None:
            await self._reader.close()

    async def connect(self, stack: AsyncExitStack) -> tuple[LogReader, PlainProducer]:
        """Connect; `stack` disconnects.

        Raises:
            aiokafka.errors.KafkaError: the brokers do not respond, or a topic is missing.
        """
        events = await stack.enter_async_context(LogReader(self._settings, (EventKind.ROW_TIME,)))
        producer = PlainProducer(**producer_options(self._settings))
        stack.push_async_callback(producer.stop)
        await producer.start()
        self._seal = await command_seal(self._settings, self._signer)
        self._log_read_at = -math.inf
        return events, producer

    async def turn(self, connection: tuple[LogReader, PlainProducer]) -> bool:
        """Read once what is new, look at it, and act; return whether it sees what it has to watch."""
        events, producer = connection
        past = await self._read_log(events) if self._must_read_log() else self._past()
        watched = past.watched
        if watched is None or watched.is_over(now_ms()):
            await self._leave()
            self.gauges.rest()
            self.view = GuardView(trouble=None, refused=self._refused)
            await asyncio.sleep(_IDLE_SECONDS)
            return True
        reader, began = await self._entered(watched), asyncio.get_running_loop().time()
        read = await reader.step(lambda: self._refresh(events, watched, reader))
        past, now = self._past(), asyncio.get_running_loop().time()
        if past.watched is None or past.watched.since != watched.since or reader.read_until_ms is None:
            return False
        if read or past.lineup.revision != self._looked[0] or now > self._looked[1] + _LOOK_SECONDS:
            self._looked = past.lineup.revision, now
            self._look(past, past.watched, reader, await self._training.of(past.watched))
            if await self._is_current(events, past):
                await self._act(producer)
        if read < _MANY_RECORDS:  # what comes meanwhile is read together: each turn costs requests
            await asyncio.sleep(max(0.0, began + _TURN_SECONDS - asyncio.get_running_loop().time()))
        return True

    # --- read

    def _must_read_log(self) -> bool:
        """Tell whether the event log is read whatever is fetched with the records: else that tells when it changed."""
        overdue = asyncio.get_running_loop().time() >= self._log_read_at + _LOG_SECONDS
        return overdue or self._reader is None or bool(self._unfinished)

    async def _is_current(self, events: LogReader, past: Past) -> bool:
        """Read the event log before a command is sent; tell whether what was found still follows from it."""
        finding = self.view.finding
        if finding is None or finding.order is None:
            return True
        return (await self._read_log(events)).lineup.revision == past.lineup.revision

    async def _read_log(self, events: LogReader) -> Past:
        await events.read_to_end()
        self._log_read_at = asyncio.get_running_loop().time()
        events.require_trusted()
        read = events.log.fold.lineup.revision, events.reported
        if self._folded is None or self._folded[0] != read:
            past = past_of(self._settings.deployment, events.events(), events.log.fold.term.publisher)
            self._folded = read, past
        self._settle(events)
        return self._past()

    def _past(self) -> Past:
        assert self._folded is not None  # noqa: S101 - it was read
        return self._folded[1]

    async def _refresh(self, events: LogReader, watched: Watched, reader: GuardReader) -> None:
        now = (await self._read_log(events)).watched
        if now is not None and now.since == watched.since:
            for revision, share_bp in now.shares.items():
                reader.state.set_share(revision, share_bp)

    async def _entered(self, watched: Watched) -> GuardReader:
        """Return the reader of what is watched; begin to read it if it is new."""
        if self._reader is None or self._since != watched.since:
            await self._leave()
            models = [*watched.models, watched.other]
            named = {"watched": str(watched.stretch), "since": watched.since, "models": models}
            stored = self._checkpoint
            kept = None if stored is None else stored.load(named, empty_state(self._settings, watched))
            state = empty_state(self._settings, watched) if kept is None else kept.state
            ids = {} if kept is None else kept.topic_ids
            self._reader = reader_of(self._settings, watched, state, ids, self._tail, watches_events=True)
            self._since, self._named = watched.since, named
            what = ", ".join(model[:12] for model in watched.models) or "the live model alone"
            log.info("watching the %s of %s since revision %d", watched.stretch, what, watched.since)
        return self._reader

    async def _leave(self) -> None:
        if self._reader is not None:
            await self._reader.close()
            self._reader = self._since = None
            log.info("nothing is watched any more")

    async def keep(self) -> None:
        """Store what was counted, if anywhere."""
        if self._checkpoint is not None and self._reader is not None:
            await self._checkpoint.save(self._named, self._reader.state, self._reader.topic_ids)

    # --- look

    def _look(self, past: Past, watched: Watched, reader: GuardReader, training: Training | None = None) -> None:
        sight = sight_of(self._settings, past, watched, reader, training)
        if self._training.trouble:
            sight = sight._replace(blind=(*sight.blind, self._training.trouble))
        finding = finding_on(past, watched, sight, self._limits)
        self.view = GuardView(watched, sight, finding, None, self._refused)
        self.gauges.watch(sight.evidence, reader.read_until_ms, watched.waived - finding.breached.keys())
        said = tuple(finding.breached), watched.since
        if said != self._said:
            self._said = said
            for kind, line in explain_each(sight.evidence).items() if finding.breached else ():
                log.log(logging.WARNING if kind in finding.breached else logging.INFO, "%s", line)

    # --- act

    async def _act(self, producer: PlainProducer) -> None:
        finding, past, now = self.view.finding, self._past(), now_ms()
        order = None if finding is None else finding.order
        if order is None or now < self._not_before_ms[order.raises] or silent(self._settings, past):
            return
        if any(one.order.kind is order.kind or order.raises for one in self._unfinished):
            return
        assert self.view.sight is not None  # noqa: S101 - what was found was seen
        request = CommandRequest(
            order.kind,
            actor_of(self._settings),
            order.reason,
            _RAISING_SECONDS if order.raises else _ENDING_SECONDS,
            model=order.model,
            share_bp=order.share_bp,
            watch=order.watch,
            winner=order.winner,
            evidence={"process": guard_name(), **self.view.sight.evidence},
        )
        command = command_of(self._settings, request, past.lineup.revision)
        trace = self._operations.begin(f"guard {order.kind}")
        log.info("command %s (%s): %s", command.command_id, order.kind, order.reason)
        try:
            await send_signed(self._settings, producer, command, trace.headers, self._seal)
        except BaseException as error:  # if it was written nevertheless, the next one is refused
            trace.failed(type(error).__name__)
            raise
        self._unfinished.append(Unfinished(command, order, trace))

    def _settle(self, events: LogReader) -> None:
        """Note the verdicts on what was sent, and forget commands that expired without one."""
        for one in list(self._unfinished):
            answer = events.answer_to(one.command.command_id)
            if answer is None and now_ms() < one.command.expires_ms:
                continue
            outcome = "no_verdict" if answer is None else str(answer.kind)
            self._unfinished.remove(one)
            self.gauges.sent(one.order.kind, outcome)
            if answer is not None and answer.kind is EventKind.ACCEPTED:
                one.trace.done({"fraudstream.command.outcome": outcome, "fraudstream.revision": answer.revision})
            else:
                self._not_before_ms[one.order.raises] = now_ms() + _PAUSE_AFTER_REFUSAL_MS[one.order.raises]
                one.trace.failed(outcome)
            problems = () if answer is None else answer.problems
            if answer is not None:
                self._refused = refused_for_its_sender(problems)
                self.view = replace(self.view, refused=self._refused)
            why = "".join(f"; {problem.code}: {problem.detail}" for problem in problems)
            log.info("command %s (%s): %s%s", one.command.command_id, one.order.kind, outcome, why)
