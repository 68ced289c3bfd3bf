"""The part of the demo on Kafka: fill the histories, publish live payments while the operator acts, wait for the rest.

It publishes, commands and reads from outside, as any client would; of the worker it checks only whether it runs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, TypeVar

from aiokafka.structs import RecordMetadata

from fraudstream.demo.canary import canary_facts
from fraudstream.demo.errors import DemoError
from fraudstream.demo.operator import Operator
from fraudstream.demo.panel import line, panel
from fraudstream.demo.plan import KEPT_SECONDS, Action, DemoPlan
from fraudstream.demo.presenter import Draw, Presenter
from fraudstream.demo.reader import Reader
from fraudstream.demo.scoreboard import FIRST_TERM, GroundTruth, Place, Scoreboard, TermRevision
from fraudstream.demo.script import script
from fraudstream.demo.shell import typed
from fraudstream.demo.stack import DemoStack
from fraudstream.demo.timeline import act_lines, news
from fraudstream.demo.traffic import Traffic, until_transaction
from fraudstream.demo.view import View
from fraudstream.lab.dataset.injector import InjectionReport, Injector, ScheduledRecord
from fraudstream.ops.rollout.deployments.publishers import publishers_of
from stream.clock import now_ms
from stream.kafka.client import producer_options
from stream.kafka.stray import PlainProducer
from stream.kafka.topics import silent_scores
from stream.tasks import end_tasks

DRAW_SECONDS = 0.25
PATIENCE_SECONDS = 20.0
"""The run fails if nothing is decided for so long while transactions are undecided."""
MOST_LAST = 200
"""So many payments are sent at most until each partition has had one of its own."""
WARM_AHEAD = 4_000
"""The history is published so far ahead of the decisions; more would only take memory."""

Result = TypeVar("Result")


class LiveResult(NamedTuple):
    """The end of a run: the last view, how the live stream was sent, and how many records could not be parsed."""

    view: View
    injected: InjectionReport
    unreadable: int


class LiveRun:
    """One run. `models` maps digests to names: of the model that is live first, of the promoted, and of the bad one."""

    def __init__(self, stack: DemoStack, plan: DemoPlan, traffic: Traffic, models: dict[str, str]) -> None:
        self.board = Scoreboard()
        self._stack = stack
        self._settings = stack.settings
        self._plan = plan
        self._traffic = traffic
        self._live = traffic.live()
        self._models = models
        silent_topic = silent_scores(stack.green.settings).name if plan.blue_green else None
        self._reader = Reader(self._settings, plan.partitions, self.board, silent_topic)
        self._acts = script(*models)
        self._operator = Operator(stack, plan, self._reader, self._acts)
        self._began_ms = 0

    async def run(self, presenter: Presenter) -> LiveResult:
        """Do everything.

        Raises:
            DemoError: the worker exited, did not keep up, or refused a model before the stream went live.
            KafkaError: the broker does not answer.
        """
        return await first_of(self._flow(presenter), first_of(self._reader.run(), self._guard()))

    @property
    def second(self) -> str:
        """The digest of the model that is promoted and rolled back."""
        return list(self._models)[1]

    @property
    def has_second_fleet(self) -> bool:
        """Whether another fleet was started beside the first one."""
        return self._plan.blue_green

    async def continue_live(self) -> None:
        """Go on publishing until cancelled, or until the simulated days are over."""
        async with self._producer() as producer:
            injector = Injector(
                producer, self._plan.rate, lambda _scheduled, _due: None, lambda _scheduled, _place: None
            )
            await injector.run(until_transaction(self._live, int(self._plan.rate * KEPT_SECONDS)))

    async def _flow(self, presenter: Presenter) -> LiveResult:
        await self._prepare(Action.GO_LIVE, presenter)
        async with self._producer() as producer:
            await self._warm(producer, presenter)
            await self._prepare(Action.CHALLENGE, presenter)
            with presenter.live() as draw:
                injected = await first_of(self._go_live(producer), self._show(draw, presenter))
                draw(lambda: panel(self._view()), lambda: line(self._view()))
        return LiveResult(self._view(), injected, self._reader.valid.unreadable + self._reader.unreadable)

    async def _prepare(self, action: Action, presenter: Presenter) -> None:
        act = self._acts[action]
        with presenter.step(action.value, typed(act.commands[-1])) as step:
            run = await self._operator.prepare(action)
            step.result = f"revision {run.facts['revision']}; look: {typed(act.look)}"

    # --- what is published

    async def _warm(self, producer: PlainProducer, presenter: Presenter) -> None:
        """Publish the last days of the history as fast as they are decided, then their labels."""
        count, began = self._traffic.warm_count, time.monotonic()
        if not count:
            return
        with presenter.step(f"fill the histories with the last {self._plan.warm_days} days") as step:
            injector = self._injector(producer, None, live=False)
            items = self._traffic.warm()
            while len(self.board.truths) < count:
                await injector.run(until_transaction(items, WARM_AHEAD // 2))
                await self._await_undecided(WARM_AHEAD // 2)
                step.advance(f"{len(self.board.decided):,} of {count:,}", len(self.board.decided), count)
            if not await self._await_undecided(0):
                raise DemoError(f"{self.board.in_flight} of {count} transactions are not decided")
            seconds = time.monotonic() - began
            await injector.run(self._traffic.warm_labels())
            step.result = f"{count:,} transactions, {count / seconds:,.0f} a second; {self._traffic.labels} labels"

    async def _go_live(self, producer: PlainProducer) -> InjectionReport:
        """Publish at the rate while the operator acts, then wait until everything is decided."""
        injector = self._injector(producer, self._plan.rate, live=True)
        self._began_ms = now_ms()
        operator = asyncio.create_task(self._operator.run())
        try:
            injected = await injector.run(until_transaction(self._live, self._plan.live_count))
            await self._extend(injector, operator)
            await operator
        finally:
            operator.cancel()
        await self._await_undecided(0)
        await self._send_one_at_a_time(injector)
        return injected

    async def _send_one_at_a_time(self, injector: Injector) -> None:
        """Publish the last payments of each partition each after the decision before.

        The embedded broker gives the first record of a partition's last batch for its end (docs/decisions/0002), so
        that `topics audit` would not read the rest of a larger one.
        """
        ended = set[int]()
        for _ in range(MOST_LAST):
            if len(ended) == self._plan.partitions:
                return
            await injector.run(until_transaction(self._live, 1))
            if not await self._await_undecided(0):
                return
            ended.add(next(reversed(self.board.published.values())).partition)

    async def _extend(self, injector: Injector, operator: asyncio.Task[None]) -> None:
        """Go on publishing while an action is pending, or until the newest revision has decided in every partition."""
        for _ in range(self._plan.extra_seconds):
            if operator.done() and self._newest_decided():
                return
            await injector.run(until_transaction(self._live, int(self._plan.rate)))

    def _newest_decided(self) -> bool:
        """Tell whether each partition has a decision of the newest revision, and of the newest term."""
        newest = max((record.revision or 0 for record in self._reader.commands.records), default=0)
        wanted = TermRevision(FIRST_TERM, newest)
        term = publishers_of(self._reader.events).term.number
        return all(
            wanted in self.board.first_offsets[number] and self.board.first_of_term(number, term) is not None
            for number in range(self._plan.partitions)
        )

    # --- what runs beside

    async def _guard(self) -> None:
        """Raise DemoError if the worker exits; one that the operator kills is replaced at once."""
        while True:
            self._stack.check()
            await asyncio.sleep(DRAW_SECONDS)

    async def _show(self, draw: Draw, presenter: Presenter) -> None:
        """Redraw the panel, and print each act when it begins, and what has happened once its result is final."""
        acts, printed = len(self._operator.begun), set[str]()
        while True:
            draw(lambda: panel(self._view()), lambda: line(self._view()))
            for act in self._operator.begun[acts:]:
                acts += 1
                for text in act_lines(act):
                    presenter.note(text)
            for text in [text for text in news(self._view()) if text not in printed]:
                presenter.note(text)
                printed.add(text)
            await asyncio.sleep(DRAW_SECONDS)

    async def _await_undecided(self, most: int) -> bool:
        """Wait until at most `most` are undecided; False if nothing has been decided for too long."""
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
            comparisons=self._reader.comparisons,
            commands=self._reader.commands,
            outage=self._operator.outage,
            models=self._models,
            partitions=self._plan.partitions,
            done=len(self.board.truths) - self._traffic.warm_count,
            total=self._plan.live_count,
            began_ms=self._began_ms,
            now_ms=now_ms(),
            simulated_at=self._traffic.simulated_at,
            labels=self._traffic.labels,
            void=self._reader.valid.void,
            planned=tuple(self._operator.planned),
            begun=tuple(self._operator.begun),
            runs=tuple(self._operator.runs),
            canary=canary_facts(self.board.armed, self._reader.commands),
            has_canary=not self._plan.blue_green,
            blue_green=self._operator.blue_green.state if self._plan.blue_green else None,
        )

    def _injector(self, producer: PlainProducer, rate: float | None, *, live: bool) -> Injector:
        def due(scheduled: ScheduledRecord, due_ms: int) -> None:
            if scheduled.name:
                self.board.due(scheduled.name, GroundTruth(self._traffic.patterns.pop(scheduled.name), live, due_ms))

        def acknowledged(scheduled: ScheduledRecord, placed: RecordMetadata) -> None:
            if scheduled.name:
                self.board.acknowledge(scheduled.name, Place(placed.partition, placed.offset))

        return Injector(producer, rate, due, acknowledged)

    @asynccontextmanager
    async def _producer(self) -> AsyncIterator[PlainProducer]:
        producer = PlainProducer(**producer_options(self._settings))
        try:
            await producer.start()
            yield producer
        finally:
            await producer.stop()


async def first_of(main: Coroutine[Any, Any, Result], beside: Coroutine[Any, Any, None]) -> Result:
    """Return the result of `main`; `beside` runs as long, and its error is raised if it fails first."""
    leading, following = asyncio.create_task(main), asyncio.create_task(beside)
    try:
        await asyncio.wait({leading, following}, return_when=asyncio.FIRST_COMPLETED)
        if not leading.done():
            following.result()
        return await leading
    finally:
        await end_tasks(leading, following)
