"""The part of the demo that is on the stream: warm the histories, go live, promote in the middle, wait for the rest.

It publishes and commands from outside, as anybody would, and knows of the worker only whether it lives.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, TypeVar

from aiokafka import AIOKafkaProducer
from aiokafka.structs import RecordMetadata

from models.commands import CommandKind, Event, EventKind
from stream.clock import now_ms
from stream.commanding import Wish, command_fleet, read_log
from stream.demo.errors import DemoError
from stream.demo.presenting import Draw, Presenter
from stream.demo.reading import Reader
from stream.demo.scoreboard import Place, Scoreboard, Truth
from stream.demo.screen import Promotion, View, line, picture
from stream.demo.script import KEPT_SECONDS, Script
from stream.demo.stage import Stage
from stream.demo.traffic import Traffic, take
from stream.injecting import Injected, Injector, Item
from stream.kafka import producer_options

DRAW_SECONDS = 0.25
PATIENCE_SECONDS = 20.0
"""So long nothing may be decided while something is owed."""
VERDICT_SECONDS = 30.0
WARM_AHEAD = 4_000
"""The backlog is fed so far ahead of the decisions: more would only be held in memory twice."""

Result = TypeVar("Result")


class Show:
    """One run on the stream. `models` names each digest: first the one that begins, then the one that takes over."""

    def __init__(self, stage: Stage, script: Script, traffic: Traffic, models: dict[str, str]) -> None:
        self.board = Scoreboard()
        self._stage = stage
        self._settings = stage.settings
        self._script = script
        self._traffic = traffic
        self._live = traffic.live()
        self._models = models
        self._reader = Reader(self._settings, script.partitions, self.board)
        self._promotion: Promotion | None = None

    async def run(self, presenter: Presenter) -> tuple[View, Injected, list[Event], int]:
        """Do everything, and return the last view, what was injected, all events, and how many scores were unreadable.

        Raises:
            DemoError: the worker died, did not keep up, or refused the first model.
            KafkaError: the broker does not answer.
        """
        return await first_of(self._flow(presenter), self._reader.run())

    async def keep_on(self) -> None:
        """Go on publishing until cancelled, or until the simulated days are over."""
        async with self._producer() as producer:
            injector = Injector(producer, self._script.rate, lambda _item, _due: None, lambda _item, _place: None)
            await injector.run(take(self._live, int(self._script.rate * KEPT_SECONDS)))

    async def _flow(self, presenter: Presenter) -> tuple[View, Injected, list[Event], int]:
        first, second = self._models
        with presenter.step(f"promote {self._models[first]} through the control topic") as step:
            step.result = f"revision {(await self._promote(first)).revision}"
        async with self._producer() as producer:
            await self._warm(producer, presenter)
            with presenter.screen() as draw:
                injected = await first_of(self._go_live(producer, second), self._draw(draw))
                draw(lambda: picture(self._view()), lambda: line(self._view()))
        return self._view(), injected, await read_log(self._settings), self._reader.valid.unreadable

    # --- the acts

    async def _warm(self, producer: AIOKafkaProducer, presenter: Presenter) -> None:
        """Publish the last days of the history, as fast as they are decided, and then their labels."""
        count, began = self._traffic.warm_count, time.monotonic()
        if not count:
            return
        with presenter.step(f"fill the histories with the last {self._script.warm_days} days") as step:
            injector = self._injector(producer, None, live=False)
            items = self._traffic.warm()
            while len(self.board.truths) < count:
                await injector.run(take(items, WARM_AHEAD // 2))
                await self._until_owing(WARM_AHEAD // 2)
                step.advance(f"{len(self.board.decided):,} of {count:,}", len(self.board.decided), count)
            if not await self._until_owing(0):
                raise DemoError(f"of {count} transactions, {self.board.in_flight} are not decided")
            seconds = time.monotonic() - began
            await injector.run(self._traffic.warm_labels())
            step.result = f"{count:,} transactions, {count / seconds:,.0f} a second; {self._traffic.labels} labels"

    async def _go_live(self, producer: AIOKafkaProducer, second: str) -> Injected:
        """Publish at the rate, promote in the middle, and wait for what is owed then."""
        injector = self._injector(producer, self._script.rate, live=True)
        promoting = asyncio.create_task(self._promote_midway(second))
        try:
            injected = await injector.run(take(self._live, self._script.live_count))
            await promoting
        finally:
            promoting.cancel()
        await self._until_owing(0)
        return injected

    async def _promote_midway(self, digest: str) -> None:
        await asyncio.sleep(self._script.seconds / 2)
        self._promotion = asked = Promotion(digest, now_ms())
        answer = await self._command(digest, "mid-stream, to show that nothing stops")
        self._promotion = replace(asked, answer=answer, answered_ms=now_ms())

    async def _promote(self, digest: str) -> Event:
        answer = await self._command(digest, "the first of the demo")
        if answer is None or answer.kind is not EventKind.ACCEPTED:
            why = "no verdict" if answer is None else "; ".join(problem.detail for problem in answer.problems)
            raise DemoError(
                f"{self._models[digest]} was not promoted: {why}; the worker's log ends:\n{self._stage.log_end()}"
            )
        return answer

    async def _command(self, digest: str, reason: str) -> Event | None:
        wish = Wish(
            kind=CommandKind.PROMOTE,
            model=digest,
            actor="demo",
            reason=reason,
            expected_revision=None,
            wait=VERDICT_SECONDS,
            force=False,
        )
        return (await command_fleet(self._settings, wish))[1]

    # --- beside

    async def _draw(self, draw: Draw) -> None:
        while True:
            self._stage.check()
            draw(lambda: picture(self._view()), lambda: line(self._view()))
            await asyncio.sleep(DRAW_SECONDS)

    async def _until_owing(self, most: int) -> bool:
        """Wait until no more than so many are undecided; False if nothing has been decided for too long."""
        last, seen = time.monotonic(), len(self.board.decided)
        while self.board.in_flight > most:
            self._stage.check()
            await asyncio.sleep(0.02)
            if len(self.board.decided) != seen:
                last, seen = time.monotonic(), len(self.board.decided)
            elif time.monotonic() - last > PATIENCE_SECONDS:
                return False
        return True

    def _view(self) -> View:
        return View(
            board=self.board,
            models=self._models,
            partitions=self._script.partitions,
            done=len(self.board.truths) - self._traffic.warm_count,
            total=self._script.live_count,
            now_ms=now_ms(),
            simulated_at=self._traffic.simulated_at,
            labels=self._traffic.labels,
            void=self._reader.valid.void,
            promotion=self._promotion,
        )

    def _injector(self, producer: AIOKafkaProducer, rate: float | None, *, live: bool) -> Injector:
        def due(item: Item, due_ms: int) -> None:
            if item.name:
                self.board.due(item.name, Truth(self._traffic.patterns.pop(item.name), live, due_ms))

        def acknowledged(item: Item, placed: RecordMetadata) -> None:
            if item.name:
                self.board.acknowledge(item.name, Place(placed.partition, placed.offset))

        return Injector(producer, rate, due, acknowledged)

    @asynccontextmanager
    async def _producer(self) -> AsyncIterator[AIOKafkaProducer]:
        producer = AIOKafkaProducer(**producer_options(self._settings))
        await producer.start()
        try:
            yield producer
        finally:
            await producer.stop()


async def first_of(main: Coroutine[Any, Any, Result], beside: Coroutine[Any, Any, None]) -> Result:
    """Return what `main` comes to; `beside` runs as long, and if it fails first, that is raised instead."""
    leading, following = asyncio.create_task(main), asyncio.create_task(beside)
    try:
        await asyncio.wait({leading, following}, return_when=asyncio.FIRST_COMPLETED)
        if not leading.done():
            following.result()
        return await leading
    finally:
        leading.cancel()
        following.cancel()
        await asyncio.gather(leading, following, return_exceptions=True)
