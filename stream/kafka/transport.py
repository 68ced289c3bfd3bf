"""A Faust transport whose consumer hands its agents whole batches, and commits only what they acknowledged.

The stock path costs some 60 microseconds an event before an agent's first line; this one about two. It reads private
attributes of faust-streaming 0.15 and aiokafka 0.14, which is why both are pinned. Each topic has a puller: it asks for
records only when the topic's last batch is finished, so back-pressure is not asking. Nothing here knows what a record
means.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from faust import App
from faust.events import Event
from faust.transport.conductor import Conductor
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ChannelT, ConsumerMessage, Message
from mode import ServiceT

from stream.kafka.batches import Batch, Commit, CommitLedger, Record
from stream.kafka.fetch_thread import ConsumerOptions, FetchThread

_IDLE_SECONDS = 0.05


class BatchConsumer(driver.Consumer):
    """Hands out one batch a topic at a time; drains and commits before partitions are taken away."""

    _thread: FetchThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - Faust's own
        self.ledger = CommitLedger()
        self.draining = asyncio.Event()
        self.polls = 0
        """Rises with every look for records: what a watchdog watches."""
        self._outstanding: set[Batch] = set()
        self._halted: set[TopicPartition] = set()
        self._takes: set[asyncio.Future[dict[TopicPartition, list[Record]]]] = set()
        self._taking = {topic: asyncio.Lock() for topic in self._told(args[0]).topics}
        super().__init__(*args, **kwargs)

    @property
    def options(self) -> ConsumerOptions:
        """What the transport was told."""
        return self._told(self.transport)

    @staticmethod
    def _told(transport: object) -> ConsumerOptions:
        assert isinstance(transport, BatchTransport)  # noqa: S101 - a wiring error, not an input
        return transport.options

    def _new_consumer_thread(self) -> FetchThread:
        return FetchThread(self, loop=self.loop, beacon=self.beacon)

    # --- assignment

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Drain and commit before the stock handler forgets what was acknowledged.

        A look for records that is under way is called off: were it answered behind the seek that follows the next
        assignment, its records would be read and never handed out.
        """
        self.stop_flow()
        for take in self._takes:
            take.cancel()
        await self.wait_empty()
        await super().on_partitions_revoked(revoked)
        for tp in revoked:
            self.ledger.drop(TopicPartition(*tp))
        for batch in tuple(self._outstanding):
            batch.finish()

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Begin anew: batches of this generation may start."""
        self.draining.clear()
        await super().on_partitions_assigned(assigned, generation_id)

    async def wait_empty(self) -> None:
        """Wait for the batches that have begun, no longer than the drain's deadline, and commit them."""
        self.draining.set()
        begun = [asyncio.ensure_future(batch.finished.wait()) for batch in self._outstanding if batch.started]
        if begun:
            _, late = await asyncio.wait(begun, timeout=self.options.settings.drain_seconds)
            if late:
                self.options.fatal("a batch was still in work when the drain's deadline passed")
        await self.commit()

    async def rewind(self, partition: TopicPartition, offset: int) -> None:
        """Read a partition again from `offset`, once the seek that follows an assignment is done.

        What is out of it becomes stale.
        """
        generation = self.app.consumer_generation_id
        await self.can_resume_flow.wait()
        async with self._taking[partition.topic]:
            if generation != self.app.consumer_generation_id:
                return
            self.ledger.drop(partition)
            await self._thread.run_on_loop(_seek(self._thread._ensure_consumer(), partition, offset))  # noqa: SLF001
            self._read_offset[TP(*partition)] = offset or None

    async def commit_now(self, partition: TopicPartition, commit: Commit) -> bool:
        """Commit, which a coordinator that has moved on refuses: so the partition is known to be ours now."""
        return await self._thread.run_on_loop(self._thread.commit_offsets({partition: commit}))

    async def delivered_offsets(self, topic: str) -> dict[int, int]:
        """Return how far each own partition of a topic has been handed out, once the seek after an assignment is done.

        What has the offset or a higher one will be handed out under this assignment, if it stays ours.
        """
        await self.can_resume_flow.wait()
        return {tp.partition: self._read_offset[tp] or 0 for tp in self._active_partitions if tp.topic == topic}

    def finished_offsets(self, topic: str) -> dict[int, int]:
        """Return the offset behind all that is done with, of each own partition of a topic."""
        mine = [TopicPartition(*tp) for tp in self._active_partitions if tp.topic == topic]
        return {tp.partition: self.ledger.finished_offset(tp) or self._committed_offset[TP(*tp)] or 0 for tp in mine}

    def halt(self, partition: TopicPartition) -> None:
        """Read no more of a partition until the process starts again."""
        self._halted.add(partition)

    # --- for who watches

    @property
    def halted(self) -> int:
        """How many of our partitions are halted."""
        return sum(TP(*tp) in self._active_partitions for tp in tuple(self._halted))

    @property
    def owned(self) -> Counter[str]:
        """How many partitions of each topic are ours."""
        return Counter(tp.topic for tp in tuple(self._active_partitions))

    async def backlog(self) -> dict[TopicPartition, int]:
        """Ask the brokers how many records of each own partition are not done with.

        Raises:
            aiokafka.errors.KafkaError: they do not answer.
        """
        mine = [TopicPartition(*tp) for tp in self._active_partitions]
        begins, ends = await self._thread.run_on_loop(self._thread.offset_bounds(mine)) if mine else ({}, {})
        done = {topic: self.finished_offsets(topic) for topic in {tp.topic for tp in mine}}
        return {tp: max(0, ends[tp] - max(begins[tp], done[tp.topic].get(tp.partition, 0))) for tp in mine}

    # --- acknowledgements are the ledger's: Faust's own are neither kept nor committed

    def ack(self, message: Message) -> bool:  # noqa: ARG002 - Faust's signature
        """Say nothing: a batch is acknowledged by `Batch.acknowledge` alone."""
        return True

    async def force_commit(self, topics: object = None, start_new_transaction: bool = True) -> bool:  # noqa: ARG002, FBT001, FBT002 - Faust's signature
        """Commit what the ledger says may be, of topics that nothing is withheld of."""
        withheld = {topic for topic in self.options.topics if self.options.withheld(topic)}
        commits = {tp: commit for tp, commit in self.ledger.committable().items() if tp.topic not in withheld}
        if not commits:
            return False
        done: bool = await self._thread.run_on_loop(self._thread.commit_offsets(commits))
        if done:
            self.ledger.committed(commits)
        return done

    # --- pulling

    async def _drain_messages(self, fetcher: ServiceT) -> None:
        pullers = [asyncio.ensure_future(self._pull(topic, fetcher)) for topic in self.options.topics]
        try:
            done, _ = await asyncio.wait(pullers, return_when=asyncio.FIRST_EXCEPTION)
            errors = [error for puller in done if (error := puller.exception())]
            if errors and not self._stopping(fetcher):
                self.options.fatal(f"the consumer failed: {errors[0]!r}")
        except asyncio.CancelledError:
            if not self._stopping(fetcher):  # else Faust takes it for a crash in the middle of a rebalance
                raise
        finally:
            for puller in pullers:
                puller.cancel()
            await asyncio.gather(*pullers, return_exceptions=True)

    def _stopping(self, fetcher: ServiceT) -> bool:
        return self.should_stop or fetcher.should_stop or self.app.should_stop

    async def _pull(self, topic: str, fetcher: ServiceT) -> None:
        while not self._stopping(fetcher):
            self.polls += 1
            if not self.flow_active:
                await asyncio.wait({asyncio.ensure_future(self.can_resume_flow.wait())}, timeout=1)
                continue
            partitions = [
                TopicPartition(*tp) for tp in self._active_partitions if tp.topic == topic and tp not in self._halted
            ]
            if not partitions:
                await asyncio.sleep(_IDLE_SECONDS)
                continue
            await self._pull_once(topic, partitions)

    async def _pull_once(self, topic: str, partitions: Sequence[TopicPartition]) -> None:
        async with self._taking[topic]:
            generation = self.app.consumer_generation_id
            taken = await self._take(partitions)
            if generation != self.app.consumer_generation_id:
                return
            fresh = {tp.partition: self._unread(TP(*tp), records) for tp, records in taken.items()}
            fresh = {partition: records for partition, records in fresh.items() if records}
            batch = Batch(topic, generation, fresh, self.ledger, self.draining)
            self._hand_out(batch)
        if fresh:
            await self._deliver(batch)

    async def _take(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, list[Record]]:
        """Look for records; nothing where the look was called off."""
        take = self._thread.run_on_loop(self._thread.fetch(partitions, self.options.settings.poll_records))
        self._takes.add(take)
        try:
            await asyncio.wait({take})
            return {} if take.cancelled() else take.result()
        finally:
            self._takes.discard(take)
            take.cancel()

    def _unread(self, tp: TP, records: list[Record]) -> list[Record]:
        """Leave out what lies before the position that a seek asked for."""
        position = self._read_offset[tp]
        return records if position is None else [record for record in records if record.offset >= position]

    def _hand_out(self, batch: Batch) -> None:
        """Enter a batch into the books."""
        for partition, records in batch.records.items():
            self.ledger.track(TopicPartition(batch.topic, partition), batch.generation, records[-1].offset)
            self._read_offset[TP(batch.topic, partition)] = records[-1].offset + 1

    async def _deliver(self, batch: Batch) -> None:
        """Put a batch into its agents' queues and wait until it is finished."""
        self._outstanding.add(batch)
        try:
            for channel in self._channels(TP(batch.topic, next(iter(batch.records)))):
                channel.queue.put_nowait_enhanced(
                    Event(self.app, None, batch, None, self._envelope(batch)),
                    on_pressure_high=_nothing,
                    on_pressure_drop=_nothing,
                )
            await batch.finished.wait()
        finally:
            self._outstanding.discard(batch)

    def _channels(self, tp: TP) -> Iterable[ChannelT[Batch]]:
        """Return the channels of the agents that read this topic."""
        conductor = self.app.topics
        assert isinstance(conductor, Conductor)  # noqa: S101 - a wiring error, not an input
        return conductor._tp_index[tp]  # noqa: SLF001 - there is no public way to it

    @staticmethod
    def _envelope(batch: Batch) -> ConsumerMessage:
        """Make the message that Faust's stream wants around a batch; it carries the generation and nothing else."""
        partition, records = next(iter(batch.records.items()))
        message = ConsumerMessage(
            batch.topic,
            partition,
            records[-1].offset,
            records[-1].timestamp / 1000.0,
            records[-1].timestamp_type,
            None,
            None,
            None,
            None,
            0,
            0,
            TP(batch.topic, partition),
            generation_id=batch.generation,
        )
        message.incref(1)
        return message


class BatchTransport(driver.Transport):
    """Give it to an app before it starts: `app.transport = BatchTransport(app, options)`."""

    Consumer = BatchConsumer

    def __init__(self, app: App, options: ConsumerOptions) -> None:
        self.options = options
        super().__init__(app.conf.broker_consumer, app)


async def _seek(consumer: AIOKafkaConsumer, partition: TopicPartition, offset: int) -> None:
    consumer.seek(partition, offset)


def _nothing() -> None:
    """Faust's pressure marks: our own pullers never let a queue fill."""
