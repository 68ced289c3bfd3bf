"""The thread that runs a worker's Kafka consumer: it joins the group, sends heartbeats, fetches and commits.

It has an event loop of its own, so heartbeats continue while the main loop computes.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from aiokafka import TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaConnectionError, KafkaError
from aiokafka.structs import OffsetAndMetadata
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from stream.engine.batches import Commit
from stream.engine.fetcher import LogConsumer, Trouble
from stream.engine.partition_queue import PartitionQueue
from stream.engine.stalled import FailingFetch, HeldBack
from stream.engine.unpacking import FetchedRecord
from stream.kafka.client import ANNOUNCED, connection_options
from stream.kafka.stray import given_up_as_error
from stream.settings import Settings
from stream.tasks import Once, next_tick

log = logging.getLogger("fraudstream.fetch_thread")

Result = TypeVar("Result")

_POLL_SECONDS = 1.0
_LEAVE_SECONDS = 5.0
_HEARTBEAT_MS = 150
"""A member learns by the answer to a heartbeat that another one joins or leaves, and all wait for the last to learn."""
_BOUNDED_SECONDS = 0.05
"""A poll that is bounded ends soon: the bounds may have risen."""
_LOOK_AGAIN_MS = 1_000
"""How long aiokafka's routine waits where nothing happens: all that lets it fetch more wakes it."""


class Fetched(NamedTuple):
    """What a fetch returned: records, and the partitions that cannot go on."""

    records: Mapping[TopicPartition, list[FetchedRecord]]
    troubles: Mapping[TopicPartition, Trouble]


class Wanted(NamedTuple):
    """What a fetch is to return: at most `limit` records of some partitions, as long as `may_take` says so.

    If several have records, each gets an equal share; no more than `each`, and none from the offset in `ends` on.
    Without `waits`, what has arrived is taken, be it nothing.
    """

    partitions: Sequence[TopicPartition]
    limit: int
    each: int
    ends: Mapping[TopicPartition, int]
    may_take: Callable[[], bool]
    waits: bool = True


class Arrivals:
    """Those that wait on one loop for records of some partitions, woken from the thread that fetches them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: dict[Once, Collection[TopicPartition]] = {}

    def expect(self, partitions: Collection[TopicPartition]) -> Once:
        """Return the next arrival of records of these partitions; `forget` it afterwards."""
        arrival = Once(self._loop)
        self._waiting[arrival] = partitions
        return arrival

    def forget(self, arrival: Once) -> None:
        """Wake who waits for an arrival no more."""
        del self._waiting[arrival]

    def note(self, arrived: Collection[TopicPartition] | None) -> None:
        """Wake those that wait for one of these partitions, or all of them; callable from any thread."""
        # A copy, made in one step: the loop's thread expects and forgets arrivals meanwhile. One that is forgotten by
        # now is woken in vain, and one that is expected by now looks at the queues itself.
        for arrival, partitions in tuple(self._waiting.items()):
            if arrived is None or any(tp in partitions for tp in arrived):
                with suppress(RuntimeError):  # the loop has ended
                    self._loop.call_soon_threadsafe(arrival.happen)


@dataclass(frozen=True, slots=True)
class ConsumerOptions:
    """The transport's options: settings, topics, client id, and the callback `fatal`, which ends the process.

    `withheld` tells whether a topic's offsets must not be committed now although they are acknowledged. `examine` is
    asked about a partition that cannot be read on: it returns why it waits, or the offset from which it goes on.
    `held` returns the partitions that must not be read now; `bounds`, for partitions of a topic, from which offset on
    some of them must not be.
    """

    settings: Settings
    topics: tuple[str, ...]
    client_id: str
    fatal: Callable[[str], None]
    withheld: Callable[[str], bool]
    examine: Callable[[TopicPartition, Trouble], Awaitable[str | int]]
    held: Callable[[], Collection[TopicPartition]]
    bounds: Callable[[str, Sequence[TopicPartition]], Mapping[TopicPartition, int]]


class AnnouncingAssignor(RangePartitionAssignor):  # type: ignore[misc] # aiokafka ships no types
    """aiokafka's assignor by ranges, with a subscription that announces what this version can do; no assignor asks."""

    @classmethod
    def metadata(cls, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
        """Return the subscription with which the worker joins its group."""
        return ConsumerProtocolMemberMetadata(cls.version, list(topics), ANNOUNCED)


class FetchThread(driver.AIOKafkaConsumerThread):
    """Runs the consumer on its own event loop."""

    _unpacking: ThreadPoolExecutor | None = None
    """Unpacks large batches, from the consumer's start on."""

    def __post_init__(self) -> None:
        """Faust's part of the constructor, and those that wait for records."""
        super().__post_init__()
        self._arrivals = Arrivals(self.parent_loop)

    async def on_start(self) -> None:
        """Start the consumer, and let it wake those that wait."""
        await super().on_start()
        self.log_consumer.fetcher.call_on_arrival(self._arrivals.note)
        unpacking = self._unpacking = ThreadPoolExecutor(1, "unpacking")  # one large batch at a time
        self.log_consumer.fetcher.queues.aside = lambda queue: unpacking.submit(self._unpack_aside, queue)

    def _unpack_aside(self, queue: PartitionQueue) -> None:
        """Unpack a large batch while the main loop goes on with other partitions, and wake it; in a third thread."""
        queue.unpack_next()
        self._arrivals.note([queue.tp])

    def _create_worker_consumer(self, transport: driver.Transport) -> LogConsumer:
        options: ConsumerOptions = transport.options  # type: ignore[attr-defined] # it is a BatchTransport
        settings, conf = options.settings, self.app.conf
        return LogConsumer(
            **{**connection_options(settings), "request_timeout_ms": int(conf.broker_request_timeout * 1000)},
            resets=False,
            client_id=options.client_id,
            group_id=conf.id,
            group_instance_id=settings.group_instance or None,
            partition_assignment_strategy=(AnnouncingAssignor,),
            auto_offset_reset="earliest",
            max_poll_records=settings.poll_records,
            max_poll_interval_ms=int(conf.broker_max_poll_interval * 1000),
            fetch_max_wait_ms=settings.fetch_wait_ms,
            consumer_timeout_ms=_LOOK_AGAIN_MS,
            session_timeout_ms=int(conf.broker_session_timeout * 1000),
            rebalance_timeout_ms=int(conf.broker_rebalance_timeout * 1000),
            heartbeat_interval_ms=_heartbeat_ms(settings, int(conf.broker_heartbeat_interval * 1000)),
        )

    async def _shutdown_thread(self) -> None:
        """Stop the consumer, and tell the main loop that the thread has ended even if that is interrupted.

        aiokafka's `stop` raises `CancelledError` if a fetch was cancelled while it waited for a retry; the main loop
        would then wait for this thread until the drain's deadline, and end the process with 70.
        """
        try:
            await super()._shutdown_thread()
        except asyncio.CancelledError:
            log.info("the consumer was stopped while a fetch waited for a retry")
        finally:
            if self._unpacking is not None:
                self._unpacking.shutdown(wait=False, cancel_futures=True)
            self.set_shutdown()

    @property
    def log_consumer(self) -> LogConsumer:
        """The consumer; it exists from the thread's start on."""
        consumer = self._ensure_consumer()
        assert isinstance(consumer, LogConsumer)  # noqa: S101 - a wiring error, not an input
        return consumer

    @property
    def _has_started(self) -> bool:
        return isinstance(self._consumer, LogConsumer) and self._consumer.has_started

    def pulsed_at(self) -> Mapping[TopicPartition, float]:
        """Return when each partition was last fetched, or could not be for a known reason; callable from any thread."""
        return self.log_consumer.fetcher.pulsed_at.copy() if self._has_started else {}

    def held_back(self) -> Mapping[TopicPartition, HeldBack]:
        """Return what lies behind an open transaction, by partition; callable from any thread."""
        return self.log_consumer.fetcher.held_back.copy() if self._has_started else {}

    def failing(self) -> Mapping[TopicPartition, FailingFetch]:
        """Return the partitions whose fetches fail; callable from any thread."""
        return self.log_consumer.fetcher.queues.failing.copy() if self._has_started else {}

    async def fetch(self, wanted: Wanted) -> Fetched:
        """Wait for records, or until a partition cannot go on; runs on the main loop.

        What waits in the queues is taken at once: no other thread has to run for it.

        Raises:
            aiokafka.errors.KafkaError: the consumer has failed for good.
        """
        consumer, now = self.log_consumer, asyncio.get_running_loop().time
        deadline = next_tick(now(), _BOUNDED_SECONDS if wanted.ends else _POLL_SECONDS) if wanted.waits else now()
        with consumer.polling():
            while wanted.may_take():
                if consumer.has_failed:
                    await self.run_on_loop(_check_errors(consumer))
                    if not wanted.may_take():
                        break
                # Expected before the look: else a record that comes between the two would wake nobody.
                arrival = self._arrivals.expect(wanted.partitions)
                try:
                    found = self._taken(wanted)
                    if found.records or found.troubles or now() >= deadline:
                        return found
                    await arrival.until(deadline)
                finally:
                    self._arrivals.forget(arrival)
        return Fetched({}, {})

    def _taken(self, wanted: Wanted) -> Fetched:
        """Take what is queued, if the consumer runs."""
        if not self._has_started:
            return Fetched({}, {})
        fetcher = self.log_consumer.fetcher
        records = fetcher.take(wanted.partitions, wanted.limit, wanted.ends, wanted.each)
        return Fetched(records, dict(fetcher.troubles(one for one in wanted.partitions if one not in records)))

    def interrupt(self) -> None:
        """Let all fetches that wait look at once whether they still may take something."""
        self._arrivals.note(None)

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Go to the commits of an assignment, asked for by one request; aiokafka asks for one partition at a time.

        Faust's task would end in silence if the request was given up.

        Raises:
            aiokafka.errors.KafkaError: the coordinator does not respond.
        """
        with given_up_as_error():
            return await self.run_on_loop(_seek_to_commits(self.log_consumer))

    async def leave_group(self) -> None:
        """Tell the coordinator at once that this member leaves, unless it is a static one; wait a moment for that."""
        if not self._has_started:
            return
        with suppress(KafkaError, TimeoutError), given_up_as_error():
            async with asyncio.timeout(_LEAVE_SECONDS):
                await self.run_on_loop(self.log_consumer.leave_group())

    async def commit_offsets(self, commits: Mapping[TopicPartition, Commit]) -> bool:
        """Commit offsets with metadata; False if the group has rebalanced or the broker does not respond."""
        consumer = self._ensure_consumer()
        assigned = consumer.assignment()
        offsets = {tp: OffsetAndMetadata(*commit) for tp, commit in commits.items() if tp in assigned}
        if not offsets:
            return False
        try:
            with given_up_as_error():
                await consumer.commit(offsets)
        except (CommitFailedError, IllegalStateError) as error:
            log.info("the commit was refused, the group has rebalanced: %s", error)
            return False
        except KafkaError as error:
            log.warning("the commit failed, retrying later: %s", error)
            return False
        return True

    async def offset_bounds(
        self, partitions: Sequence[TopicPartition]
    ) -> tuple[Mapping[TopicPartition, int], Mapping[TopicPartition, int]]:
        """Return the partitions' current beginning and end offsets."""
        consumer = self._ensure_consumer()
        return await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)

    def run_on_loop(self, coroutine: Coroutine[Any, Any, Result]) -> "asyncio.Future[Result]":
        """Run a coroutine on this thread's loop, bypassing Faust's method queue; await the result on the main loop.

        Raises:
            aiokafka.errors.KafkaConnectionError: the consumer has stopped, as during a drain.
        """
        try:
            return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self.thread_loop))
        except RuntimeError as error:  # the loop is closed
            coroutine.close()
            raise KafkaConnectionError("the consumer has stopped") from error


async def _seek_to_commits(consumer: LogConsumer) -> dict[TP, Any]:
    """Go to the commits, and return them; None of a partition without one."""
    commits = await consumer.commits()
    assigned = consumer.assignment()
    for tp, offset in commits.items():
        if offset > 0 and tp in assigned:
            consumer.seek(tp, offset)
    return {TP(*tp): commits.get(tp) for tp in assigned}


def _heartbeat_ms(settings: Settings, ordinary: int) -> int:
    """Return the interval of heartbeats; a static member's is the ordinary one.

    A static member that is restarted moves no partition. Two by mistake of the same name take turns at each heartbeat,
    and neither decides anything if that is soon.
    """
    return ordinary if settings.group_instance else min(_HEARTBEAT_MS, ordinary)


async def _check_errors(consumer: LogConsumer) -> None:
    consumer.check_errors()
