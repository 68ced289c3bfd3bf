"""The act with a second fleet: it starts beside the first one, decides silently, takes over, and hands back.

The hand-overs are `fraudstream deployment cut-over`, run as an operator would.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

import msgspec

from fraudstream.demo.reader import Reader
from fraudstream.demo.silent import SilentComparison
from fraudstream.demo.stack import FIRST, GREEN, DemoStack, end_of
from fraudstream.ops.rollout.deployments.gates import Gate
from fraudstream.ops.rollout.deployments.handover import HandoverReport
from models.commands import CommandKind, Event, EventKind
from models.problems import ProblemCode
from stream.clock import now_ms
from stream.control.client import CommandRequest
from stream.telemetry.command_line import command_traced

BUDGET = "10%"
"""So many decisions of green may differ: its model is meant to decide otherwise. The default is 1%."""
CUT_OVER_OPTIONS = ("--reason", "to show a hand-over", "--budget", BUDGET, "--sample", "200")
GO_BACK_OPTIONS = ("--reason", "to show the way back")
LEAST_COMPARED = 600
"""So many silent decisions are awaited first: by default `cut-over` asks for 500."""
PROMOTE_SECONDS = 90.0
READY_SECONDS = 300.0
"""A busy machine takes minutes to fill the histories of both fleets and to decide meanwhile."""
CUT_OVER_SECONDS = 150.0
_LOOK_SECONDS = 0.1


class CutOverResult(msgspec.Struct, frozen=True):
    """What `fraudstream deployment cut-over --json` prints, as far as it is used here."""

    go: bool
    gates: tuple[Gate, ...]
    verdict: Event | None
    handover: HandoverReport | None

    @property
    def problem(self) -> str:
        """Why nothing was handed over, or not everywhere; empty if it was."""
        if not self.go:
            return "; ".join(f"no-go: {gate.gate}: {gate.found}" for gate in self.gates if not gate.passed)
        if self.verdict is None or self.verdict.kind is not EventKind.ACCEPTED:
            return "; ".join(one.detail for one in self.verdict.problems) if self.verdict else "no verdict"
        done = self.handover is not None and self.handover.done
        return "" if done else "a partition with payments has no decision of the new term"


@dataclass(slots=True)
class CutOverRun:
    """One run of `cut-over`: `result` is None until the command has ended, and if it printed none.

    Times in epoch milliseconds.
    """

    to: str
    asked_ms: int
    ended_ms: int | None = None
    result: CutOverResult | None = None
    error: str = ""
    """Why there is no result."""

    @property
    def problem(self) -> str:
        """Why it failed; empty if it did not, or has not ended."""
        return self.error if self.result is None else self.result.problem


@dataclass(slots=True)
class BlueGreen:
    """How far the act is. Times in epoch milliseconds, None until they are known."""

    silent: SilentComparison
    """What green decides beside the first fleet."""
    events: list[Event]
    """Of all deployments, in the order of the log."""
    started_ms: int | None = None
    ready_ms: int | None = None
    """When green's worker was ready: its histories whole, its model live, caught up."""
    waits_for: str = ""
    """What green's worker still waits for."""
    hand_overs: list[CutOverRun] = field(default_factory=list)
    problem: str = ""
    """Why green cannot take over at all."""


class BlueGreenAct:
    """Starts the second fleet and hands over, there and back."""

    def __init__(self, stack: DemoStack, reader: Reader, model: str) -> None:
        self.state = BlueGreen(reader.silent, reader.events)
        self._stack = stack
        self._model = model
        self._warming: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start green's worker; it is not waited for, since it needs a while."""
        self.state.started_ms = now_ms()
        self._stack.green.worker.start()
        self._warming = asyncio.create_task(self._warm())

    async def _warm(self) -> None:
        """Make green's model live, and wait until it is ready and enough was compared."""
        state, deadline = self.state, time.monotonic() + READY_SECONDS
        state.problem = await self._promote(deadline) or await self._wait_until_ready(deadline)
        state.ready_ms = None if state.problem else now_ms()
        while not state.problem and state.silent.compared < LEAST_COMPARED:
            if time.monotonic() > deadline:
                state.problem = f"only {state.silent.compared} of its decisions were compared"
            await asyncio.sleep(_LOOK_SECONDS)

    async def cut_over(self) -> None:
        """Hand over to green as soon as it is ready."""
        if self._warming is not None:
            await self._warming
        if not self.state.problem:
            await self._hand_over(GREEN, CUT_OVER_OPTIONS)

    async def go_back(self) -> None:
        """Hand over to the first fleet, if green publishes."""
        if self.state.hand_overs and not self.state.hand_overs[-1].problem:
            await self._hand_over(FIRST, GO_BACK_OPTIONS)

    async def _wait_until_ready(self, deadline: float) -> str:
        """Wait until green's worker decides; return why it does not."""
        while reasons := await asyncio.to_thread(self._stack.green.reasons):
            self.state.waits_for = reasons[0]
            if time.monotonic() > deadline:
                return "; ".join(reasons)
            await asyncio.sleep(_LOOK_SECONDS)
        return ""

    async def _promote(self, deadline: float) -> str:
        """Make the model live in green, as soon as its histories go back far enough; return why it is not."""
        reason = "the model of the second fleet"
        while True:
            request = CommandRequest(CommandKind.PROMOTE, FIRST, reason, PROMOTE_SECONDS, model=self._model)
            answer = (await command_traced(self._stack.green.settings, request))[1]
            if answer is not None and answer.kind is EventKind.ACCEPTED:
                return ""
            problems = () if answer is None else answer.problems
            why = "; ".join(problem.detail for problem in problems) or "no verdict"
            if ProblemCode.FEATURES_WARMING not in why or time.monotonic() > deadline:
                return f"its model was not promoted: {why}"
            self.state.waits_for = "its histories are filled from Kafka"
            await asyncio.sleep(_LOOK_SECONDS)

    async def _hand_over(self, to: str, options: tuple[str, ...]) -> None:
        command = self._stack.cut_over(to, options)
        hand_over = CutOverRun(to, now_ms())
        self.state.hand_overs.append(hand_over)
        command.start()
        try:
            for _ in range(int(CUT_OVER_SECONDS / _LOOK_SECONDS)):
                if not command.running:
                    break
                await asyncio.sleep(_LOOK_SECONDS)
        finally:
            command.kill()
        try:
            hand_over.result = msgspec.json.decode(command.output.read_bytes(), type=CutOverResult)
        except msgspec.DecodeError:
            hand_over.error = f"cut-over ended with {command.exit_code}; its log ends with:\n{end_of(command)}"
        hand_over.ended_ms = now_ms()
