"""Start-up: connects to Kafka and Redis, checks the topics and reads the control log before the group is joined.

Each step is retried until it succeeds, and is the reason at `/health/ready` until then. Afterwards the same service
runs the worker's background work.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from mode import Service

from features.errors import StoreRefusedError, StoreUnavailableError
from features.redis.store import RedisStore
from stream.challenger.comparer import Comparer
from stream.control.announcements import OwnRecord
from stream.control.estate import Estate
from stream.control.follower import Follower
from stream.control.model_cache import ModelCache
from stream.control.snapshots import Snapshots
from stream.engine.publisher import Publisher
from stream.errors import NotReadyError
from stream.fates import Phase, is_retried
from stream.kafka.client import explain_error
from stream.kafka.stray import given_up_as_error
from stream.kafka.token_sources import login_trouble
from stream.kafka.topic_settings import TopicWatch
from stream.kafka.topics import DEAD_LETTERS, SCORES, check_readable, problems, risks
from stream.positions.inputs import has_filled_histories
from stream.recovery.outage import DegradingStore, WaitingStore
from stream.settings import Settings
from stream.tasks import both, end_tasks, failure_of, timeout_at_tick, until_tick
from stream.worker.commit_copies import CommitCopier
from stream.worker.group import GroupCheck

log = logging.getLogger("fraudstream.startup")

_REDIS = "Redis"
_RETRY_SECONDS = 1.0
_TRIM_SECONDS = 1.0
_CHECK_SECONDS = 0.5
_FIRST_REPEAT_SECONDS, _LONGEST_REPEAT_SECONDS = 0.05, 0.2
"""So soon a look at Redis that failed is repeated: a server that restarted is back within that time."""
_SUBSCRIBE_SECONDS = 10.0
_LOAD_SECONDS = 10.0
"""So long a worker that does not have its models yet leaves its share of partitions to the others."""


Work = Callable[[], Coroutine[None, None, None]]
"""Runs for ever, once it is called."""


class Startup(Service):
    """Starts before the consumer does, and has started when the worker may join its group.

    It connects and checks the parts that it is given, and runs their background work, and that of others in
    `background`; `histories` wraps `store`. It stops with the worker: it ends that work and closes the connections.
    """

    def __init__(  # noqa: PLR0913 - each part of a worker is named where all are wired
        self,
        *,
        settings: Settings,
        admin: AIOKafkaAdminClient,
        estate: Estate,
        store: RedisStore,
        histories: WaitingStore | DegradingStore,
        follower: Follower,
        publisher: Publisher,
        cache: ModelCache,
        comparer: Comparer,
        group: GroupCheck,
        snapshots: Snapshots,
        topics: TopicWatch,
        copier: CommitCopier,
        reads_predictions: bool,
        background: Sequence[Work],
    ) -> None:
        super().__init__()
        self._settings = settings
        self._admin = admin
        self._estate = estate
        self._store = store
        self._histories = histories
        self._follower = follower
        self._publisher = publisher
        self._cache = cache
        self._comparer = comparer
        self._group = group
        self._snapshots = snapshots
        self._topics = topics
        self._copier = copier
        self._reads_predictions = reads_predictions
        self._background = background
        self._waiting_for: str | None = "starting"
        self._redis_trouble: str | None = None
        self._redis_lost = asyncio.Event()
        """Set where a connection to Redis has ended: it may be another server by now, or an empty one."""
        self._work: list[asyncio.Task[None]] = []

    def reasons(self) -> list[str]:
        """Return what the worker waits for; empty when start-up is done and Redis answers."""
        follower = self._follower
        trouble = None if follower.caught_up else follower.last_error
        waits = follower.loss or self._waiting_for or login_trouble(self._settings)
        return [reason for reason in (waits, trouble, self._redis_trouble) if reason]

    async def on_start(self) -> None:
        """Do the steps of start-up, one after the other, then start the background work."""
        log.info(
            "serving /health/live, /health/ready and /metrics at http://%s",
            self._settings.http,
            extra={"event": "serving", "address": self._settings.http},
        )
        await self._until("Kafka", self._admin.start)
        await self._until("the cluster's id", partial(self._estate.find, self._admin))
        await self._until("topics", self._check_topics)
        await self._until("the consumer group", self._group.check)
        await self._until("Kafka's producer", self._publisher.start)
        await self._until(_REDIS, self._connect_store)
        self._begin(self._follower.run)
        self._waiting_for = "the control log has not been read to its end"
        await self._follower.wait_until_caught_up()
        await self._until("the control log", self._snapshots.check)
        # Before the group is joined: the first score under these settings comes behind their lines.
        own_record = OwnRecord(self._settings, self._follower, self._publisher)
        await self._until("the record of its settings on model-events", own_record.write)
        self._comparer.start()
        self._begin(self._snapshots.run, self._topics.run, self._cache.run, self._group.watch, self._copier.run)
        self._begin(own_record.run, self._trim, self._check_redis, self._watch_deletions, *self._background)
        if not self._settings.group_instance:  # nobody else decides what a static member owns
            await self._cache.await_loaded(_LOAD_SECONDS)

    async def on_stop(self) -> None:
        """End the background work and close the connections; all published records are acknowledged by then."""
        await self._comparer.stop()
        await end_tasks(*self._work)
        await self._copier.copy()
        await self._publisher.stop()
        await self._admin.close()
        await self._store.close()

    async def _until(self, what: str, step: Callable[[], Awaitable[object]]) -> None:
        """Retry a step of start-up until it succeeds; it is the reason for not being ready meanwhile."""
        self._waiting_for = f"starting, waiting for {what}"
        while not self.should_stop:
            try:
                with given_up_as_error():
                    await step()
            except Exception as error:
                if not is_retried(error, Phase.STARTUP):
                    raise
                # Kafka is asked there whether histories were filled before
                server = "Kafka" if what == _REDIS and isinstance(error, KafkaError) else what
                self._waiting_for = f"{server}: {await explain_error(self._settings, error)}"
                await self.sleep(_RETRY_SECONDS)
            else:
                self._waiting_for = None
                return

    async def _check_topics(self) -> None:
        """Check that the topics exist as the contract lays them out; warn about replication that risks decisions.

        Raises:
            NotReadyError: they do not.
        """
        settings, admin = self._settings, self._admin
        found = await problems(settings, admin, reads_predictions=self._reads_predictions)
        if found:
            raise NotReadyError("; ".join(found))
        scores, letters = (check_readable(settings, settings.topic(one.name)) for one in (SCORES, DEAD_LETTERS))
        await both(scores, letters)
        for risk in await risks(settings, admin):
            log.warning("the loss of a broker may lose decisions: %s", risk)
        await self._topics.check()

    async def _connect_store(self) -> None:
        """Connect to Redis; if it is empty although payments have been decided or read, its histories are lost."""
        await self._store.connect(emptied=await has_filled_histories(self._settings, self._admin))

    async def _trim(self) -> None:
        """Trim histories, except during a repair, and write decisions to Redis that were made while it was down."""
        store, histories = self._store, self._histories
        while True:
            await until_tick(_TRIM_SECONDS)
            try:
                await histories.catch_up()
                if not store.incomplete and store.state.pending_repair is None:
                    await store.compact()
            except (StoreUnavailableError, StoreRefusedError) as error:
                log.info("histories were not trimmed: %s", error)

    async def _check_redis(self) -> None:
        """Check regularly whether Redis answers and is complete, also while no batch uses it; again soon if it failed.

        Until a server is known to have restarted empty, payments are decided by what it lacks.
        """
        pause = 0.0
        while True:
            await (asyncio.sleep(pause) if pause else self._until_look_at_redis())
            try:
                await self._store.refresh()
                self._redis_trouble, pause = None, 0.0
            except (StoreUnavailableError, StoreRefusedError) as error:
                self._redis_trouble = f"Redis: {error}"
                pause = min(2 * pause, _LONGEST_REPEAT_SECONDS) or _FIRST_REPEAT_SECONDS

    async def _until_look_at_redis(self) -> None:
        """Wait until the next regular look at Redis, or until a connection to it is lost."""
        with suppress(TimeoutError):
            async with timeout_at_tick(_CHECK_SECONDS):
                await self._redis_lost.wait()
        self._redis_lost.clear()

    async def _watch_deletions(self) -> None:
        """Detect histories that another client deletes, if Redis sends notifications of deleted keys."""
        refused = ""
        while True:
            try:
                await self._store.watch()
            except StoreUnavailableError:
                self._redis_lost.set()
                await asyncio.sleep(_CHECK_SECONDS)
            except StoreRefusedError as error:
                if str(error) != refused:
                    log.warning("the deletion of histories by other clients may go undetected: %s", error)
                refused = str(error)
                await asyncio.sleep(_SUBSCRIBE_SECONDS)

    def _begin(self, *background: Work) -> None:
        for work in background:
            task = asyncio.create_task(work())
            task.add_done_callback(self._ended)
            self._work.append(task)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if (failure := failure_of(task)) is not None:
            log.critical("background work failed", exc_info=failure)
            self.loop.create_task(self.crash(failure))
