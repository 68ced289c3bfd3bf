"""A Faust transport whose consumer delivers whole batches to agents, and commits only what they acknowledged.

Faust's own path costs about 60 microseconds per event before an agent's first line, this one about two. It uses private
attributes of faust-streaming 0.15 and aiokafka 0.14, so both are pinned. Each topic has three lanes, and each is polled
only after its last batch is finished, which is the back-pressure: one for all partitions that are well, one that tries
again those that were set aside, and one for those that take more than their share of time.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any, TypeVar

from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError
from faust import App
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, Message
from mode import ServiceT
from numpy.random import default_rng

from stream.engine.batches import Batch, Commit, CommitLedger, Record
from stream.engine.budgets import LEAST_TAKEN, Budgets
from stream.engine.coordination import do_all
from stream.engine.delivery import give_to_agents
from stream.engine.fetch_thread import ConsumerOptions, Fetched, FetchThread, Wanted
from stream.engine.fetcher import LogConsumer, Trouble
from stream.engine.lanes import CALM_SECONDS, IDLE_SECONDS, AsidePartitions, Lane, LaneKind, polls, wait_for_work
from stream.engine.stalled import FailingFetch, HeldBack
from stream.kafka.stray import given_up_as_error
from stream.tasks import end_tasks, set_within

log = logging.getLogger("fraudstream.transport")

Value = TypeVar("Value")

_STILL_SECONDS = 10.0


class BatchConsumer(driver.Consumer):
    """Delivers one batch per lane at a time; drains and commits before partitions are revoked."""

    _thread: FetchThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - Faust's own
        self.ledger = CommitLedger()
        self.draining = asyncio.Event()
        self.aside = AsidePartitions(asyncio.get_running_loop().time, default_rng())
        self.budgets = Budgets(time.monotonic)
        self.lanes = tuple(Lane(topic, kind) for topic in self._options_of(args[0]).topics for kind in LaneKind)
        self.uncopied: dict[TopicPartition, Commit] = {}
        """The last commit of each partition, until whoever keeps a second copy removes it."""
        self._outstanding: set[Batch] = set()
        self._left = False
        super().__init__(*args, **kwargs)

    @property
    def options(self) -> ConsumerOptions:
        """The transport's options."""
        return self._options_of(self.transport)

    @staticmethod
    def _options_of(transport: object) -> ConsumerOptions:
        assert isinstance(transport, BatchTransport)  # noqa: S101 - a wiring error, not an input
        return transport.options

    def _new_consumer_thread(self) -> FetchThread:
        return FetchThread(self, loop=self.loop, beacon=self.beacon)

    # --- assignment

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Drain and commit before Faust's handler drops the acknowledgements.

        A fetch in progress ends without records: what it took would be read but never delivered.
        """
        log.debug("partitions are revoked")
        self.stop_flow()
        self._thread.interrupt()
        await self.wait_empty()
        await super().on_partitions_revoked(revoked)
        self.aside.clear()
        self.budgets.clear()
        for tp in revoked:
            self.ledger.drop(TopicPartition(*tp))
        for batch in tuple(self._outstanding):
            batch.finish()

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Allow batches of the new generation to start."""
        self.draining.clear()
        await super().on_partitions_assigned(assigned, generation_id)

    async def wait_empty(self) -> None:
        """Wait for the started batches until the drain timeout, and commit them."""
        await self._finish_started()
        await self.maybe_wait_for_commit_to_finish()  # else Faust leaves it at a commit that is under way
        await self.commit()

    async def _finish_started(self) -> None:
        self.draining.set()
        started = [asyncio.ensure_future(batch.finished.wait()) for batch in self._outstanding if batch.started]
        if started:
            _, late = await asyncio.wait(started, timeout=self.options.settings.drain_seconds)
            if late:
                self.options.fatal("a batch was still in progress when the drain timeout expired")

    async def hand_over(self) -> None:
        """Finish and commit the started batches, and leave the group; a static member stays, as it may come back.

        Nothing is delivered any more, and nothing committed: without a group the coordinator would take any commit.
        A step that raises leaves out no other: partitions of a member that has not left stand still for its session.
        """
        self.stop_flow()
        self._thread.interrupt()
        await do_all(self._finish_started, self.maybe_wait_for_commit_to_finish, self.commit)
        self._left = True
        await do_all(self._thread.leave_group)

    async def rewind(self, partition: TopicPartition, offset: int, committed: int = 0) -> None:
        """Read a partition again from `offset`, after the seek that follows an assignment.

        Batches in progress lose this partition: it is no longer current in them. Nothing is committed below
        `committed`, the commit of the same log.
        """
        generation = self.app.consumer_generation_id
        await self.can_resume_flow.wait()
        async with AsyncExitStack() as stack:
            for lane in self.lanes:
                if lane.topic == partition.topic:
                    await stack.enter_async_context(lane.lock)
            if generation == self.app.consumer_generation_id:
                self.ledger.drop(partition)
                self.ledger.keep_commit(partition, committed)
                # What was committed may belong to a log that is gone, and is no longer what is finished.
                self._committed_offset[TP(*partition)] = offset
                await self._seek(partition, offset)

    async def _seek(self, partition: TopicPartition, offset: int) -> None:
        await self._thread.run_on_loop(_seek(self._thread.log_consumer, partition, offset))
        self._read_offset[TP(*partition)] = offset or None

    async def commit_now(self, partition: TopicPartition, commit: Commit) -> bool:
        """Commit at once; success proves that the partition still belongs to us, else the coordinator refuses."""
        return await self._make({partition: commit})

    async def _make(self, commits: Mapping[TopicPartition, Commit]) -> bool:
        if self._left:
            return False
        done = await self._thread.run_on_loop(self._thread.commit_offsets(commits))
        if done:
            self.uncopied |= commits
        return done

    async def offsets_to_repair(self, topic: str) -> dict[int, int]:
        """Return `finished_offsets`, after the seek that follows an assignment.

        Records from that offset on will be finished under this assignment, unless the partition is revoked.
        """
        await self.can_resume_flow.wait()
        return self.finished_offsets(topic)

    async def offset_ranges(self, topic: str) -> dict[int, tuple[int, int]]:
        """Return the first offset and the end of each own partition of a topic, after the seek of an assignment.

        Raises:
            aiokafka.errors.KafkaError: the brokers do not respond.
        """
        await self.can_resume_flow.wait()
        own = [TopicPartition(*tp) for tp in self._active_partitions if tp.topic == topic]
        begins, ends = await self._thread.run_on_loop(self._thread.offset_bounds(own)) if own else ({}, {})
        return {tp.partition: (begins[tp], ends[tp]) for tp in own}

    def finished_offsets(self, topic: str) -> dict[int, int]:
        """Return the offset after the last finished record of each own partition of a topic."""
        own = [TopicPartition(*tp) for tp in self._active_partitions if tp.topic == topic]
        return {tp.partition: self.ledger.finished_offset(tp) or self._committed_offset[TP(*tp)] or 0 for tp in own}

    # --- signs of life

    async def verify_all_partitions_active(self) -> None:
        """Do nothing: `pulses` and `reasons` say what hangs. Faust's check would take our fetches for none."""

    def pulses(self) -> dict[str, int]:
        """Return a count for each lane that has begun to poll, and each own partition, that rises while it works."""
        begun = [lane for lane in self.lanes if lane.pulse]  # until the brokers respond, none polls
        lanes = {f"{lane.topic}{lane.kind.value}": lane.pulse for lane in begun}
        fetched = {
            f"the fetch of {tp.topic} partition {tp.partition}": int(at * 1000) for tp, at in self._pulsed_at().items()
        }
        return {f"the consumer of {name}": pulse for name, pulse in lanes.items()} | fetched

    def reasons(self) -> list[str]:
        """Return which own partitions do not go on, and why."""
        now = time.monotonic()
        lasting: list[tuple[TopicPartition, HeldBack | FailingFetch]] = sorted(self.held_back().items())
        lasting += sorted(self._own(self._thread.failing()).items())
        found = [(tp, at, f"its broker has not answered for {now - at:.0f} s") for tp, at in self._pulsed_at().items()]
        found += [(tp, one.since, one.reason(now - one.since)) for tp, one in lasting]
        late = sorted((*tp, why) for tp, since, why in found if now - since > _STILL_SECONDS)
        return [*self.aside.reasons(), *(f"{topic} partition {number}: {why}" for topic, number, why in late)]

    def _pulsed_at(self) -> dict[TopicPartition, float]:
        """Return when each own partition was last fetched, or could not be for a known reason."""
        if not self.flow_active:
            return {}
        return self._own(self._thread.pulsed_at())

    # --- figures for gauges

    def partitions(self, topic: str) -> list[int]:
        """Return the own partitions of a topic."""
        return sorted(tp.partition for tp in tuple(self._active_partitions) if tp.topic == topic)

    def held_back(self) -> dict[TopicPartition, HeldBack]:
        """Return what lies behind an open transaction, by own partition."""
        return self._own(self._thread.held_back())

    def _own(self, found: Mapping[TopicPartition, Value]) -> dict[TopicPartition, Value]:
        own = {TopicPartition(*tp) for tp in tuple(self._active_partitions)}
        return {tp: one for tp, one in found.items() if tp in own}

    @property
    def owned(self) -> Counter[str]:
        """The number of own partitions by topic."""
        return Counter(tp.topic for tp in tuple(self._active_partitions))

    async def backlog(self) -> dict[TopicPartition, int]:
        """Return how many records of each own partition are not finished, by the brokers' current end offsets.

        Raises:
            aiokafka.errors.KafkaError: the brokers do not respond.
        """
        own = [TopicPartition(*tp) for tp in self._active_partitions]
        begins, ends = await self._thread.run_on_loop(self._thread.offset_bounds(own)) if own else ({}, {})
        finished = {topic: self.finished_offsets(topic) for topic in {tp.topic for tp in own}}
        return {tp: max(0, ends[tp] - max(begins[tp], finished[tp.topic].get(tp.partition, 0))) for tp in own}

    # --- acknowledgements: the ledger's count, Faust's own are ignored

    def ack(self, message: Message) -> bool:  # noqa: ARG002 - Faust's signature
        """Do nothing: only `Batch.acknowledge` acknowledges."""
        return True

    async def force_commit(self, topics: object = None, start_new_transaction: bool = True) -> bool:  # noqa: ARG002, FBT001, FBT002 - Faust's signature
        """Commit what the ledger allows, except topics that are withheld."""
        withheld = {topic for topic in self.options.topics if self.options.withheld(topic)}
        commits = {tp: commit for tp, commit in self.ledger.committable().items() if tp.topic not in withheld}
        if not commits:
            return False
        done = await self._make(commits)
        if done:
            self.ledger.committed(commits)
        return done

    # --- polling

    async def _drain_messages(self, fetcher: ServiceT) -> None:
        pollers = [asyncio.ensure_future(self._poll(lane, fetcher)) for lane in self.lanes]
        try:
            done, _ = await asyncio.wait(pollers, return_when=asyncio.FIRST_EXCEPTION)
            errors = [error for poller in done if (error := poller.exception())]
            if errors and not self._stopping(fetcher):
                self.options.fatal(f"the consumer failed: {errors[0]!r}")
        except asyncio.CancelledError:
            if not self._stopping(fetcher):  # while stopping, Faust would mistake it for a crash during a rebalance
                raise
        finally:
            await end_tasks(*pollers)

    def _stopping(self, fetcher: ServiceT) -> bool:
        return self.should_stop or fetcher.should_stop or self.app.should_stop

    async def _poll(self, lane: Lane, fetcher: ServiceT) -> None:
        with given_up_as_error():
            while not self._stopping(fetcher):
                lane.count_poll()
                if not self.flow_active:
                    await set_within(self.can_resume_flow, CALM_SECONDS)
                elif not (partitions := self._pollable(lane)):
                    await wait_for_work(lane.kind, self.aside, self.budgets)
                elif lane.kind is LaneKind.APART:
                    await self._poll_pieces(lane, partitions)
                else:
                    await self._poll_once(lane, partitions)

    def _pollable(self, lane: Lane) -> list[TopicPartition]:
        """Return the partitions that this lane polls now."""
        held = self.options.held()
        own = [TopicPartition(*tp) for tp in self._active_partitions if tp.topic == lane.topic]
        return [tp for tp in own if tp not in held and polls(lane.kind, tp, self.aside, self.budgets)]

    async def _poll_pieces(self, lane: Lane, partitions: Sequence[TopicPartition]) -> None:
        """Work on a piece of each partition that is apart; before the next, others' batches end that have begun."""
        found = False
        for tp in partitions:
            if tp not in self.budgets:  # it was revoked meanwhile
                continue
            began = time.monotonic()
            found |= await self._poll_once(lane, [tp])
            await self._give_way(time.monotonic() - began)
            if tp not in self.budgets:
                self._thread.interrupt()  # the shared lane waits for records of the others alone
        if not found:
            await asyncio.sleep(IDLE_SECONDS)

    async def _give_way(self, seconds: float) -> None:
        """Wait until no batch of a shared lane is in progress, but no longer than so many seconds."""
        shared = [lane.batch for lane in self.lanes if lane.kind is LaneKind.SHARED and lane.batch is not None]
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                for batch in shared:
                    await batch.finished.wait()

    async def _poll_once(self, lane: Lane, partitions: Sequence[TopicPartition]) -> bool:
        """Fetch a batch, have it worked on, and wait for its end; tell whether there was one."""
        async with lane.lock:
            generation = self.app.consumer_generation_id
            records, troubles = await self._fetch(lane, partitions, generation)
            if not self._may_deliver(generation):
                return False
            unread = {tp.partition: self._unread(TP(*tp), some) for tp, some in records.items()}
            unread = {partition: some for partition, some in unread.items() if some}
            batch = Batch(lane.topic, generation, unread, self.ledger, self.draining)
            self._track(batch)
        if lane.kind is LaneKind.RETRIES and not records and not troubles:
            for tp in partitions:
                self.aside.remove(tp)  # nothing is left of what they failed on
        for tp, trouble in troubles.items():
            await self._examine(tp, trouble, generation)
        if unread and self._may_deliver(generation):
            with lane.working_on(batch):
                await self._deliver(batch)
                await self._settle(batch)
            # Not before: until a partition is set aside, no lane but this one may poll it.
            self._count_cost(lane, batch)
        elif lane.kind is LaneKind.APART:
            self.budgets.spent(partitions[0], 0, 0.0)
        return bool(unread)

    def _count_cost(self, lane: Lane, batch: Batch) -> None:
        """Look whether a partition took too much of a batch's processor time, or takes little again."""
        if lane.kind is LaneKind.SHARED:
            self.budgets.judge(batch.topic, batch.records, batch.cost_seconds, self.owned[batch.topic])
        elif lane.kind is LaneKind.APART:
            for partition, records in batch.records.items():
                self.budgets.spent(TopicPartition(batch.topic, partition), len(records), batch.cost_seconds)

    def _may_deliver(self, generation: int) -> bool:
        """Tell whether a batch reaches its agent: Faust drops what comes during a rebalance, or from before one.

        What is delivered before a rebalance begins is finished by it.
        """
        return self.flow_active and generation == self.app.consumer_generation_id

    async def _fetch(self, lane: Lane, partitions: Sequence[TopicPartition], generation: int) -> Fetched:
        """Fetch records as long as they may be delivered: of each of several partitions its part of a full batch."""
        ends, limit = self.options.bounds(lane.topic, partitions), self.options.settings.poll_records
        each = limit if len(partitions) == 1 else max(LEAST_TAKEN, limit // len(partitions))
        each = min(self.budgets.piece(tp, each) for tp in partitions)
        changes = self.budgets.changes

        def may_take() -> bool:
            is_shared = lane.kind is LaneKind.SHARED
            return self._may_deliver(generation) and not (is_shared and self.budgets.changes != changes)

        return await self._thread.fetch(
            Wanted(partitions, limit, each, ends, may_take, waits=lane.kind is not LaneKind.APART)
        )

    async def _examine(self, tp: TopicPartition, trouble: Trouble, generation: int) -> None:
        """Set a partition aside that cannot be read on, or go on behind what an operator has accepted."""
        answer = await self.options.examine(tp, trouble)
        if not self._is_own(tp, generation):
            return
        if isinstance(answer, str):
            if tp not in self.aside:
                log.warning("%s partition %d is set aside: %s", *tp, answer)
            self.aside.add(tp, answer)
            return
        log.warning("%s partition %d goes on at offset %d", *tp, answer)
        await self._seek(tp, answer)
        self.aside.remove(tp)

    async def _settle(self, batch: Batch) -> None:
        """Take partitions back that have gone on, and deliver those again later that were set aside."""
        for partition in batch.acknowledged:
            self.aside.remove(TopicPartition(batch.topic, partition))
        for partition, reason in batch.aside.items():
            tp, records = TopicPartition(batch.topic, partition), batch.records[partition]
            if not self.ledger.is_current(tp, batch.generation, records[-1].offset):
                continue
            self.ledger.withdraw(tp, batch.generation, records[-1].offset)
            await self._seek(tp, records[0].offset)
            if not self._is_own(tp, batch.generation):  # revoked during the seek: nobody would take it back
                continue
            if tp not in self.aside:
                log.warning("%s partition %d is set aside: %s", *tp, reason)
            self.aside.add(tp, reason)

    def _is_own(self, tp: TopicPartition, generation: int) -> bool:
        """Tell whether a partition is ours, under the assignment of a batch or of a fetch."""
        return generation == self.app.consumer_generation_id and TP(*tp) in self._active_partitions

    def _unread(self, tp: TP, records: Sequence[Record]) -> Sequence[Record]:
        """Drop records before the position of the last seek."""
        position = self._read_offset[tp]
        return records if position is None else [record for record in records if record.offset >= position]

    def _track(self, batch: Batch) -> None:
        """Track a batch in the ledger, and advance the read offsets."""
        for partition, records in batch.records.items():
            self.ledger.track(TopicPartition(batch.topic, partition), batch.generation, records[-1].offset)
            self._read_offset[TP(batch.topic, partition)] = records[-1].offset + 1

    async def _deliver(self, batch: Batch) -> None:
        """Put a batch into the queues of its topic's agents and wait until it is finished."""
        self._outstanding.add(batch)
        try:
            give_to_agents(self.app, batch)
            await batch.finished.wait()
        finally:
            self._outstanding.discard(batch)


class BatchTransport(driver.Transport):
    """Set it before the app starts: `app.transport = BatchTransport(app, options)`."""

    Consumer = BatchConsumer

    def __init__(self, app: App, options: ConsumerOptions) -> None:
        self.options = options
        super().__init__(app.conf.broker_consumer, app)


async def _seek(consumer: LogConsumer, partition: TopicPartition, offset: int) -> None:
    try:
        consumer.seek(partition, offset)
    except IllegalStateError as error:
        log.info("%s partition %d belongs to another worker by now: %s", *partition, error)
