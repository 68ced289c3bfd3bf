"""What must be so before a worker joins its group: topics, Redis, a producer, the control log read to its end.

Each is asked for until it is there, and until then is the reason why the worker is not ready.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupAuthorizationFailedError, KafkaError
from mode import Service

from features.errors import StoreRefusedError, StoreUnavailableError
from features.redis.store import RedisStore
from stream.challenger.comparer import Comparer
from stream.control.follower import Follower
from stream.control.model_cache import ModelCache
from stream.kafka.client import explain_error, group_members
from stream.kafka.publisher import Publisher
from stream.kafka.topics import SCORES, check_readable, has_records, problems, risks
from stream.recovery.repairer import Repairer
from stream.settings import Settings

log = logging.getLogger("fraudstream.preparation")

_RETRY_SECONDS = 1.0
_TIDY_SECONDS = 1.0
_LOOK_SECONDS = 0.5

_NOT_YET = (KafkaError, StoreUnavailableError, StoreRefusedError, OSError)


class NotReadyError(Exception):
    """Something that the worker needs is not there yet."""


class Startup(Service):
    """Starts before the consumer and is done when the worker may join; then it keeps the background work going.

    `catch_up` lets Redis have what was decided without it.
    """

    def __init__(
        self,
        settings: Settings,
        admin: AIOKafkaAdminClient,
        store: RedisStore,
        catch_up: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__()
        self._catch_up = catch_up
        self.follower = Follower(settings)
        self.publisher = Publisher(settings)
        self.shelf: ModelCache | None = None
        self.comparer: Comparer | None = None
        self.repairer: Repairer | None = None
        self._settings = settings
        self._admin = admin
        self._store = store
        self._waiting_for: str | None = "starting"
        self._redis_trouble: str | None = None
        self._work: list[asyncio.Task[None]] = []

    def reasons(self) -> list[str]:
        """Say what is waited for; empty when all is there."""
        trouble = None if self.follower.caught_up else self.follower.last_error
        return [reason for reason in (self._waiting_for, trouble, self._redis_trouble) if reason]

    async def on_start(self) -> None:
        """Get everything there is to get, one after the other."""
        await self._until("Kafka", self._admin.start)
        await self._until("topics", self._topics)
        await self._until("the consumer group", self._group)
        await self._until("Kafka's producer", self.publisher.start)
        await self._until("Redis", self._histories)
        self._begin(self.follower.run())
        self._waiting_for = "the control log has not been read to its end"
        await self.follower.wait_until_caught_up()
        self._waiting_for = None
        if self.shelf is not None:
            self._begin(self.shelf.run())
        if self.comparer is not None:
            self.comparer.start()
        if self.repairer is not None:
            self._begin(self.repairer.run())
        self._begin(self._tidy())
        self._begin(self._look())
        self._begin(self._watch())

    async def on_stop(self) -> None:
        """End the background work; what is published has been acknowledged by now."""
        if self.comparer is not None:
            await self.comparer.stop()
        for task in self._work:
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        await self.publisher.stop()
        await self._admin.close()
        await self._store.close()

    async def _until(self, what: str, get: Callable[[], Awaitable[object]]) -> None:
        while not self.should_stop:
            try:
                await get()
            except (*_NOT_YET, NotReadyError) as error:
                reason = f"{what}: {await explain_error(self._settings, error)}"
                if reason != self._waiting_for:
                    log.warning("not ready, trying again: %s", reason)
                self._waiting_for = reason
                await self.sleep(_RETRY_SECONDS)
            else:
                self._waiting_for = None
                return

    async def _topics(self) -> None:
        found = await problems(self._settings, self._admin)
        if found:
            raise NotReadyError("; ".join(found))
        await check_readable(self._settings, self._settings.topic(SCORES.name))
        for risk in await risks(self._settings, self._admin):
            log.warning("decisions may be lost with a broker: %s", risk)

    async def _group(self) -> None:
        """Ask who is in the group before joining it: refused later, the consumer could only end the process."""
        try:
            await group_members(self._admin, self._settings.group)
        except GroupAuthorizationFailedError:
            raise
        except KafkaError as error:
            log.info("the group %s is not described: %s", self._settings.group, error)

    async def _histories(self) -> None:
        """Join the histories; a server that knows of none has lost them where the deployment has decided before."""
        await self._store.connect(emptied=await has_records(self._settings, self._settings.topic(SCORES.name)))

    async def _tidy(self) -> None:
        """Look after the histories off the path of a decision; trim none while they are put together again."""
        while True:
            await asyncio.sleep(_TIDY_SECONDS)
            try:
                await self._catch_up()
                if not self._store.incomplete and self._store.state.pending_repair is None:
                    await self._store.compact()
            except StoreUnavailableError as error:
                log.info("histories were not looked after: %s", error)

    async def _look(self) -> None:
        """Notice that Redis is away, lost something or has it again, even where nothing is asked of it."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                await self._store.refresh()
                self._redis_trouble = None
            except (StoreUnavailableError, StoreRefusedError) as error:
                self._redis_trouble = f"Redis: {error}"

    async def _watch(self) -> None:
        """Notice histories that are deleted under our hands, where Redis tells of it."""
        while True:
            try:
                await self._store.watch()
            except StoreUnavailableError:
                await asyncio.sleep(_LOOK_SECONDS)
            except StoreRefusedError as error:
                log.warning("histories that others delete may go unnoticed: %s", error)
                return

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        task.add_done_callback(self._ended)
        self._work.append(task)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and task.exception() is not None:
            log.critical("background work failed", exc_info=task.exception())
            self.loop.create_task(self.crash(task.exception() or RuntimeError("unknown")))
