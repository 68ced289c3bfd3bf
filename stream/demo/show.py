"""The part of the demo that is on the stream: warm the histories, go live while things happen, wait for the rest.

It publishes and commands from outside, as anybody would, and knows of the worker only whether it lives.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, TypeVar

from aiokafka import AIOKafkaProducer
from aiokafka.structs import RecordMetadata
from rich.console import RenderableType

from stream.clock import now_ms
from stream.dataset.injector import InjectionReport, Injector, ScheduledRecord
from stream.demo.errors import DemoError
from stream.demo.presenter import Draw, Presenter
from stream.demo.reader import Reader
from stream.demo.scoreboard import Place, Scoreboard, Truth
from stream.demo.screen import line, news, picture
from stream.demo.script import KEPT_SECONDS, Script
from stream.demo.script_actions import DemoModels, ScriptActions
from stream.demo.stage import DemoStack
from stream.demo.traffic import Traffic, take
from stream.demo.view import View
from stream.kafka.client import producer_options

DRAW_SECONDS = 0.25
PATIENCE_SECONDS = 20.0
"""So long nothing may be decided while something is owed."""
WARM_AHEAD = 4_000
"""The backlog is fed so far ahead of the decisions: more would only be held in memory twice."""
ENCORES = 60
"""If an act was late, the stream goes on for at most so many seconds, for its revision to be seen everywhere."""
NEARLY_OVER = 0.97
"""At this share of the live stream its picture has most to show."""

Result = TypeVar("Result")
Keep = Callable[[RenderableType], None]


class Shown(NamedTuple):
    """What is there at the end: the last view, how the live stream went out, and how much could not be read."""

    view: View
    injected: InjectionReport
    unreadable: int


class Show:
    """One run on the stream. `models` names each digest: first the one that begins, then the one that takes over."""

    def __init__(self, stage: DemoStack, script: Script, traffic: Traffic, models: dict[str, str]) -> None:
        self.board = Scoreboard()
        self._stage = stage
        self._settings = stage.settings
        self._script = script
        self._traffic = traffic
        self._live = traffic.live()
        self._models = models
        self._reader = Reader(self._settings, script.partitions, self.board)
        self._acting = ScriptActions(stage, script, self._reader, DemoModels(*models))
        self._began_ms = 0

    async def run(self, presenter: Presenter, keep: Keep) -> Shown:
        """Do everything; `keep` is given the picture once, near the end of the live stream.

        Raises:
            DemoError: the worker died unasked, did not keep up, or refused a model before the stream went live.
            KafkaError: the broker does not answer.
        """
        return await first_of(self._flow(presenter, keep), first_of(self._reader.run(), self._guard()))

    @property
    def second(self) -> str:
        """The digest of the model that takes over, and is rolled back."""
        return list(self._models)[1]

    async def keep_on(self) -> None:
        """Go on publishing until cancelled, or until the simulated days are over."""
        async with self._producer() as producer:
            injector = Injector(producer, self._script.rate, lambda _item, _due: None, lambda _item, _place: None)
            await injector.run(take(self._live, int(self._script.rate * KEPT_SECONDS)))

    async def _flow(self, presenter: Presenter, keep: Keep) -> Shown:
        first, second = self._models.values()
        with presenter.step(f"promote {first} through the control topic") as step:
            step.result = f"revision {(await self._acting.begin()).revision}"
        async with self._producer() as producer:
            await self._warm(producer, presenter)
            with presenter.step(f"put {second} into the shadow") as step:
                step.result = f"revision {(await self._acting.challenge()).revision}"
            with presenter.screen() as draw:
                injected = await first_of(self._go_live(producer), self._look(draw, presenter, keep))
                draw(lambda: picture(self._view()), lambda: line(self._view()))
        return Shown(self._view(), injected, self._reader.valid.unreadable + self._reader.unreadable)

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

    async def _go_live(self, producer: AIOKafkaProducer) -> InjectionReport:
        """Publish at the rate while things happen, and wait for what is owed then."""
        injector = self._injector(producer, self._script.rate, live=True)
        self._began_ms = now_ms()
        acting = asyncio.create_task(self._acting.run())
        try:
            injected = await injector.run(take(self._live, self._script.live_count))
            await self._encore(injector, acting)
            await acting
        finally:
            acting.cancel()
        await self._until_owing(0)
        return injected

    async def _encore(self, injector: Injector, acting: asyncio.Task[None]) -> None:
        """Go on for as long as something is to come, or the newest revision has not decided everywhere, if it may."""
        for _ in range(ENCORES):
            newest = max((change.revision or 0 for change in self._reader.chronicle.changes), default=0)
            seen = all(newest in self.board.first_offsets[number] for number in range(self._script.partitions))
            if acting.done() and seen:
                return
            await injector.run(take(self._live, int(self._script.rate)))

    # --- beside

    async def _guard(self) -> None:
        """Notice a worker that dies unasked, whatever is waited for; one that is killed is replaced at once."""
        while True:
            self._stage.check()
            await asyncio.sleep(DRAW_SECONDS)

    async def _look(self, draw: Draw, presenter: Presenter, keep: Keep) -> None:
        """Draw, say what has happened as soon as it is over, and keep one picture of when there is most to see."""
        told: set[str] = set()
        kept = False
        while True:
            view = self._view()
            draw(lambda: picture(self._view()), lambda: line(self._view()))
            for text in [text for text in news(view) if text not in told]:
                presenter.note(text)
                told.add(text)
            if not kept and view.done >= NEARLY_OVER * view.total and not view.to_come:
                keep(picture(view))
                kept = True
            await asyncio.sleep(DRAW_SECONDS)

    async def _until_owing(self, most: int) -> bool:
        """Wait until no more than so many are undecided; False if nothing has been decided for too long."""
        last, seen = time.monotonic(), len(self.board.decided)
        while self.board.in_flight > most:
            await asyncio.sleep(0.02)
            if len(self.board.decided) != seen:
                last, seen = time.monotonic(), len(self.board.decided)
            elif time.monotonic() - last > PATIENCE_SECONDS:
                return False
        return True

    def _view(self) -> View:
        return View(
            board=self.board,
            lanes=self._reader.lanes,
            chronicle=self._reader.chronicle,
            outage=self._acting.outage,
            models=self._models,
            partitions=self._script.partitions,
            done=len(self.board.truths) - self._traffic.warm_count,
            total=self._script.live_count,
            began_ms=self._began_ms,
            now_ms=now_ms(),
            simulated_at=self._traffic.simulated_at,
            labels=self._traffic.labels,
            void=self._reader.valid.void,
            to_come=tuple(self._acting.to_come),
        )

    def _injector(self, producer: AIOKafkaProducer, rate: float | None, *, live: bool) -> Injector:
        def due(item: ScheduledRecord, due_ms: int) -> None:
            if item.name:
                self.board.due(item.name, Truth(self._traffic.patterns.pop(item.name), live, due_ms))

        def acknowledged(item: ScheduledRecord, placed: RecordMetadata) -> None:
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
