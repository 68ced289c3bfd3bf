"""Drive one worker from outside: a backlog for throughput, an open loop for latency, a SIGKILL for the gap.

The injector keeps its schedule whatever the worker does, and latency counts from the schedule.
"""

import asyncio
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

import msgspec
import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from models.commands import CommandKind
from stream.bench.traffic import Sent, partition_of
from stream.clock import now_ms
from stream.commanding import Wish, command_fleet
from stream.embedded.processes import Child, free_port
from stream.kafka import connection_options, producer_options
from stream.settings import Settings
from stream.topics import SCORES, TRANSACTIONS, apply

PARTITIONS = 4
_READY_SECONDS = 60.0
_DONE_SECONDS = 120.0


class Seen(NamedTuple):
    """One score as an outside consumer met it: which transaction, and when (epoch milliseconds)."""

    transaction_id: str
    at_ms: int


class _Named(msgspec.Struct):
    transaction_id: str


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from the schedule to an outside consumer."""

    rate: float
    count: int
    p50: float
    p99: float
    worst: float


def apart(settings: Settings) -> Settings:
    """Return settings with topics, group and Redis keys of the measurement's own."""
    name = f"bench-{now_ms()}"
    return msgspec.structs.replace(settings, topic_prefix=f"{name}-", group=name, deployment=name)


class Bench:
    """A worker under measurement, and the outside's view of its scores."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.seen: list[Seen] = []
        self._folder = Path(tempfile.mkdtemp(prefix="fraudstream-bench-"))
        self._started = 0
        self._met = asyncio.Event()
        self._producer = AIOKafkaProducer(**producer_options(settings), linger_ms=1)
        self._watching: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await apply(self.settings, PARTITIONS, 1)
        await self._producer.start()
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._watching is not None:
            self._watching.cancel()
        await self._producer.stop()

    def start_worker(self) -> Child:
        """Start a worker; it need not be ready yet."""
        self._started += 1
        environment = {
            f"FRAUDSTREAM_{name.upper()}": _text(value) for name, value in msgspec.structs.asdict(self.settings).items()
        } | {"FRAUDSTREAM_HTTP": f"127.0.0.1:{free_port()}", "FRAUDSTREAM_WORKER_ID": f"bench-{self._started}"}
        child = Child(
            (sys.executable, "-m", "stream.cli", "worker"), self._folder / f"{self._started}.log", environment
        )
        child.start()
        return child

    async def promote(self, digest: str) -> None:
        """Make a model live."""
        wish = Wish(CommandKind.PROMOTE, digest, "bench", "a measurement", None, _READY_SECONDS, force=False)
        await command_fleet(self.settings, wish)

    async def publish(self, records: list[Sent]) -> None:
        """Publish as fast as it goes."""
        for sent in records:
            await self._send(sent, None)
        await self._producer.flush()

    async def inject(self, records: list[Sent], rate: float) -> Latency:
        """Publish on schedule and wait until all are decided."""
        before, started = len(self.seen), time.monotonic()
        offset_ms = now_ms() - started * 1000
        due: dict[str, float] = {}
        for number, sent in enumerate(records):
            scheduled = started + number / rate
            wait = scheduled - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            due[msgspec.json.decode(sent.value, type=_Named).transaction_id] = scheduled * 1000 + offset_ms
            await self._send(sent, int(scheduled * 1000 + offset_ms))
        await self.await_seen(before + len(records))
        late = np.array(
            [one.at_ms - due[one.transaction_id] for one in self.seen[before:] if one.transaction_id in due]
        )
        return Latency(rate, len(late), *np.percentile(late, [50, 99, 100]).round(1).tolist())

    async def await_seen(self, count: int) -> None:
        """Wait until so many scores have been met."""
        async with asyncio.timeout(_DONE_SECONDS):
            while len(self.seen) < count:
                self._met.clear()
                await self._met.wait()

    async def _send(self, sent: Sent, timestamp_ms: int | None) -> None:
        topic = self.settings.topic(TRANSACTIONS.name)
        await self._producer.send(
            topic, sent.value, sent.key, partition_of(sent.key, PARTITIONS), timestamp_ms=timestamp_ms
        )

    async def _watch(self) -> None:
        consumer = AIOKafkaConsumer(**connection_options(self.settings), enable_auto_commit=False, fetch_max_wait_ms=5)
        await consumer.start()
        try:
            consumer.assign([TopicPartition(self.settings.topic(SCORES.name), number) for number in range(PARTITIONS)])
            await consumer.seek_to_beginning()
            while True:
                taken = await consumer.getmany(timeout_ms=500)
                now = now_ms()
                for records in taken.values():
                    named = (msgspec.json.decode(record.value or b"", type=_Named) for record in records)
                    self.seen += [Seen(one.transaction_id, now) for one in named]
                self._met.set()
        finally:
            await consumer.stop()


def resident_mib(child: Child) -> float:
    """Return a process's resident memory, from /proc."""
    pages = int(Path(f"/proc/{child.pid}/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
