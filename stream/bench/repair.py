"""How fast lost histories are put together again: a log of payments and their labels, a Redis that holds nothing of it.

What is measured is what a worker does beside its decisions (`stream.recovery.repair`), in processes of
their own: one that has all partitions, then two that share them. Topics and keys are the measurement's own, and are
gone afterwards.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from datetime import timedelta
from multiprocessing import get_context
from typing import NamedTuple, TypeVar

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from redis.asyncio import Redis

from features.redis.client import without_password
from features.redis.progress import NO_END, LogPart
from features.redis.retention import EpochCoverage
from features.redis.store import RedisStore
from features.vector.sets import FeatureSets, load_sets
from models.times import format_time, parse_time_ms
from stream.bench.contestants import keys_of, sweep
from stream.bench.crowd import PublishedPayment, payments
from stream.bench.driving import PARTITIONS, apart
from stream.clock import now_ms
from stream.dataset.injector import Injector, ScheduledRecord
from stream.errors import MeasurementError
from stream.kafka.client import connection_options, producer_options
from stream.kafka.topics import LABELS, LAYOUTS, TRANSACTIONS, apply
from stream.recovery.repair import Repair, RepairDeps
from stream.scoring.facts import Fact, Reapplied
from stream.settings import Settings

Given = TypeVar("Given")
Made = TypeVar("Made")

RATES = (10, 100, 1_000)
"""Payments a second of those who may want to know."""
DAY_S, MONTH_DAYS = 86_400, 30
_LABEL_DELAY_MS = 7 * 24 * 3_600_000
_FRAUD_EVERY = 100
_MOST_WORKERS = 2


class Speed(NamedTuple):
    """What so many workers did: records a second of each kind, and the seconds from the loss to the end."""

    workers: int
    transactions_per_second: float
    labels_per_second: float
    seconds: float


class Estimate(NamedTuple):
    """How long a day and a month of payments take at a speed: without labels, and with one for each, in seconds."""

    workers: int
    payments_per_second: int
    day_s: float
    month_s: float
    labelled_day_s: float
    labelled_month_s: float


class Stint(NamedTuple):
    """What one process applied: by topic, how many records, when the first was asked for and the last was applied."""

    counts: dict[str, int]
    begun_s: dict[str, float]
    ended_s: dict[str, float]


class Task(NamedTuple):
    """What one process is to repair."""

    settings: Settings
    repair: EpochCoverage
    partitions: tuple[int, ...]


async def measure_repair(settings: Settings, sets: FeatureSets, count: int, say: Callable[[str], None]) -> list[Speed]:
    """Measure one worker and two; `say` is told what is being done.

    Raises:
        MeasurementError: the log was not applied as a whole.
        StoreUnavailableError: Redis does not answer.
        StoreRefusedError: it must not be used.
        aiokafka.errors.KafkaError: Kafka does not answer.
    """
    where = without_password(settings.redis_url)
    if "+cluster:" in where:
        raise MeasurementError(f"{where}: a cluster is not measured. Set FRAUDSTREAM_REDIS_URL to one server.")
    own = apart(settings)
    found = []
    async with filled(own, count, say):
        for workers in range(1, _MOST_WORKERS + 1):
            say(f"repair by {workers}")
            lost = msgspec.structs.replace(own, deployment=f"{own.deployment}-{workers}")
            found.append(await _repair(lost, sets, workers, count))
    return found


def estimates(speeds: Sequence[Speed]) -> Iterator[Estimate]:
    """Say how long a day and a month would take at speeds that were measured."""
    for speed in speeds:
        for rate in RATES:
            day = rate * DAY_S / speed.transactions_per_second
            labelled = day + rate * DAY_S / speed.labels_per_second
            times = (day, day * MONTH_DAYS, labelled, labelled * MONTH_DAYS)
            yield Estimate(speed.workers, rate, *(round(seconds, 1) for seconds in times))


def spoken(seconds: float) -> str:
    """Say a time as people do."""
    return str(timedelta(seconds=max(1, round(seconds))))


@asynccontextmanager
async def filled(settings: Settings, count: int, say: Callable[[str], None]) -> AsyncIterator[None]:
    """Make topics with payments, and a label for each; they are deleted afterwards."""
    say("make payments")
    made = payments(count, seed=3)
    await apply(settings, PARTITIONS, 1)
    admin = AIOKafkaAdminClient(**connection_options(settings))
    producer = AIOKafkaProducer(**producer_options(settings), linger_ms=5)
    await admin.start()
    await producer.start()
    try:
        say("publish")
        injector = Injector(producer, None, lambda _item, _due_ms: None, lambda _item, _where: None)
        topics = settings.topic(TRANSACTIONS.name), settings.topic(LABELS.name)
        lots = zip(topics, (made, labels(made)), strict=True)
        await injector.run(
            ScheduledRecord(topic, one.key, one.value, one.transaction_id) for topic, lot in lots for one in lot
        )
        yield
    finally:
        await producer.stop()
        await admin.delete_topics([settings.topic(layout.name) for layout in LAYOUTS])
        await admin.close()


class _Payment(msgspec.Struct):
    card_id: str
    occurred_at: str


def labels(made: Sequence[PublishedPayment]) -> Iterator[PublishedPayment]:
    """Yield a label of each payment, known a week later; one in a hundred is fraud."""
    for number, one in enumerate(made):
        paid = msgspec.json.decode(one.value, type=_Payment)
        known_ms = parse_time_ms(paid.occurred_at).epoch_ms + _LABEL_DELAY_MS
        said = {
            "transaction_id": one.transaction_id,
            "card_id": paid.card_id,
            "fraud": number % _FRAUD_EVERY == 0,
            "labelled_at": format_time(known_ms),
            "reported_by": "chargeback",
        }
        yield PublishedPayment(one.transaction_id, one.key, msgspec.json.encode(said))


async def _repair(settings: Settings, sets: FeatureSets, workers: int, count: int) -> Speed:
    """Repair the whole log of a deployment that has lost everything, by so many processes."""
    store = RedisStore(settings.redis_url, settings.deployment, sets, now_ms)
    async with Redis.from_url(settings.redis_url) as client:
        try:
            await store.connect()
            with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
                await _all(pool, _warm_up, [settings.features] * workers)
                await store.declare_loss("a measurement")
                began = time.monotonic()
                shares = [tuple(range(PARTITIONS))[number::workers] for number in range(workers)]
                stints = await _all(pool, _mend, [Task(settings, store.state.target, share) for share in shares])
                return _speed(stints, count, time.monotonic() - began)
        finally:
            await store.close()
            await sweep(client, keys_of(settings.deployment))


async def _all(pool: ProcessPoolExecutor, work: Callable[[Given], Made], given: Sequence[Given]) -> list[Made]:
    loop = asyncio.get_running_loop()
    return await asyncio.gather(*(loop.run_in_executor(pool, work, one) for one in given))


def _speed(stints: Sequence[Stint], count: int, seconds: float) -> Speed:
    """Sum up what processes did."""

    def rate(topic: str) -> float:
        applied = sum(stint.counts[topic] for stint in stints)
        if applied != count:
            raise MeasurementError(f"{applied:,} {topic} were applied where {count:,} are there")
        lasted_s = max(one.ended_s[topic] for one in stints) - min(one.begun_s[topic] for one in stints)
        return round(applied / lasted_s, 1)

    return Speed(len(stints), rate("transactions"), rate("labels"), round(seconds, 2))


def _warm_up(features: str) -> None:
    """Import, in a process, what its work needs."""
    load_sets(features)


def _mend(task: Task) -> Stint:
    """Repair some partitions, as their worker would."""
    counts, begun_s, ended_s = dict[str, int](), dict[str, float](), dict[str, float]()

    def emit(fact: Fact) -> None:
        if isinstance(fact, Reapplied):
            counts[fact.topic] = counts.get(fact.topic, 0) + fact.count
            begun_s.setdefault(fact.topic, time.monotonic())
            ended_s[fact.topic] = time.monotonic()

    ends = {LogPart(of_labels, partition): NO_END for of_labels in (True, False) for partition in task.partitions}

    async def told() -> dict[LogPart, int]:
        return ends

    mending = Repair(RepairDeps(task.settings, load_sets(task.settings.features), task.repair, emit))
    if not asyncio.run(mending.run(told)):
        raise MeasurementError("Redis lost something in the middle of the measurement: try again")
    return Stint(counts, begun_s, ended_s)
