"""Bytes of every topic's records on disk, of histories in Redis and of a worker, after payments at a stated rate.

Each payment has a label, and one in fifty is refused, so that all topics have records. Topics and keys are the
measurement's own and are deleted afterwards.
"""

import asyncio
import signal
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from aiokafka import AIOKafkaConsumer
from redis.asyncio import Redis

from benchmarks.parts.log_sizes import log_bytes
from benchmarks.parts.repair import DAY_S, labels
from features.history.store import Entity
from features.redis.client import open_client, without_password
from features.redis.keys import SINGLE_SERVER_SHARDS, KeyLayout
from fraudstream.bench.keys import PREFIX, keys_of
from fraudstream.bench.payments import PublishedPayment, payments
from fraudstream.bench.worker import WorkerBench, own_names, resident_mib
from fraudstream.demo.services.processes import Child
from models.commands import CommandKind
from stream.errors import MeasurementError
from stream.kafka.client import connection_options
from stream.kafka.topics import DEAD_LETTERS, LABELS, LAYOUTS, OUTCOMES, UNLIMITED
from stream.settings import Settings

_REFUSED_EVERY = 50
_DAY_MS = DAY_S * 1000
_POLL_SECONDS = 0.5
_DONE_SECONDS = 120.0
_AT_ONCE = 500


class SizesEffort(NamedTuple):
    """How many payments, and how many a second; without a rate they wait for the worker, as after an outage."""

    payments: int
    rate: float | None


class TopicSize(NamedTuple):
    """A topic's records, their bytes on one replica's disk, and the days that they are kept (None: for ever).

    `gb_each_second` is the disk of one replica, in gigabytes of 10^9 bytes, for one record a second kept that long.
    """

    topic: str
    records: int
    bytes_each: float
    kept_days: int | None
    gb_each_second: float | None


class HistorySize(NamedTuple):
    """The histories of one kind: how many, how many payments each has, and its bytes by `MEMORY USAGE`."""

    kind: str
    keys: int
    payments_each: float
    bytes_each: float


class Sizes(NamedTuple):
    """Everything that was measured; `used_memory_rise` is what Redis itself took more, in bytes."""

    compression: str
    topics: list[TopicSize]
    histories: list[HistorySize]
    used_memory_rise: int
    worker_mib: float


async def measure_sizes(settings: Settings, digest: str, challenger: str | None, effort: SizesEffort) -> Sizes:
    """Have a worker decide the payments, and measure.

    Raises:
        MeasurementError: the worker does not decide them, or a broker does not tell sizes.
        aiokafka.errors.KafkaError: Kafka does not answer.
    """
    where = without_password(settings.redis_url)
    if "+cluster:" in where:
        raise MeasurementError(f"{where}: clusters are not measured. Set FRAUDSTREAM_REDIS_URL to a single server.")
    own = own_names(settings)
    async with open_client(settings.redis_url) as client, WorkerBench(own) as run:
        worker = run.start_worker()
        try:
            await run.command(CommandKind.PROMOTE, digest)
            if challenger is not None:
                await run.command(CommandKind.CHALLENGE, challenger)
            before = await _used_memory(client)
            made = payments(effort.payments, seed=4)
            await _decide(run, worker, made, effort.rate)
            histories = await _histories(client, own, len(made))
            rise, resident = await _used_memory(client) - before, resident_mib(worker.pid)
            await _answer_the_rest(run, made, effort.rate)
            return Sizes(own.compression, await _topics(own), histories, rise, resident)
        except TimeoutError as error:
            raise MeasurementError(
                f"not everything was answered within {_DONE_SECONDS:g} s; the worker's log is in {run.folder}"
            ) from error
        finally:
            worker.stop()


async def _decide(run: WorkerBench, worker: Child, made: list[PublishedPayment], rate: float | None) -> None:
    """Publish the payments and wait for their scores; without a rate the worker is stopped while they are published."""
    if rate is not None:
        await run.inject(made, rate)
        return
    worker.signal(signal.SIGSTOP)
    try:
        await run.publish(made)
    finally:
        worker.signal(signal.SIGCONT)
    await run.await_seen(len(made))


async def _answer_the_rest(run: WorkerBench, made: Sequence[PublishedPayment], rate: float | None) -> None:
    """Publish the labels, and payments that are refused; wait for all answers, and until comparisons are written."""
    refused = [_refused(one) for one in made[::_REFUSED_EVERY]]
    await run.publish(list(labels(made)), LABELS.name, rate)
    await run.publish(refused, rate=rate)
    wanted = {OUTCOMES.name: len(made), DEAD_LETTERS.name: len(refused)}
    async with asyncio.timeout(_DONE_SECONDS):
        seen, before = await _record_counts(run.settings), dict[str, int]()
        while any(seen[topic] < count for topic, count in wanted.items()) or seen != before:
            await asyncio.sleep(_POLL_SECONDS)
            seen, before = await _record_counts(run.settings), seen


def _refused(one: PublishedPayment) -> PublishedPayment:
    """Return a payment with an amount that is refused."""
    fields = msgspec.json.decode(one.value, type=dict[str, object])
    return one._replace(value=msgspec.json.encode(fields | {"amount_minor": -1}))


async def _record_counts(settings: Settings) -> dict[str, int]:
    """Return how many records each topic has, by its name without prefix; nothing was deleted yet."""
    names = {settings.topic(layout.name): layout.name for layout in LAYOUTS}
    consumer = AIOKafkaConsumer(*names, **connection_options(settings), enable_auto_commit=False)
    counts = dict.fromkeys(names.values(), 0)
    try:
        await consumer.start()
        for tp, end in (await consumer.end_offsets(consumer.assignment())).items():
            counts[names[tp.topic]] += end
    finally:
        await consumer.stop()
    return counts


async def _topics(settings: Settings) -> list[TopicSize]:
    counts = await _record_counts(settings)
    sizes = await log_bytes(settings, [settings.topic(layout.name) for layout in LAYOUTS])
    found = []
    for layout in LAYOUTS:
        if not counts[layout.name]:
            continue
        each = sizes[settings.topic(layout.name)] / counts[layout.name]
        kept = None if layout.retention_ms == UNLIMITED else layout.retention_ms // _DAY_MS
        disk = None if kept is None else each * kept * DAY_S / 1e9
        found.append(TopicSize(layout.name, counts[layout.name], each, kept, disk))
    return found


async def _histories(client: Redis, settings: Settings, count: int) -> list[HistorySize]:
    """Measure the keys of all histories of the deployment."""
    layout = KeyLayout(PREFIX, settings.deployment, SINGLE_SERVER_SHARDS)
    by_kind: dict[Entity, list[bytes]] = {}
    async for key in client.scan_iter(f"{keys_of(settings.deployment)}:*", _AT_ONCE):
        if (parsed := layout.parse(key)) is not None:
            by_kind.setdefault(parsed[0], []).append(key)
    found = []
    for kind, keys in by_kind.items():
        total = 0
        for at in range(0, len(keys), _AT_ONCE):
            async with client.pipeline(transaction=False) as pipeline:
                for key in keys[at : at + _AT_ONCE]:
                    pipeline.memory_usage(key)
                total += sum(size or 0 for size in await pipeline.execute())
        found.append(HistorySize(kind.value, len(keys), count / len(keys), total / len(keys)))
    return found


async def _used_memory(client: Redis) -> int:
    return int((await client.info("memory"))["used_memory"])
