"""A consumer that queues fetched records for each partition, in place of aiokafka's own hand-over.

aiokafka leaves a partition out of its next request until the last record of it was taken, and meanwhile delays all
partitions of the same broker by up to 100 ms. Here the next request follows at once, except for partitions whose queue
is full. Records are unpacked when they are taken, by `stream.engine.unpacking`.

The classes replace private parts of aiokafka 0.14, which is pinned.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import MappingProxyType
from typing import Any, TypeAlias

from aiokafka import TopicPartition
from aiokafka import errors as kafka_errors
from aiokafka.client import ConnectionGroup
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.protocol.fetch import FetchRequest

from stream.clock import now_ms
from stream.engine.coordination import BriskClient, leave_group
from stream.engine.partition_queue import FetchQueues
from stream.engine.stalled import HeldBackPartitions
from stream.engine.unpacking import FetchedRecord, Unreadable, committed, split_batches
from stream.engine.wire import FETCH, FETCH_VERSION, FetchedTopic, FetchOptions, Topics, fetch_from, speaks
from stream.kafka.client import connection_options
from stream.kafka.stray import PlainConsumer
from stream.settings import Settings
from stream.tasks import end_tasks

log = logging.getLogger("fraudstream.fetcher")

_GATHER_SECONDS = 0.003
_IDLE_SECONDS = 5.0
_IDLE_WAIT_MS = 200
_PARTS_V11 = 5
"""The response's version 11 states a preferred replica between the aborted transactions and the records."""
_ALL = 2**31
_CERTAIN_SECONDS = 2.0
Trouble: TypeAlias = "Unreadable | int | kafka_errors.KafkaError"
"""Why a partition cannot be read on: what cannot be unpacked, the offset that does not exist, or a refusal."""
_LEADER_CHANGED = (kafka_errors.NotLeaderForPartitionError, kafka_errors.UnknownTopicOrPartitionError)


class QueueingFetcher(Fetcher):  # type: ignore[misc] # aiokafka ships no types
    """Sends aiokafka's requests, and puts what comes back into a queue for each partition.

    `take` and `troubles` may be called from any thread, by one for a partition, not while an offset of it is sought.
    `refused` holds the error of each partition that the broker does not let us read.
    `pulsed_at` is when each partition was last requested, or could not be for a known reason (monotonic seconds).
    `held_back` is what lies behind a transaction that is still open, for each partition where something does.
    `passed_over` is what `getmany` could not unpack.
    `ends` is each partition's end by the last answer, behind the time (ms) at which that was asked for.
    """

    def __init__(self, *args: Any, resets: bool, **options: Any) -> None:  # noqa: ANN401 - aiokafka's own
        super().__init__(*args, **options)
        self._resets = resets
        self._records = self.queues = FetchQueues()
        self._arrived_at = 0.0
        self._leaves_out = False
        """Whether a partition is not requested until something is taken, or a pause is over."""
        self._assigned_at = 0.0
        self._assignment: Any = None
        self._busy_wait_ms: int = self._fetch_max_wait_ms
        self._on_arrival: Callable[[Collection[TopicPartition]], None] = lambda _: None
        self._first: dict[int, int] = {}
        self.refused: dict[TopicPartition, kafka_errors.KafkaError] = {}
        self.pulsed_at: dict[TopicPartition, float] = {}
        self.held_back = HeldBackPartitions()
        self.passed_over: list[tuple[TopicPartition, Unreadable]] = []
        self.ends: dict[TopicPartition, tuple[int, int]] = {}

    def call_on_arrival(self, listener: Callable[[Collection[TopicPartition]], None]) -> None:
        """Call a listener, in this thread, with the partitions of each response that a reader has to look at."""
        self._on_arrival = listener

    def take(
        self,
        partitions: Collection[TopicPartition],
        limit: int,
        ends: Mapping[TopicPartition, int] = MappingProxyType({}),
        each: int = _ALL,
    ) -> dict[TopicPartition, list[FetchedRecord]]:
        """Return up to `limit` queued records of these partitions; if several have some, each gets an equal share.

        Of a partition, no more than `each` are returned, and none from the offset in `ends` on.
        """
        filled = self.queues.filled(partitions)
        share = min(each, max(1, limit // max(1, len(filled))))
        taken: dict[TopicPartition, list[FetchedRecord]] = {}
        for tp in filled:
            if records := self.queues.of(tp).take(min(share, limit), ends.get(tp)):
                taken[tp] = records
                limit -= len(records)
            if limit <= 0:
                break
        if self._leaves_out:
            with suppress(RuntimeError):  # the loop has ended, and fetches nothing more
                self._loop.call_soon_threadsafe(self._look_again)
        return taken

    def _look_again(self) -> None:
        """Let the routine look for what it can request now."""
        self._notify(self._wait_consume_future)

    def troubles(self, partitions: Iterable[TopicPartition]) -> Iterator[tuple[TopicPartition, Trouble]]:
        """Yield which of these partitions cannot go on."""
        for tp in partitions:
            if tp in self.refused:
                yield tp, self.refused.pop(tp)
            elif tp in self.queues.out_of_range:
                yield tp, self.queues.out_of_range[tp]
            elif (unreadable := self.queues.unreadable(tp)) is not None:
                yield tp, unreadable

    async def close(self) -> None:
        """Stop. aiokafka's routine loses a cancellation that comes while it ends the requests of an old assignment."""
        self._closed = True
        await end_tasks(self._fetch_task)
        await super().close()

    async def wait_for_records(self, timeout: float) -> None:  # noqa: ASYNC109 - a poll, not a failure
        """Wait until a response has arrived, at most `timeout` seconds.

        Raises:
            aiokafka.errors.KafkaError: the coordinator has failed for good.
        """
        waiter = self._create_fetch_waiter()
        done, _ = await asyncio.wait({waiter}, timeout=timeout)
        if done:
            waiter.result()
        else:
            waiter.cancel()

    async def fetched_records(
        self,
        partitions: Collection[TopicPartition],
        timeout: float = 0,  # noqa: ASYNC109 - aiokafka's signature
        max_records: int | None = None,
    ) -> dict[TopicPartition, list[FetchedRecord]]:
        """Return queued records for `getmany`; skip what is unreadable, and say so."""
        deadline = time.monotonic() + timeout
        while not self._closed:
            for tp in self.queues.filled(partitions):
                if (unreadable := self.queues.of(tp).unreadable()) is not None:
                    first, end, reason = unreadable
                    log.warning("%s partition %d: offsets %d to %d are left out: %s", *tp, first, end - 1, reason)
                    self.passed_over.append((tp, unreadable))
                    self.queues.of(tp).skip_unreadable()
            taken = self.take(partitions, max_records or _ALL)
            left = deadline - time.monotonic()
            if taken or left <= 0:
                return taken
            for tp in partitions or self.refused:
                if tp in self.refused:
                    raise self.refused.pop(tp)
            await self.wait_for_records(left)
        return {}

    def seek_to(self, tp: TopicPartition, offset: int) -> None:
        """Go on from another offset."""
        self._subscriptions.seek(tp, offset)
        del self.queues[tp]
        self._look_again()

    def request_offset_reset(self, tps: Iterable[TopicPartition], strategy: int) -> Any:  # noqa: ANN401 - a future
        """Go on from the beginning or the end."""
        for tp in tps:
            del self.queues[tp]
        return super().request_offset_reset(tps, strategy)

    # --- requests and responses

    def _get_actions_per_node(self, assignment: Any) -> Any:  # noqa: ANN401 - aiokafka's
        """While records wait to be taken, let the next request wait a little too.

        Else each record that arrives while a batch is computed would cost a request of its own.
        """
        self._fetch_max_wait_ms = self._wait_ms(assignment)
        self._leaves_out = True  # what is taken meanwhile may make room for what is left out here
        requests, resets, timeout, invalid, resumed = super()._get_actions_per_node(assignment)
        self._leaves_out = any(tp in self.queues for tp in assignment.tps)
        self._pulse(assignment, requests)
        timeout = min(timeout, self.queues.failing.shortest_pause())
        if early := self._early():
            return [], resets, min(timeout, early), invalid, resumed
        return requests, resets, timeout, invalid, resumed

    def _wait_ms(self, assignment: Any) -> int:  # noqa: ANN401 - aiokafka's
        """Return how long the next request may wait for records: longer where none have come for a while.

        Whatever is asked of a broker next waits for the request before: an idle worker has time, one that has just been
        assigned its partitions asks for much.
        """
        now = time.monotonic()
        if assignment is not self._assignment:
            self._assignment, self._assigned_at = assignment, now
        is_idle = now - max(self._assigned_at, self._arrived_at) > _IDLE_SECONDS
        return max(self._busy_wait_ms, _IDLE_WAIT_MS) if is_idle else self._busy_wait_ms

    def _pulse(self, assignment: Any, requests: Iterable[tuple[int, Any]]) -> None:  # noqa: ANN401 - aiokafka's
        """Note which partitions are requested now, or cannot be because they are full, paused or without a leader."""
        now = time.monotonic()
        requested = {
            TopicPartition(topic, partition)
            for _, request in requests
            for topic, partitions in request.topics
            for partition, *_ in partitions
        }
        for tp in assignment.tps:
            leader = self._client.cluster.leader_for_partition(tp)
            known = tp in requested or tp in self.queues or leader in (None, -1) or assignment.state_value(tp).paused
            if known or tp not in self.pulsed_at:
                self.pulsed_at[tp] = now

    async def _proc_fetch_request(self, assignment: Any, node_id: int, request: FetchRequest) -> bool:  # noqa: ANN401 - aiokafka's
        """Fetch from a broker again and again, as long as nothing else is to be done; tell whether something came.

        To go back to aiokafka's routine for each request costs more than the request.
        """
        topics: Topics | None = request.topics
        arrived = False
        try:
            while topics is not None:
                asked_ms = now_ms()
                arrived = self._accept_all(assignment, topics, await self._fetch(node_id, topics), asked_ms)
                if arrived and self._fetch_waiters:
                    break  # the routine wakes them
                if early := self._early():
                    await asyncio.sleep(early)
                topics = self._next_topics(assignment, node_id)
        except kafka_errors.KafkaError as error:
            told = {"burst": f"fetch from broker {node_id}"}
            log.warning("records could not be fetched from broker %s, retrying: %s", node_id, error, extra=told)
            await asyncio.sleep(self._retry_backoff)
            return False
        except asyncio.CancelledError:
            return False
        return arrived

    async def _fetch(self, node_id: int, topics: Topics) -> Sequence[FetchedTopic]:
        """Send one request to fetch, and return what comes back."""
        options = FetchOptions(
            self._fetch_max_wait_ms, self._fetch_min_bytes, self._fetch_max_bytes, self._isolation_level, ""
        )
        connection = self._client._conns.get((node_id, ConnectionGroup.DEFAULT))  # noqa: SLF001
        if connection is not None and speaks(connection, FETCH, FETCH_VERSION):
            return await fetch_from(connection, options, topics)
        *some, rack = options
        return (await self._client.send(node_id, FetchRequest(*some, topics, rack_id=rack))).topics  # type: ignore[no-any-return]

    def _early(self) -> float:
        """Return in how many seconds the next request is due; 0 where no records wait to be taken."""
        early = self._arrived_at + _GATHER_SECONDS - time.monotonic()
        return early if early > 0 and self.queues.filled(None) else 0.0

    def _next_topics(self, assignment: Any, node_id: int) -> Topics | None:  # noqa: ANN401 - aiokafka's
        """Return what to ask a broker for next; None if the routine has to look at a partition, or others wait."""
        if self._closed or not assignment.active or self._fetch_waiters:
            return None
        topics: dict[str, list[tuple[int, int, int]]] = {}
        wanted: list[TopicPartition] = []
        for tp in assignment.tps:
            state = assignment.state_value(tp)
            leader = self._select_read_replica(tp)
            if tp in self.queues or leader in (None, -1) or not state.has_valid_position or state.paused:
                return None
            if leader == node_id:
                wanted.append(tp)
        if not wanted:
            return None
        first = self._first[node_id] = (self._first.get(node_id, -1) + 1) % len(wanted)
        now = time.monotonic()
        for tp in (*wanted[first:], *wanted[:first]):  # a broker fills its answer from the first on
            self.pulsed_at[tp] = now
            asked = tp.partition, assignment.state_value(tp).position, self._max_partition_fetch_bytes
            topics.setdefault(tp.topic, []).append(asked)
        self._fetch_max_wait_ms = self._wait_ms(assignment)
        return list(topics.items())

    def _accept_all(self, assignment: Any, topics: Topics, found: Sequence[FetchedTopic], asked_ms: int) -> bool:  # noqa: ANN401 - aiokafka's
        """Queue what a broker has sent, and tell the listener; return whether a reader has to look at something."""
        if not assignment.active:
            return False
        requested = {
            TopicPartition(topic, partition): (offset, asked_ms)
            for topic, partitions in topics
            for partition, offset, _ in partitions
        }
        arrived = [
            tp
            for topic, partitions in found
            for partition, code, highwater, *rest in partitions
            if self._accept(assignment, tp := TopicPartition(topic, partition), requested, (code, highwater, rest))
        ]
        if arrived:
            self._on_arrival(arrived)
        return bool(arrived)

    def _accept(
        self,
        assignment: Any,  # noqa: ANN401 - aiokafka's
        tp: TopicPartition,
        requested: dict[TopicPartition, tuple[int, int]],
        part: tuple[int, int, Sequence[Any]],
    ) -> bool:
        """Queue one partition's part of a response; tell whether a reader has to look at it."""
        state, (code, highwater, rest), (offset, asked_ms) = assignment.state_value(tp), part, requested[tp]
        if not state.has_valid_position or state.position != offset:
            return False
        error = kafka_errors.for_code(code)
        if error is not kafka_errors.NoError:
            return self._accept_error(tp, state, error)
        self.queues.failing.forget(tp)
        state.highwater, state.lso, self.ends[tp] = highwater, rest[0], (asked_ms, rest[0])
        self.held_back.note(tp, rest[0], highwater)
        batches = split_batches(rest[-1])
        if not batches:
            return False
        *_, aborted = rest[:3] if len(rest) == _PARTS_V11 else rest[:-1]
        fetched_to = batches[-1].next_offset
        self.queues.of(tp).add(committed(batches, aborted), state.position, fetched_to)
        state.consumed_to(fetched_to)
        self._arrived_at = time.monotonic()
        return True

    def _accept_error(self, tp: TopicPartition, state: Any, error: type[kafka_errors.KafkaError]) -> bool:  # noqa: ANN401 - aiokafka's
        is_missing = error is kafka_errors.OffsetOutOfRangeError
        if error in _LEADER_CHANGED or (is_missing and not self._is_certain(tp)):
            self._client.force_metadata_update()
        elif is_missing and self._resets:
            state.await_reset(self._default_reset_strategy)
        elif is_missing:
            self.queues.out_of_range[tp] = state.position
            self.queues.failing.forget(tp)
            return True
        elif error is kafka_errors.TopicAuthorizationFailedError:
            self.refused[tp] = error(tp.topic)
            self.queues.failing.forget(tp)
            return True
        elif self.queues.failing.note(tp, error.__name__, self._retry_backoff):
            log.warning("%s partition %d could not be fetched, retrying: %s", *tp, error.__name__)
        return False

    def _is_certain(self, tp: TopicPartition) -> bool:
        """Tell whether a partition lacks its next offset for some time now.

        A broker that was hung may still believe that it leads, and lacks what its successor has.
        """
        self.queues.failing.note(tp, kafka_errors.OffsetOutOfRangeError.__name__, self._retry_backoff)
        return self.queues.failing.seconds(tp) >= _CERTAIN_SECONDS


class LogConsumer(PlainConsumer):
    """A consumer of committed records with a `QueueingFetcher`.

    With `resets=False` an offset that the broker does not have is not replaced by another in silence.
    """

    _fetcher: Any
    _client: Any

    def __init__(self, *topics: str, resets: bool = True, **options: Any) -> None:  # noqa: ANN401 - aiokafka's
        self._resets = resets
        super().__init__(*topics, isolation_level="read_committed", enable_auto_commit=False, **options)
        self._client = BriskClient.of(self._client)

    async def start(self) -> None:
        """Connect, and replace the fetcher before anything is assigned."""
        await super().start()
        await asyncio.shield(self._fetcher.close())  # which would swallow a cancellation that arrives meanwhile
        self._fetcher = QueueingFetcher(
            self._client,
            self._subscription,
            resets=self._resets,
            fetch_min_bytes=self._fetch_min_bytes,
            fetch_max_bytes=self._fetch_max_bytes,
            fetch_max_wait_ms=self._fetch_max_wait_ms,
            max_partition_fetch_bytes=self._max_partition_fetch_bytes,
            fetcher_timeout=self._consumer_timeout,
            retry_backoff_ms=self._retry_backoff_ms,
            auto_offset_reset=self._auto_offset_reset,
            isolation_level=self._isolation_level,
        )

    @property
    def has_started(self) -> bool:
        """Whether it has a fetcher."""
        return isinstance(self._fetcher, QueueingFetcher)

    @property
    def fetcher(self) -> QueueingFetcher:
        """The fetcher of a consumer that has started."""
        assert isinstance(self._fetcher, QueueingFetcher)  # noqa: S101 - a wiring error, not an input
        return self._fetcher

    @contextmanager
    def polling(self) -> Iterator[None]:
        """Tell the coordinator that records are being polled; in one thread at a time.

        aiokafka's own context never ends if the poll is cancelled, and then hides that nothing is polled any more.
        """
        context = self._subscription.fetch_context()
        context.__enter__()
        try:
            yield
        finally:
            context.__exit__(None, None, None)

    @property
    def has_failed(self) -> bool:
        """Whether the coordinator has an error to tell, by `check_errors`; callable from any thread."""
        coordinator = self._coordinator
        return coordinator._pending_exception is not None or coordinator._coordination_task.done()  # noqa: SLF001

    def check_errors(self) -> None:
        """Let the coordinator tell its error; only in the thread of the consumer's loop.

        Raises:
            aiokafka.errors.KafkaError: the coordinator has failed for good.
        """
        self._coordinator.check_errors()

    async def commits(self) -> dict[TopicPartition, int]:
        """Return the group's commits of the own partitions that have one, by one request.

        Raises:
            aiokafka.errors.KafkaError: the coordinator does not respond.
        """
        found = await self._coordinator.fetch_committed_offsets(list(self.assignment()))
        return {tp: commit.offset for tp, commit in found.items()}

    async def leave_group(self) -> None:
        """End the membership, while all else goes on; see `coordination.leave_group`."""
        await leave_group(self._coordinator, self._client, is_static=bool(self._group_instance_id))

    async def position(self, partition: TopicPartition) -> int:
        """Return the offset of the next record to take."""
        queued = self.fetcher.queues.of(partition).position
        return int(await super().position(partition)) if queued is None else queued


def open_consumer(settings: Settings, **options: Any) -> LogConsumer:  # noqa: ANN401 - aiokafka's
    """Return a consumer without a group, from the beginning where nothing else is said; it is not started."""
    return LogConsumer(**{"auto_offset_reset": "earliest", **connection_options(settings), **options})
