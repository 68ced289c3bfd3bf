"""What an operator does while payments are decided: challenge, promote, roll back, and let a bad model have some cards.

With `--chaos` the worker is killed, too; with `--blue-green` a second fleet takes over in place of the bad model.

It acts from outside: commands through the control topic, a signal to a process. `reader` reads the results.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from fraudstream.demo.blue_green import BlueGreenAct
from fraudstream.demo.canary import LADDER
from fraudstream.demo.errors import DemoError
from fraudstream.demo.plan import Action, DemoPlan
from fraudstream.demo.reader import Reader
from fraudstream.demo.scoreboard import CALM_SECONDS, Outage
from fraudstream.demo.stack import DemoStack
from guards.ladder import Ladder
from models.commands import CommandKind, Event, EventKind
from stream.clock import now_ms
from stream.control.client import CommandRequest
from stream.kafka.client import committed_offsets, open_admin
from stream.kafka.topics import TRANSACTIONS
from stream.telemetry.command_line import command_traced

VERDICT_SECONDS = 60.0
BACK_SECONDS = 120.0
IN_FLIGHT_LOOKS = 5_000
LOOK_SECONDS = 0.02
WATCH_LOOKS = 2_000
GUARD_LOOKS = 2_000
"""So often is looked whether the guard watches; a busy machine takes a while to start it."""
ENDED_LOOKS = 3_000
"""So often is looked whether the guard has ended the bad model: for a minute."""
SHADOWED = 2
"""A challenger is in the shadow under so many revisions: before the promotion, and in the watch after it."""
FOLLOW_SECONDS = 0.5
"""By then the worker has read a verdict, and no payment of the live stream is decided under the revision before."""


class DemoModels(NamedTuple):
    """The models, by digest: the one that is live first, the one that is promoted, and the one that a guard ends."""

    first: str
    second: str
    bad: str


class Operator:
    """Does the actions of the plan when they are due."""

    def __init__(self, stack: DemoStack, plan: DemoPlan, reader: Reader, models: DemoModels) -> None:
        self.outage: Outage | None = None
        self.planned = list(plan.actions)
        self._stack = stack
        self._settings = stack.settings
        self._plan = plan
        self._board, self._comparisons, self._commands = reader.board, reader.comparisons, reader.commands
        self._models = models
        self.blue_green = BlueGreenAct(stack, reader, models.second)
        """The act with a second fleet, which not every plan has."""

    async def promote_first(self) -> Event:
        """Make the first model live.

        Raises:
            DemoError: it was refused, or not answered.
        """
        return self._accepted(
            await self._command(CommandKind.PROMOTE, self._models.first, "the first model of the demo")
        )

    async def challenge(self) -> Event:
        """Make the second model the challenger and wait until the worker follows; raises DemoError likewise."""
        answer = self._accepted(
            await self._command(CommandKind.CHALLENGE, self._models.second, "to compare it with the live model")
        )
        await asyncio.sleep(FOLLOW_SECONDS)
        return answer

    async def run(self) -> None:
        """Do each action at its time, or as soon as the one before it is done."""
        began = time.monotonic()
        actions: dict[Action, Callable[[], Awaitable[object]]] = {
            Action.PROMOTE: self._promote,
            Action.KILL: self._kill,
            Action.ROLL_BACK: self._roll_back,
            Action.CANARY: self._canary,
            Action.START_GREEN: self.blue_green.start,
            Action.CUT_OVER: self.blue_green.cut_over,
            Action.GO_BACK: self.blue_green.go_back,
        }
        while self.planned:
            await asyncio.sleep(began + self.planned[0].seconds - time.monotonic())
            await actions[self.planned.pop(0).action]()

    async def _promote(self) -> Event | None:
        return await self._command(CommandKind.PROMOTE, self._models.second, "to show that decisions go on")

    async def _canary(self) -> None:
        """Start a guard, then a rollout of the bad model, and wait until the guard has ended it."""
        self._stack.guard.start()
        for _ in range(GUARD_LOOKS):
            if not await asyncio.to_thread(self._stack.guard_reasons):
                break
            await asyncio.sleep(LOOK_SECONDS)
        answer = await self._command(
            CommandKind.ROLLOUT, self._models.bad, "to show what a guard does", Ladder.parse(LADDER)
        )
        if answer is None or answer.kind is not EventKind.ACCEPTED:
            return
        for _ in range(ENDED_LOOKS):
            record = self._commands.last(CommandKind.END_CANARY)
            if record is not None and record.accepted:
                break
            await asyncio.sleep(LOOK_SECONDS)

    async def _roll_back(self) -> Event | None:
        """Roll back once the watch has compared something: a busy machine takes a while to start the challenger."""
        for _ in range(WATCH_LOOKS):
            if len(self._comparisons.by_revision) >= SHADOWED:
                break
            await asyncio.sleep(LOOK_SECONDS)
        return await self._command(CommandKind.ROLL_BACK, None, "to show the way back")

    async def _kill(self) -> None:
        """Kill the worker while payments are in flight, start another, and wait until the backlog is decided."""
        for _ in range(IN_FLIGHT_LOOKS):
            if self._board.in_flight:
                break
            await asyncio.sleep(0.001)
        self.outage = Outage(killed_ms=now_ms(), in_flight=self._board.in_flight)
        self._stack.worker.kill()
        self._stack.worker.start()
        await self._until_caught_up(self.outage)

    async def _until_caught_up(self, outage: Outage) -> None:
        asking = asyncio.create_task(self._uncommitted())
        deadline = time.monotonic() + BACK_SECONDS
        calm = round(self._plan.rate * CALM_SECONDS)
        try:
            while outage.caught_up_ms is None and time.monotonic() < deadline:
                self.outage = outage = outage.after(self._board, now_ms(), calm)
                if outage.uncommitted is None and asking.done():
                    self.outage = outage = outage.with_uncommitted(asking.result())
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            asking.cancel()

    async def _uncommitted(self) -> int | None:
        """Count the decisions whose offsets the killed worker had not committed; None if the broker does not answer."""
        topic = self._settings.topic(TRANSACTIONS.name)
        asked = [TopicPartition(topic, partition) for partition in range(self._plan.partitions)]
        try:
            async with open_admin(self._settings) as admin:
                committed = await committed_offsets(self._settings, admin, asked)
        except KafkaError:
            return None
        decided = {tp: self._board.offsets[tp.partition] for tp in asked if self._board.offsets.get(tp.partition)}
        return sum(max(offsets) + 1 - max(0, int(committed[tp].offset)) for tp, offsets in decided.items())

    def _accepted(self, answer: Event | None) -> Event:
        if answer is not None and answer.kind is EventKind.ACCEPTED:
            return answer
        why = "no verdict" if answer is None else "; ".join(problem.detail for problem in answer.problems)
        raise DemoError(f"a command was not accepted: {why}; the worker's log ends:\n{self._stack.log_end()}")

    async def _command(
        self, kind: CommandKind, digest: str | None, reason: str, ladder: Ladder | None = None
    ) -> Event | None:
        request = CommandRequest(
            kind=kind,
            model=digest,
            actor="demo",
            reason=reason,
            expected_revision=None,
            wait=VERDICT_SECONDS,
            force=False,
            ladder=ladder,
            guards=None,
        )
        return (await command_traced(self._settings, request))[1]
