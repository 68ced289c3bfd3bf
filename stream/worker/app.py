"""The Faust app of a worker: three agents over the batch transport, its web server, and the parts that they call.

`WorkerParts` makes every part with all that it needs; the app passes them batches, assignments and revocations.
"""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from functools import cached_property, partial
from itertools import chain
from typing import Any

import faust
from aiokafka import TopicPartition
from faust.app.base import BootStrategy
from faust.tables import TableManager
from faust.types import TP
from faust.web.drivers.aiohttp import Web
from mode.types import ServiceT

from features.redis.age import missing_days, young_history
from stream.clock import now_ms
from stream.engine.batches import Batch, counted
from stream.engine.fetch_thread import ConsumerOptions
from stream.engine.transport import BatchConsumer, BatchTransport
from stream.errors import SettingsError
from stream.kafka.client import client_id
from stream.kafka.topics import LABELS, MODEL_CONTROL, TRANSACTIONS
from stream.pages import address_problem
from stream.settings import Settings
from stream.telemetry.setup import Telemetry
from stream.watchdog import end_on_error, end_process
from stream.worker.fact_log import FactLog
from stream.worker.gauges import GaugeSources, Lag, LetThroughGauges
from stream.worker.lifecycle import Assignments, LifecycleLog
from stream.worker.parts import AppAccess, WorkerParts, degrades, is_withheld

_HEARTBEATS_A_SESSION = 3
_REQUEST_SECONDS = 40.0
_POLL_SECONDS = 300.0


def faust_options(settings: Settings) -> dict[str, Any]:
    """Return the options of a worker's app."""
    host, _, port = settings.http.rpartition(":")
    return {
        "broker": ";".join(f"kafka://{address}" for address in settings.brokers.split(",")),
        "autodiscover": False,
        "key_serializer": "raw",
        "value_serializer": "raw",
        "store": "memory://",
        "table_standby_replicas": 0,
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "broker_session_timeout": settings.session_timeout,
        "broker_heartbeat_interval": settings.session_timeout / _HEARTBEATS_A_SESSION,
        "broker_request_timeout": max(_REQUEST_SECONDS, settings.session_timeout + 1),
        "broker_rebalance_timeout": settings.drain_seconds + settings.session_timeout,
        "broker_max_poll_interval": _POLL_SECONDS,
        "broker_commit_interval": settings.commit_interval,
        "stream_wait_empty": True,
        "web_bind": host,
        "web_host": host,
        "web_port": int(port),
        "web_cors_options": None,
    }


class OwnPages(Web):
    """Serves the pages that are added to the app, and 404 for all else: none of Faust's own, whatever its settings.

    Faust's show topics, tables and addresses, and have no login.
    """

    default_blueprints = ()
    production_blueprints = ()
    debug_blueprints = ()
    optional_blueprints = ()

    async def start_server(self) -> None:
        """Bind the address.

        Raises:
            SettingsError: it cannot be bound, as when another worker on this machine has it.
        """
        try:
            await super().start_server()
        except OSError as error:
            raise SettingsError(address_problem(self.app.conf.web_bind, self.app.conf.web_port, error)) from error


def batch_agent(work_on: Callable[[Batch], Coroutine[Any, Any, None]]) -> Callable[[Any], Awaitable[None]]:
    """Return an agent that works on a batch of each lane of its topic at the same time.

    It reads its stream's channel: the stream counts and acknowledges events, which here the transport does for batches,
    and costs a turn of the event loop.
    """
    working: set[asyncio.Task[None]] = set()

    async def work(batch: Batch) -> None:
        try:
            await counted(work_on(batch), batch)
        except Exception as error:  # noqa: BLE001 - Faust would skip the batch and go on
            end_process(f"a batch of {batch.topic} failed unexpectedly: {error!r}")

    async def agent(stream: Any) -> None:  # noqa: ANN401 - Faust says that its channel has values, and it has events
        async for event in stream.channel:
            task = asyncio.create_task(work(event.value))
            working.add(task)
            task.add_done_callback(working.discard)
            task.add_done_callback(end_on_error)

    return agent


class Boot(BootStrategy):
    """Start the web server first, so that `/health/ready` answers during start-up; omit Faust's own producer."""

    enable_kafka_producer = False

    def server(self) -> Iterable[ServiceT]:
        """Return the services in the order in which they start."""
        app = self.app
        assert isinstance(app, WorkerApp)  # noqa: S101 - a wiring error, not an input
        return chain(
            self.sensors(),
            self.web_server(),
            [app.parts.startup],
            self.kafka_consumer(),
            self.agents(),
            self.kafka_conductor(),
            self.tables(),
        )


class NoTables(TableManager):
    """Starts at once. Faust's manager waits a second for tables that agents may declare; a worker has no tables."""

    async def on_start(self) -> None:
        """Do what Faust's manager does after its wait; the conductor subscribes to the topics only then."""
        if not self.should_stop:
            await self._update_channels()
            await self.recovery.start()


class WorkerApp(faust.App):
    """One worker of a deployment; `challenger_command` starts the challenger's process, the product's own if None."""

    BootStrategy = Boot

    def __init__(
        self, settings: Settings, telemetry: Telemetry, challenger_command: Sequence[str] | None = None
    ) -> None:
        super().__init__(settings.group, TableManager=NoTables, **faust_options(settings))
        self.settings = settings
        self.telemetry = telemetry
        access = AppAccess(self.created_consumer, self.current_consumer, self.reasons)
        self.facts = FactLog(telemetry.emit)
        watched = dataclasses.replace(telemetry, emit=self.facts)
        self.parts = WorkerParts(settings, watched, access, challenger_command)
        self.lifecycle = LifecycleLog(self.reasons, self.parts.lineup.follower, self.parts.lineup.models, self.facts)
        self._assignments = Assignments()
        self.lag = Lag(self.current_consumer)
        self._attach()
        telemetry.watch(self._gauge_sources().gauges())

    @cached_property
    def web(self) -> OwnPages:
        """The web server, in place of the one that Faust makes."""
        return OwnPages(self)

    def created_consumer(self) -> BatchConsumer:
        """Return the consumer that the transport has created."""
        consumer = self.consumer
        assert isinstance(consumer, BatchConsumer)  # noqa: S101 - a wiring error, not an input
        return consumer

    def current_consumer(self) -> BatchConsumer | None:
        """Return the consumer; None before Faust has created it."""
        return self._consumer if isinstance(self._consumer, BatchConsumer) else None

    def pulses(self) -> Mapping[str, int]:
        """Return a count for each lane of the consumer that rises while it works; none before the first poll."""
        consumer = self.current_consumer()
        return {} if consumer is None else consumer.pulses()

    def reasons(self) -> list[str]:
        """Return all reasons why this worker does not decide; empty when it is ready."""
        parts = self.parts
        if starting := parts.startup.reasons():
            return starting
        if not degrades(self.settings) and (incomplete := parts.repairer.reasons()):
            return incomplete
        inputs, lineup = parts.input, parts.lineup
        sources = (parts.kafka.group, inputs.published, lineup.cache, parts.decider, inputs.losses, lineup.judge,
                   parts.labeller, parts.predictions)  # fmt: skip
        aside = consumer.reasons() if (consumer := self.current_consumer()) else []
        return list(dict.fromkeys((*aside, *(reason for source in sources for reason in source.reasons()))))

    def warnings(self) -> list[str]:
        """Return what an operator should know although it keeps no worker from deciding."""
        return [
            *young_history(self.parts.histories.store.age.known, self.parts.look_back_days),
            *self.facts.notices.warnings(),
        ]

    def _gauge_sources(self) -> GaugeSources:
        parts = self.parts
        let_through = LetThroughGauges(parts.input.positions, parts.lineup.follower)
        return GaugeSources(
            settings=self.settings,
            topics=(
                *(self.settings.topic(one.name) for one in (TRANSACTIONS, LABELS, MODEL_CONTROL)),
                *parts.predictions.handlers,
            ),
            consumer=self.current_consumer,
            models=parts.lineup.models,
            lag=self.lag,
            reasons=self.reasons,
            incomplete=lambda: parts.histories.incomplete,
            open_parts=lambda: parts.histories.repair.pending_parts,
            damaged=lambda: parts.histories.repair.damaged,
            waiting_labels=lambda: parts.labeller.waiting,
            revision=lambda: parts.lineup.follower.lineup.revision,
            term=lambda: parts.input.positions.role.term.number,
            publishes=lambda: parts.input.positions.role.publishes,
            capped=parts.input.positions.capped,
            let_through_cap=let_through.cap,
            let_through_left=let_through.left,
            clock_is_behind=lambda: parts.decider.clock_is_behind,
            halted=lambda: parts.decider.halted,
            queued=lambda: parts.lineup.comparer.queued,
            cache_stats=lambda: parts.histories.store.cache_stats,
            lost_events=lambda: parts.lineup.follower.log.lost,
            unsaved_events=lambda: parts.lineup.snapshots.unsaved,
            review_days=lambda: parts.lineup.reviews.days(now_ms()),
            deviating=lambda: parts.input.topics.deviating,
            missing_days=lambda: missing_days(parts.histories.store.age.known, parts.look_back_days),
        )

    def _attach(self) -> None:
        """Register an agent for each topic, the transport, and the handlers of assignments and revocations."""
        handlers = {
            self.settings.topic(TRANSACTIONS.name): self.parts.decider.decide_batch,
            self.settings.topic(LABELS.name): self.parts.labeller.apply_batch,
            self.settings.topic(MODEL_CONTROL.name): self.parts.lineup.judge.judge_batch,
            **self.parts.predictions.handlers,
        }
        for topic, work_on in handlers.items():
            self.agent(self.topic(topic, value_type=bytes, value_serializer="raw", key_serializer="raw"), name=topic)(
                batch_agent(work_on)
            )
        withheld = partial(is_withheld, self.settings, self.parts.histories.decided)
        name, examine = client_id(self.settings), self.parts.input.losses.examine
        options = ConsumerOptions(
            self.settings, tuple(handlers), name, end_process, withheld, examine, self._held, self._bounds
        )
        self.transport = BatchTransport(self, options)
        self.on_partitions_assigned.connect(self._assigned)
        self.on_partitions_revoked.connect(self._revoked)

    def _held(self) -> Collection[TopicPartition]:
        """Return the partitions that may not be read now at all."""
        return self.parts.input.losses.held | self.parts.input.catch_up.held | self.parts.decider.held()

    def _bounds(self, topic: str, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Return from which offset on partitions may not be read now: what a silent deployment may not decide."""
        if topic != self.settings.topic(TRANSACTIONS.name):
            return {}
        bounds = self.parts.input.published.bounds()
        return {tp: bounds.get(tp.partition, 0) for tp in partitions} if bounds is not None else {}

    async def _assigned(self, *args: Any, **_: Any) -> None:  # noqa: ANN401 - Faust's signal: the app, the partitions
        assigned: set[TP] = args[1]
        transactions = self.settings.topic(TRANSACTIONS.name)
        partitions = [tp.partition for tp in assigned if tp.topic == transactions]
        self._assignments.assigned((TopicPartition(*tp) for tp in assigned), self.consumer_generation_id)
        self.parts.kafka.group.assigned()
        self.parts.input.published.assigned(partitions)
        self.parts.input.positions.assigned(self.consumer_generation_id, partitions)
        self.parts.input.losses.assigned([TopicPartition(*tp) for tp in assigned])
        self.parts.input.catch_up.assigned([TopicPartition(*tp) for tp in assigned])
        self.parts.repairer.assigned()
        self.parts.lineup.judge.assigned(owner=TP(self.settings.topic(MODEL_CONTROL.name), 0) in assigned)

    async def _revoked(self, *_: Any, **__: Any) -> None:  # noqa: ANN401 - Faust's signal
        self.parts.input.positions.revoked()
        self.parts.input.losses.revoked()
        self.parts.input.catch_up.revoked()
        self.parts.repairer.revoked()

    async def _stop_consumer(self) -> None:
        """Leave the group as soon as what had begun is committed: the rest of a worker's end takes longer."""
        if (consumer := self.current_consumer()) is not None:
            await consumer.hand_over()
        await super()._stop_consumer()

    def _on_rebalance_when_stopped(self) -> None:
        """Do nothing: Faust would close the consumer from the wrong thread, and it would not leave its group."""

    def _create_directories(self) -> None:
        """Create none: there are no tables."""
