"""The Faust app: three agents over the batch transport, and the web endpoints.

Here is the wiring and nothing else; what each part does is on its own page.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import faust
from aiokafka.admin import AIOKafkaAdminClient
from faust.app.base import BootStrategy
from faust.types import TP
from mode.types import ServiceT

from features.errors import StoreRefusedError
from features.history.store import Entity, HistoryStore
from features.memory_store import MemoryStore
from features.redis.store import RedisStore, StoreOptions
from features.vector.sets import FeatureSets, load_sets
from models.repository import Repository
from stream.challenger.comparer import Comparer
from stream.clock import now_ms
from stream.control.judge import Judge, JudgeDeps
from stream.control.model_cache import ModelCache, ModelLoader
from stream.control.probes import probe_vectorisers
from stream.errors import SettingsError
from stream.kafka.batches import Batch
from stream.kafka.client import client_id, connection_options
from stream.kafka.fetch_thread import ConsumerOptions
from stream.kafka.topics import LABELS, MODEL_CONTROL, TRANSACTIONS
from stream.kafka.transport import BatchConsumer, BatchTransport
from stream.pipeline import Pipeline
from stream.recovery.outage import DegradingStore, WaitingStore
from stream.recovery.repairer import Repairer, RepairerDeps, WarmupCheck, needed_horizons
from stream.settings import PREFIX, Settings
from stream.telemetry.setup import Telemetry
from stream.watchdog import end_process
from stream.worker.decider import Decider, DeciderDeps
from stream.worker.gauges import GaugeSources, Lag
from stream.worker.labeller import Labeller
from stream.worker.startup import Startup

_HEARTBEATS_A_SESSION = 3
_REQUEST_SECONDS = 40.0
_POLL_SECONDS = 300.0


class Boot(BootStrategy):
    """Web first, so that a worker that waits can say why; Faust's own producer is not used."""

    enable_kafka_producer = False

    def server(self) -> Iterable[ServiceT]:
        """Return what starts, in this order."""
        app = self.app
        assert isinstance(app, WorkerApp)  # noqa: S101 - a wiring error, not an input
        return chain(
            self.sensors(),
            self.web_server(),
            [app.preparation],
            self.kafka_consumer(),
            self.agents(),
            self.kafka_conductor(),
            self.tables(),
        )


class WorkerApp(faust.App):
    """One worker of a deployment; `challenger_command` is the challenger's process, the product's where it is None."""

    BootStrategy = Boot

    def __init__(
        self, settings: Settings, telemetry: Telemetry, challenger_command: Sequence[str] | None = None
    ) -> None:
        super().__init__(settings.group, **_faust_options(settings))
        self.settings = settings
        self.telemetry = telemetry
        features = load_sets(settings.features)
        store = _store(settings, features, lambda: needed_horizons(features, self.shelf.serving()))
        admin = AIOKafkaAdminClient(**connection_options(settings))
        self.histories = degrading(settings, features, store)
        self.preparation = Startup(settings, admin, store, self._catch_up)
        warming = WarmupCheck(features, store, lambda: self.repairer.progress_text)
        loader = ModelLoader(
            Repository(settings.models), probe_vectorisers(features), settings.worker_id, warming.problems
        )
        follower, publisher = self.preparation.follower, self.preparation.publisher
        follower.operations = telemetry.operations
        self.shelf = self.preparation.shelf = ModelCache(follower, loader, publisher)
        self.comparer = self.preparation.comparer = Comparer(
            settings, follower, telemetry.emit, challenger_command, warming.problems
        )
        self.judge = Judge(JudgeDeps(settings, follower, loader, publisher, admin))
        self.labeller = Labeller(settings, self.histories, publisher, telemetry.emit, telemetry.tracing)
        self.decider = Decider(
            DeciderDeps(
                settings,
                Pipeline(settings, features, self.histories),
                self.shelf,
                follower,
                publisher,
                admin,
                self.batch_consumer,
                lambda: self.judge.settled and (self.degrades or not store.incomplete),
                telemetry.emit,
                telemetry.tracing,
                self.comparer,
            )
        )
        self.repairer = self.preparation.repairer = Repairer(
            RepairerDeps(
                settings, features, store, self.begun_consumer, self.decider.decided, self._withheld, telemetry.emit
            )
        )
        self.lag = Lag(self.begun_consumer)
        self._attach()
        telemetry.watch(self._watched(store).gauges())

    @property
    def degrades(self) -> bool:
        """Whether decisions go on without histories where those are away or not whole."""
        return self.settings.redis_down == "degrade"

    def batch_consumer(self) -> BatchConsumer:
        """Return the consumer that the transport made."""
        consumer = self.consumer
        assert isinstance(consumer, BatchConsumer)  # noqa: S101 - a wiring error, not an input
        return consumer

    def begun_consumer(self) -> BatchConsumer | None:
        """Return the consumer; None before Faust has made it."""
        return self._consumer if isinstance(self._consumer, BatchConsumer) else None

    def polls(self) -> int:
        """Return how often records were looked for; 0 before that begins."""
        consumer = self.begun_consumer()
        return 0 if consumer is None else consumer.polls

    def reasons(self) -> list[str]:
        """Say everything that keeps this worker from deciding; empty when it is ready."""
        waiting = self.preparation.reasons()
        if waiting:
            return waiting
        lacking = [] if self.degrades else self.repairer.reasons()
        parts = (self.shelf, self.decider, self.judge, self.labeller)
        return lacking or [reason for part in parts for reason in part.reasons()]

    async def _catch_up(self) -> None:
        if isinstance(self.histories, DegradingStore):
            await self.histories.catch_up()

    def _withheld(self, topic: str) -> bool:
        """Tell whether decisions of a topic are not in Redis yet: whoever goes on behind us has to apply them."""
        behind = isinstance(self.histories, DegradingStore) and self.histories.has_pending
        return behind and topic == self.settings.topic(TRANSACTIONS.name)

    def _watched(self, store: RedisStore) -> GaugeSources:
        """Say where the gauges look."""
        histories = self.histories
        return GaugeSources(
            topics=tuple(self.settings.topic(one.name) for one in (TRANSACTIONS, LABELS, MODEL_CONTROL)),
            consumer=self.begun_consumer,
            shelf=self.shelf,
            lag=self.lag,
            reasons=self.reasons,
            incomplete=lambda: store.incomplete or (isinstance(histories, DegradingStore) and histories.degraded),
            open_parts=lambda: self.repairer.pending_parts,
            revision=lambda: self.preparation.follower.lineup.revision,
            queued=lambda: self.comparer.queued,
            remembered=lambda: store.cache_stats,
        )

    def _attach(self) -> None:
        """Give each topic its agent, and hear of assignments."""
        takers = {
            self.settings.topic(TRANSACTIONS.name): self.decider.take,
            self.settings.topic(LABELS.name): self.labeller.take,
            self.settings.topic(MODEL_CONTROL.name): self.judge.take,
        }
        for topic, take in takers.items():
            self.agent(self.topic(topic, value_type=bytes, value_serializer="raw", key_serializer="raw"), name=topic)(
                _agent(take)
            )
        name = client_id(self.settings.worker_id)
        consumption = ConsumerOptions(self.settings, tuple(takers), name, end_process, self._withheld)
        self.transport = BatchTransport(self, consumption)
        self.on_partitions_assigned.connect(self._assigned)
        self.on_partitions_revoked.connect(self._revoked)

    async def _assigned(self, *args: Any, **_: Any) -> None:  # noqa: ANN401 - Faust's signal: the app, the partitions
        assigned: set[TP] = args[1]
        transactions = self.settings.topic(TRANSACTIONS.name)
        self.decider.assigned(
            self.consumer_generation_id, [tp.partition for tp in assigned if tp.topic == transactions]
        )
        self.repairer.assigned()
        self.judge.assigned(owner=TP(self.settings.topic(MODEL_CONTROL.name), 0) in assigned)

    async def _revoked(self, *_: Any, **__: Any) -> None:  # noqa: ANN401 - Faust's signal
        self.decider.revoked()
        self.repairer.revoked()

    def _create_directories(self) -> None:
        """Keep nothing on disk: there are no tables."""


def _store(settings: Settings, features: FeatureSets, looks_back: Callable[[], Mapping[Entity, int]]) -> RedisStore:
    """Return the store on Redis, not connected yet; `looks_back` tells how far back histories are needed at a moment.

    Raises:
        SettingsError: no server can be reached by this URL.
    """
    try:
        options = StoreOptions(cache_bytes=settings.cache_mb << 20, needed=looks_back)
        return RedisStore(settings.redis_url, settings.deployment, features, now_ms, options)
    except StoreRefusedError as error:
        raise SettingsError(f"{PREFIX}REDIS_URL: {error}") from error


def degrading(settings: Settings, features: FeatureSets, store: RedisStore) -> HistoryStore:
    """Return the store that decisions ask: one that waits for Redis, or goes on without it where that is wanted."""
    if settings.redis_down == "degrade":
        inner = WaitingStore(store, labels_alone=True)
        return DegradingStore(inner, lambda: MemoryStore(features, store.cached_copy, store.state.retentions))
    return WaitingStore(store)


def _agent(take: Callable[[Batch], Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
    async def agent(stream: AsyncIterator[Batch]) -> None:
        async for batch in stream:
            try:
                await take(batch)
            except Exception as error:  # noqa: BLE001 - Faust goes on behind an agent that raised
                end_process(f"a batch of {batch.topic} failed in a way that nothing foresaw: {error!r}")

    return agent


def _faust_options(settings: Settings) -> dict[str, Any]:
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
