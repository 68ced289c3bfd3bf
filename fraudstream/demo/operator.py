"""What an operator does while payments are decided: the commands of the script, each at its time.

With `--chaos` the worker is killed, too; with `--blue-green` a second fleet takes over in place of the bad model.

It acts from outside: commands in processes of their own, a signal to a process. `reader` reads the results.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from fraudstream.demo.blue_green import BlueGreenAct
from fraudstream.demo.errors import DemoError
from fraudstream.demo.plan import Action, DemoPlan
from fraudstream.demo.reader import Reader
from fraudstream.demo.scoreboard import CALM_SECONDS, Outage
from fraudstream.demo.script import Act
from fraudstream.demo.shell import CommandRun, typed
from fraudstream.demo.stack import DemoStack
from models.commands import CommandKind
from stream.clock import now_ms
from stream.kafka.client import committed_offsets, open_admin
from stream.kafka.topics import TRANSACTIONS

BACK_SECONDS = 120.0
LOOKS = 3_000
"""So often is looked for a comparison, a guard, or its end of the bad model: a busy machine needs a minute."""
IN_FLIGHT_LOOKS = 5_000
LOOK_SECONDS = 0.02
SHADOWED = 2
"""A challenger is in the shadow under so many revisions: before the promotion, and in the watch after it."""
FOLLOW_SECONDS = 0.5
"""By then the worker has read a verdict, and no payment of the live stream is decided under the revision before."""


class Operator:
    """Does the actions of the plan when they are due, by the commands of the script."""

    def __init__(self, stack: DemoStack, plan: DemoPlan, reader: Reader, acts: Mapping[Action, Act]) -> None:
        self.outage: Outage | None = None
        self.planned = list(plan.actions)
        self.begun: list[Act] = []
        """The acts that have begun, the present one last."""
        self.runs: list[CommandRun] = []
        """Every command that was run to its end, or is run now."""
        self.blue_green = BlueGreenAct(stack, reader, acts, self.runs)
        """The acts with a second fleet, which not every plan has."""
        self._stack = stack
        self._settings = stack.settings
        self._plan = plan
        self._board, self._comparisons, self._commands = reader.board, reader.comparisons, reader.commands
        self._acts = acts

    async def prepare(self, action: Action) -> CommandRun:
        """Do an act before payments are live, and wait until the worker follows.

        Raises:
            DemoError: the command was refused, or not answered.
        """
        run = await self._command(action)
        if run.problem:
            raise DemoError(
                f"`{typed(run.command)}`: {run.problem}; the worker's log ends with:\n{self._stack.log_end()}"
            )
        await asyncio.sleep(FOLLOW_SECONDS)
        return run

    async def run(self) -> None:
        """Do each action at its time, or as soon as the one before it is done."""
        began = time.monotonic()
        special: dict[Action, Callable[[], Awaitable[object]]] = {
            Action.KILL: self._kill,
            Action.ROLL_BACK: self._roll_back,
            Action.CANARY: self._canary,
            Action.START_GREEN: self.blue_green.start,
            Action.CUT_OVER: self.blue_green.cut_over,
            Action.GO_BACK: self.blue_green.go_back,
        }
        while self.planned:
            await asyncio.sleep(began + self.planned[0].seconds - time.monotonic())
            action = self.planned.pop(0).action
            if action in special:
                self.begun.append(self._acts[action])
                await special[action]()
            else:
                await self._command(action)

    async def _command(self, action: Action) -> CommandRun:
        """Run the last command of an act."""
        act = self._acts[action]
        if act not in self.begun[-1:]:
            self.begun.append(act)
        self.runs.append(CommandRun(act.commands[-1], now_ms()))
        return await self._stack.shell.finish(self.runs[-1])

    async def _canary(self) -> None:
        """Start a guard, then a rollout of the bad model, and wait until the guard has ended it."""
        self._stack.guard.start()
        await _until(lambda: not self._stack.guard_reasons())
        if not (await self._command(Action.CANARY)).problem:
            await _until(self._is_ended)

    def _is_ended(self) -> bool:
        record = self._commands.last(CommandKind.END_CANARY)
        return record is not None and record.accepted

    async def _roll_back(self) -> None:
        """Roll back once the watch has compared something: a busy machine takes a while to start the challenger."""
        await _until(lambda: len(self._comparisons.by_revision) >= SHADOWED)
        await self._command(Action.ROLL_BACK)

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
        decided = {TopicPartition(topic, number): last for number, last in self._board.last_offsets.items()}
        try:
            async with open_admin(self._settings) as admin:
                committed = await committed_offsets(self._settings, admin, list(decided))
        except KafkaError:
            return None
        return sum(last + 1 - max(0, int(committed[tp].offset)) for tp, last in decided.items())


async def _until(holds: Callable[[], bool]) -> None:
    """Wait until something holds, for a minute at most; it is asked on a thread, since it may ask a process."""
    for _ in range(LOOKS):
        if await asyncio.to_thread(holds):
            break
        await asyncio.sleep(LOOK_SECONDS)
