"""What happens on the stream, beside the payments: the challenger, the promotion, the kill, the way back.

Everything is done from outside, as an operator would: commands through the control topic, a signal to a process.
What came of it is read elsewhere.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from models.commands import CommandKind, Event, EventKind
from stream.clock import now_ms
from stream.control.client import CommandRequest
from stream.demo.errors import DemoError
from stream.demo.reader import Reader
from stream.demo.scoreboard import CALM_SECONDS, Outage
from stream.demo.script import Act, Script
from stream.demo.stage import DemoStack
from stream.kafka.client import connection_options
from stream.kafka.offsets import committed_offsets
from stream.kafka.topics import TRANSACTIONS
from stream.telemetry.command_line import command_traced

VERDICT_SECONDS = 60.0
BACK_SECONDS = 120.0
IN_FLIGHT_LOOKS = 5_000
LOOK_SECONDS = 0.02
WATCH_LOOKS = 2_000
SHADOWED = 2
"""Under so many revisions a challenger is in the shadow: before the promotion, and in the watch after it."""
FOLD_SECONDS = 0.5
"""By then workers have read a verdict; a few payments of the revision before would only puzzle who looks on."""


class DemoModels(NamedTuple):
    """The two models, by digest: the one that begins, and the one that is to take over."""

    first: str
    second: str


class ScriptActions:
    """Does what the script says, when it says it."""

    def __init__(self, stage: DemoStack, script: Script, reader: Reader, cast: DemoModels) -> None:
        self.outage: Outage | None = None
        self.to_come = list(script.acts)
        self._stage = stage
        self._settings = stage.settings
        self._script = script
        self._board, self._lanes = reader.board, reader.lanes
        self._cast = cast

    async def begin(self) -> Event:
        """Make the first model live.

        Raises:
            DemoError: it was refused, or nobody answered.
        """
        return self._insist(await self._command(CommandKind.PROMOTE, self._cast.first, "the first of the demo"))

    async def challenge(self) -> Event:
        """Put the second model into the shadow, and let every worker hear of it; raises DemoError as `begin` does."""
        answer = self._insist(await self._command(CommandKind.CHALLENGE, self._cast.second, "to be seen beside it"))
        await asyncio.sleep(FOLD_SECONDS)
        return answer

    async def run(self) -> None:
        """Do each act at its time, or as soon as the one before it is over."""
        began = time.monotonic()
        deeds: dict[Act, Callable[[], Awaitable[object]]] = {
            Act.PROMOTE: self._promote,
            Act.KILL: self._kill,
            Act.ROLL_BACK: self._roll_back,
        }
        while self.to_come:
            await asyncio.sleep(began + self.to_come[0].seconds - time.monotonic())
            await deeds[self.to_come.pop(0).act]()

    async def _promote(self) -> Event | None:
        return await self._command(CommandKind.PROMOTE, self._cast.second, "mid-stream, to show that nothing stops")

    async def _roll_back(self) -> Event | None:
        """Roll back once the watch has shown something: a busy machine needs its time to start a challenger."""
        for _ in range(WATCH_LOOKS):
            if len(self._lanes.by_revision) >= SHADOWED:
                break
            await asyncio.sleep(LOOK_SECONDS)
        return await self._command(CommandKind.ROLL_BACK, None, "to show that the way back is open")

    async def _kill(self) -> None:
        """Kill the worker while payments are in its hands, start another at once, and wait until all is caught up."""
        for _ in range(IN_FLIGHT_LOOKS):
            if self._board.in_flight:
                break
            await asyncio.sleep(0.001)
        self.outage = Outage(killed_ms=now_ms(), in_flight=self._board.in_flight)
        self._stage.worker.kill()
        self._stage.worker.start()
        await self._until_caught_up(self.outage)

    async def _until_caught_up(self, outage: Outage) -> None:
        asking = asyncio.create_task(self._uncommitted())
        deadline = time.monotonic() + BACK_SECONDS
        calm = round(self._script.rate * CALM_SECONDS)
        try:
            while outage.caught_up_ms is None and time.monotonic() < deadline:
                self.outage = outage = outage.after(self._board, now_ms(), calm)
                if outage.uncommitted is None and asking.done():
                    self.outage = outage = outage.told(asking.result())
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            asking.cancel()

    async def _uncommitted(self) -> int | None:
        """Count the decisions whose offsets the dead worker did not live to commit; None where nobody says."""
        topic = self._settings.topic(TRANSACTIONS.name)
        asked = [TopicPartition(topic, partition) for partition in range(self._script.partitions)]
        admin = AIOKafkaAdminClient(**connection_options(self._settings))
        try:
            await admin.start()
            committed = await committed_offsets(self._settings, admin, asked)
        except KafkaError:
            return None
        finally:
            await admin.close()
        decided = {tp: self._board.offsets[tp.partition] for tp in asked if self._board.offsets.get(tp.partition)}
        return sum(max(offsets) + 1 - max(0, int(committed[tp].offset)) for tp, offsets in decided.items())

    def _insist(self, answer: Event | None) -> Event:
        if answer is not None and answer.kind is EventKind.ACCEPTED:
            return answer
        why = "no verdict" if answer is None else "; ".join(problem.detail for problem in answer.problems)
        raise DemoError(f"a command was not accepted: {why}; the worker's log ends:\n{self._stage.log_end()}")

    async def _command(self, kind: CommandKind, digest: str | None, reason: str) -> Event | None:
        wish = CommandRequest(
            kind=kind,
            model=digest,
            actor="demo",
            reason=reason,
            expected_revision=None,
            wait=VERDICT_SECONDS,
            force=False,
        )
        return (await command_traced(self._settings, wish))[1]
