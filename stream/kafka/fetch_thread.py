"""The thread that speaks to Kafka for a worker's consumer: it joins, beats, fetches and commits on its own loop.

Nothing here knows a batch's fate; `transport` hands out what is taken here.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from aiokafka.structs import OffsetAndMetadata
from faust.transport.drivers import aiokafka as driver

from stream.kafka.batches import Commit, Record
from stream.kafka.client import connection_options
from stream.settings import Settings

log = logging.getLogger("fraudstream.fetching")

Result = TypeVar("Result")

_POLL_MS = 1000


@dataclass(frozen=True, slots=True)
class ConsumerOptions:
    """What the transport is told: topics, limits, the client's name, and whom to tell that it cannot go on.

    `withheld` says of a topic whether nothing of it may be committed now, though it is acknowledged.
    """

    settings: Settings
    topics: tuple[str, ...]
    client_id: str
    fatal: Callable[[str], None]
    withheld: Callable[[str], bool]


class FetchThread(driver.AIOKafkaConsumerThread):
    """The thread that speaks to Kafka: heartbeats and fetches go on while the main loop computes."""

    def _create_worker_consumer(self, transport: driver.Transport) -> AIOKafkaConsumer:
        options: ConsumerOptions = transport.options  # type: ignore[attr-defined] # it is a BatchTransport
        settings, conf = options.settings, self.app.conf
        return AIOKafkaConsumer(
            **connection_options(settings),
            client_id=options.client_id,
            group_id=conf.id,
            partition_assignment_strategy=(RangePartitionAssignor,),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_poll_records=settings.poll_records,
            max_poll_interval_ms=int(conf.broker_max_poll_interval * 1000),
            fetch_max_wait_ms=settings.fetch_wait_ms,
            request_timeout_ms=int(conf.broker_request_timeout * 1000),
            session_timeout_ms=int(conf.broker_session_timeout * 1000),
            rebalance_timeout_ms=int(conf.broker_rebalance_timeout * 1000),
            heartbeat_interval_ms=int(conf.broker_heartbeat_interval * 1000),
        )

    async def fetch(self, partitions: Sequence[TopicPartition], most: int) -> dict[TopicPartition, list[Record]]:
        """Wait for records of these partitions; a fair share of each where several have some."""
        consumer = self._ensure_consumer()
        ready = [partition for partition in partitions if partition in consumer._fetcher._records]  # noqa: SLF001
        taken: dict[TopicPartition, list[Record]] = {}
        if len(ready) > 1:
            for partition in ready:
                taken.update(await consumer.getmany(partition, timeout_ms=0, max_records=max(1, most // len(ready))))
        return taken or await consumer.getmany(*partitions, timeout_ms=_POLL_MS, max_records=most)

    async def commit_offsets(self, commits: Mapping[TopicPartition, Commit]) -> bool:
        """Commit offsets with their notes; False where the group has moved on or the broker is away."""
        consumer = self._ensure_consumer()
        mine = consumer.assignment()
        offsets = {tp: OffsetAndMetadata(*commit) for tp, commit in commits.items() if tp in mine}
        if not offsets:
            return False
        try:
            await consumer.commit(offsets)
        except (CommitFailedError, IllegalStateError) as error:
            log.info("commit refused, the group has moved on: %s", error)
            return False
        except KafkaError as error:
            log.warning("commit failed, trying again later: %s", error)
            return False
        return True

    async def offset_bounds(
        self, partitions: Sequence[TopicPartition]
    ) -> tuple[Mapping[TopicPartition, int], Mapping[TopicPartition, int]]:
        """Ask the brokers where the partitions begin and end now."""
        consumer = self._ensure_consumer()
        return await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)

    def run_on_loop(self, coroutine: Coroutine[Any, Any, Result]) -> "asyncio.Future[Result]":
        """Run a coroutine on this thread's loop and await it from the main one, past Faust's two-lane queue."""
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self.thread_loop))
