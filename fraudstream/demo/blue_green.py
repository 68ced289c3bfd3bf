"""The acts with a second fleet: it starts beside the first one, decides silently, takes over, and hands back.

The hand-overs are `fraudstream deployment cut-over`, and what is said of them is what that prints.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from fraudstream.demo.plan import Action
from fraudstream.demo.reader import Reader
from fraudstream.demo.script import Act
from fraudstream.demo.shell import CommandRun
from fraudstream.demo.stack import DemoStack
from fraudstream.ops.rollout.deployments.gates import Gate
from fraudstream.ops.rollout.deployments.handover import HandoverReport
from models.commands import Event, EventKind
from models.problems import ProblemCode
from stream.clock import now_ms

LEAST_SILENT = 600
"""So many silent decisions are awaited first: by default `cut-over` asks for 500 that it can compare."""
READY_SECONDS = 300.0
"""A busy machine takes minutes to fill the histories of both fleets and to decide meanwhile."""
_LOOK_SECONDS = 0.1
_AGAIN_SECONDS = 2.0


class CutOverResult(msgspec.Struct, frozen=True):
    """What `fraudstream deployment cut-over --json` prints, as far as it is used here."""

    go: bool
    gates: tuple[Gate, ...]
    verdict: Event | None
    handover: HandoverReport | None

    @property
    def comparison(self) -> Mapping[str, Any]:
        """The comparison of silent and published decisions on which it was accepted; empty on the way back."""
        evidence = None if self.verdict is None else self.verdict.evidence
        return (evidence or {}).get("comparison") or {}


@dataclass(slots=True)
class CutOver:
    """One hand-over to a deployment."""

    to: str
    run: CommandRun

    @property
    def result(self) -> CutOverResult | None:
        """What the command printed; None until it has ended, and if it printed nothing of use."""
        try:
            return msgspec.convert(self.run.facts, CutOverResult)
        except msgspec.ValidationError:
            return None

    @property
    def handover(self) -> HandoverReport | None:
        """What became of it; None if nothing was handed over, or not yet."""
        result = self.result
        return None if result is None else result.handover

    @property
    def problem(self) -> str:
        """Why it failed; empty if it did not, or has not ended."""
        if self.run.problem and self.handover is not None and not self.handover.done:
            return "a partition with payments has no decision of the new term"
        return self.run.problem


@dataclass(slots=True)
class BlueGreen:
    """How far the acts are. Times in epoch milliseconds, None until they are known."""

    events: list[Event]
    """Of all deployments, in the order of the log."""
    started_ms: int | None = None
    ready_ms: int | None = None
    """When green's worker was ready: its histories whole, its model live, caught up."""
    waits_for: str = ""
    """What green's worker still waits for."""
    hand_overs: list[CutOver] = field(default_factory=list)
    problem: str = ""
    """Why green cannot take over at all."""


class BlueGreenAct:
    """Starts the second fleet and hands over, there and back; `runs` gets each command that counts."""

    def __init__(self, stack: DemoStack, reader: Reader, acts: Mapping[Action, Act], runs: list[CommandRun]) -> None:
        self.state = BlueGreen(reader.events)
        self._stack = stack
        self._reader = reader
        self._acts = acts
        self._runs = runs
        self._warming: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start green's worker; it is not waited for, since it needs a while."""
        self.state.started_ms = now_ms()
        self._stack.green.worker.start()
        self._warming = asyncio.create_task(self._warm())

    async def _warm(self) -> None:
        """Make green's model live, and wait until it is ready and has decided enough silently."""
        state, deadline = self.state, time.monotonic() + READY_SECONDS
        state.problem = await self._promote(deadline) or await self._wait_until_ready(deadline)
        state.ready_ms = None if state.problem else now_ms()
        while not state.problem and self._reader.silent < LEAST_SILENT:
            if time.monotonic() > deadline:
                state.problem = f"it has decided only {self._reader.silent} payments silently"
            await asyncio.sleep(_LOOK_SECONDS)

    async def cut_over(self) -> None:
        """Hand over to green as soon as it is ready."""
        if self._warming is not None:
            await self._warming
        if not self.state.problem:
            await self._hand_over(Action.CUT_OVER)

    async def go_back(self) -> None:
        """Hand over to the first fleet, if green publishes."""
        if self.state.hand_overs and not self.state.hand_overs[-1].problem:
            await self._hand_over(Action.GO_BACK)

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
        while True:
            run = await self._stack.green.shell.run(self._acts[Action.START_GREEN].commands[-1])
            if run.facts.get("kind") == EventKind.ACCEPTED:
                return ""
            if ProblemCode.FEATURES_WARMING not in run.problem or time.monotonic() > deadline:
                return f"its model was not promoted: {run.problem}"
            self.state.waits_for = "its histories are filled from Kafka"
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _hand_over(self, action: Action) -> None:
        act = self._acts[action]
        shell = self._stack.green.shell if act.in_green else self._stack.shell
        run = CommandRun(act.commands[-1], now_ms())
        self._runs.append(run)
        self.state.hand_overs.append(CutOver(run.command[2], run))
        await shell.finish(run)
