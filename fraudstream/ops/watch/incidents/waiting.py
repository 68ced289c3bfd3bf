"""Which payments wait for a decision now: the end of `transactions` against what was decided, refused or committed.

A record that gets no decision (a repeat, a payment of a backfill) leaves no trace but the commit of the group, so that
is asked wherever a partition seems to stand still.
"""

import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import NamedTuple, Self

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from fraudstream.ops.watch.incidents.exposure import Exposure, one
from fraudstream.ops.watch.incidents.facts import StandstillFact, stated_amount
from fraudstream.ops.watch.incidents.rules import WAITING_SECONDS
from fraudstream_client.incidents import Opening
from fraudstream_client.validity import log_and_offset
from stream.kafka.client import committed_offsets, open_admin, require_topic
from stream.kafka.topics import TRANSACTIONS
from stream.scan import FetchedRecord, LogConsumer, open_consumer
from stream.settings import Settings

_FETCH_MS = 200
_READ_SECONDS = 0.5
"""So long the waiting payments of a partition are read at one look; the others are at the next ones."""


class PartitionProgress(NamedTuple):
    """How far a partition is: the place of the last decided transaction, the last refused offset, and when either was.

    -1 where there is none.
    """

    decided: int = -1
    refused: int = -1
    last_ms: int = 0

    @property
    def next_offset(self) -> int:
        """The offset of the first record that may wait."""
        return max(log_and_offset(self.decided)[1], self.refused) + 1

    @property
    def log(self) -> int:
        """The number of the topic's log that is read."""
        return log_and_offset(self.decided)[0]


class WaitingPayment(NamedTuple):
    """The first payment that waits in a partition, when it came, and what waits from there on, as far as was read."""

    opening: Opening
    arrived_ms: int
    exposure: Exposure
    read_to: int


class WaitingPayments:
    """Looks at `transactions` now and then. Use it as an asynchronous context; after an error make another.

    Attributes:
        waiting: what waits in partitions that have made no progress since the look before, by partition.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topic = settings.topic(TRANSACTIONS.name)
        self._stack = AsyncExitStack()
        self._seen: dict[int, int] = {}
        self._found: dict[int, WaitingPayment] = {}
        self._consumer: LogConsumer
        self._admin: AIOKafkaAdminClient

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            self._admin = await stack.enter_async_context(open_admin(self._settings))
            self._consumer = open_consumer(
                self._settings, resets=False, fetch_max_wait_ms=50, consumer_timeout_ms=1_000
            )
            stack.push_async_callback(self._consumer.stop)
            await self._consumer.start()
            await require_topic(self._consumer, self._topic)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @property
    def waiting(self) -> Mapping[int, Exposure]:
        """What waits, by partition."""
        return {number: found.exposure for number, found in self._found.items()}

    async def look(self, progress: Mapping[int, PartitionProgress], now_ms: int) -> list[StandstillFact]:
        """Return which partitions stand still.

        Args:
            progress: how far each partition is that was read to its end just now; others are left out.
            now_ms: the present time.

        Raises:
            aiokafka.errors.KafkaError: the brokers do not respond.
        """
        tps = [TopicPartition(self._topic, number) for number in sorted(progress)]
        if self._consumer.assignment() != set(tps):
            self._consumer.assign(tps)
            self._consumer.pause(*tps)
        ends = await self._consumer.end_offsets(tps) if tps else {}
        next_offsets = {tp.partition: progress[tp.partition].next_offset for tp in tps}
        same = [tp for tp in tps if self._seen.get(tp.partition) == next_offsets[tp.partition] < ends[tp]]
        self._seen = next_offsets
        first = await self._first_offsets(same, next_offsets)
        waiting = {tp: offset for tp, offset in first.items() if offset < ends[tp]}
        read = {
            tp: await self._read(tp, (offset, ends[tp]), progress[tp.partition].log) for tp, offset in waiting.items()
        }
        self._found = {tp.partition: found for tp, found in read.items() if found is not None}
        return [
            StandstillFact(found.opening, since_ms, now_ms)
            for number, found in self._found.items()
            if now_ms - (since_ms := max(found.arrived_ms, progress[number].last_ms)) >= WAITING_SECONDS * 1000
        ]

    async def _first_offsets(
        self, tps: list[TopicPartition], next_offsets: Mapping[int, int]
    ) -> dict[TopicPartition, int]:
        """Return the first offset that may wait in each of these partitions: neither committed nor removed."""
        if not tps:
            return {}
        commits = await committed_offsets(self._settings, self._admin, tps)
        begins = await self._consumer.beginning_offsets(tps)
        return {tp: max(next_offsets[tp.partition], commits[tp].offset, begins[tp]) for tp in tps}

    async def _read(self, tp: TopicPartition, offsets: tuple[int, int], log: int) -> WaitingPayment | None:
        """Read what waits in a range of offsets, and go on where the look before ended; for a moment at most."""
        (first, end), found = offsets, self._found.get(tp.partition)
        if found is not None and found.opening.offset < first:
            found = None
        at, until = (first if found is None else found.read_to), time.monotonic() + _READ_SECONDS
        self._consumer.seek(tp, at)
        self._consumer.resume(tp)
        try:
            while at < end and time.monotonic() < until:
                for record in (await self._consumer.getmany(tp, timeout_ms=_FETCH_MS)).get(tp, ()):
                    found = _with(found, Opening(tp.topic, tp.partition, record.offset, log), record)
                at = await self._consumer.position(tp)
        finally:
            self._consumer.pause(tp)
        return None if found is None else found._replace(read_to=at)


def _with(found: WaitingPayment | None, opening: Opening, record: FetchedRecord) -> WaitingPayment:
    payment = one(record.timestamp, opening, stated_amount(record.value))
    if found is None:
        return WaitingPayment(opening, record.timestamp, payment, record.offset + 1)
    return found._replace(exposure=found.exposure.plus(payment))
