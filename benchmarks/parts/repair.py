"""Measure how fast lost histories are rebuilt: a log of payments and their labels, and a Redis without any of it.

A worker repairs beside its decisions (`stream.recovery.repair`); here the repair runs alone, in one process with all
partitions, then in two that share them. Topics and keys are the measurement's own and are deleted afterwards.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from datetime import timedelta
from multiprocessing import get_context
from typing import NamedTuple, TypeVar

import msgspec
from aiokafka import AIOKafkaProducer

from features.redis.client import without_password
from features.redis.progress import NO_END, LogPart, TopicName
from features.redis.retention import EpochCoverage
from features.redis.store import RedisStore
from features.vector.sets import FeatureSets, load_sets
from fraudstream.bench.keys import own_keys
from fraudstream.bench.payments import PublishedPayment, payments
from fraudstream.bench.worker import PARTITIONS, own_names
from fraudstream.lab.dataset.injector import Injector, ScheduledRecord
from models.times import format_time, parse_time_ms
from stream.clock import now_ms
from stream.errors import MeasurementError
from stream.kafka.client import open_admin, producer_options
from stream.kafka.topics import LABELS, TRANSACTIONS, apply, layouts_of
from stream.recovery.repair import Repair
from stream.scoring.facts import Fact, Reapplied
from stream.settings import Settings

Given = TypeVar("Given")
Made = TypeVar("Made")

RATES = (10, 100, 1_000)
"""Payments a second for which the time of a day and of a month is estimated."""
DAY_S, MONTH_DAYS = 86_400, 30
_LABEL_DELAY_MS = 7 * 24 * 3_600_000
_FRAUD_EVERY = 100
_MOST_WORKERS = 2


class Speed(NamedTuple):
    """The speed of so many workers: records a second of each kind, and the seconds from the loss to the end."""

    workers: int
    transactions_per_second: float
    labels_per_second: float
    seconds: float


class Estimate(NamedTuple):
    """Seconds that a day and a month of payments take at a speed: without labels, and with one for each payment."""

    workers: int
    payments_per_second: int
    day_s: float
    month_s: float
    labelled_day_s: float
    labelled_month_s: float


class RepairResult(NamedTuple):
    """What one process applied, by topic: how many records, when the first was asked for and the last was applied."""

    counts: dict[str, int]
    begun_s: dict[str, float]
    ended_s: dict[str, float]


class RepairTask(NamedTuple):
    """The partitions that one process repairs."""

    settings: Settings
    repair: EpochCoverage
    partitions: tuple[int, ...]


async def measure_repair(settings: Settings, sets: FeatureSets, count: int, say: Callable[[str], None]) -> list[Speed]:
    """Measure one worker and two; `say` gets a line for each step.

    Raises:
        MeasurementError: the log was not applied completely.
        StoreUnavailableError: Redis does not answer.
        StoreRefusedError: it must not be used.
        aiokafka.errors.KafkaError: Kafka does not answer.
    """
    where = without_password(settings.redis_url)
    if "+cluster:" in where:
        raise MeasurementError(f"{where}: clusters are not measured. Set FRAUDSTREAM_REDIS_URL to a single server.")
    own = own_names(settings)
    found = []
    async with filled(own, count, say):
        for workers in range(1, _MOST_WORKERS + 1):
            say(f"repair by {workers}")
            lost = msgspec.structs.replace(own, deployment=f"{own.deployment}-{workers}")
            found.append(await _repair(lost, sets, workers, count))
    return found


def estimates(speeds: Sequence[Speed]) -> Iterator[Estimate]:
    """Estimate the time of a day and of a month from measured speeds."""
    for speed in speeds:
        for rate in RATES:
            day = rate * DAY_S / speed.transactions_per_second
            labelled = day + rate * DAY_S / speed.labels_per_second
            times = (day, day * MONTH_DAYS, labelled, labelled * MONTH_DAYS)
            yield Estimate(speed.workers, rate, *(round(seconds, 1) for seconds in times))


def duration(seconds: float) -> str:
    """Format a duration as days, hours, minutes and seconds."""
    return str(timedelta(seconds=max(1, round(seconds))))


@asynccontextmanager
async def filled(settings: Settings, count: int, say: Callable[[str], None]) -> AsyncIterator[None]:
    """Create topics with payments and a label for each; they are deleted afterwards."""
    say("make payments")
    made = payments(count, seed=3)
    await apply(settings, PARTITIONS, 1)
    producer = AIOKafkaProducer(**producer_options(settings), linger_ms=5)
    await producer.start()
    try:
        say("publish")
        injector = Injector(producer, None, lambda _item, _due_ms: None, lambda _item, _where: None)
        topics = settings.topic(TRANSACTIONS.name), settings.topic(LABELS.name)
        parts = zip(topics, (made, labels(made)), strict=True)
        await injector.run(
            ScheduledRecord(topic, one.key, one.value, one.transaction_id) for topic, part in parts for one in part
        )
        yield
    finally:
        await producer.stop()
        async with open_admin(settings) as admin:
            await admin.delete_topics([settings.topic(one.name) for one in layouts_of(settings)])


class _SentPayment(msgspec.Struct):
    card_id: str
    occurred_at: str


def labels(made: Sequence[PublishedPayment]) -> Iterator[PublishedPayment]:
    """Yield a label for each payment, a week later; one in a hundred is fraud."""
    for number, one in enumerate(made):
        paid = msgspec.json.decode(one.value, type=_SentPayment)
        known_ms = parse_time_ms(paid.occurred_at).epoch_ms + _LABEL_DELAY_MS
        label = {
            "transaction_id": one.transaction_id,
            "card_id": paid.card_id,
            "fraud": number % _FRAUD_EVERY == 0,
            "labelled_at": format_time(known_ms),
            "reported_by": "chargeback",
        }
        yield PublishedPayment(one.transaction_id, one.key, msgspec.json.encode(label))


async def _repair(settings: Settings, sets: FeatureSets, workers: int, count: int) -> Speed:
    """Repair a deployment that has lost all histories, in so many processes."""
    store = RedisStore(settings.redis_url, settings.deployment, sets, now_ms)
    async with own_keys(settings.redis_url, settings.deployment):
        try:
            await store.connect()
            with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
                await _all(pool, _warm_up, [settings.features] * workers)
                await store.declare_loss("a measurement")
                began = time.monotonic()
                shares = [tuple(range(PARTITIONS))[number::workers] for number in range(workers)]
                results = await _all(
                    pool, _repair_partitions, [RepairTask(settings, store.state.target, share) for share in shares]
                )
                return _speed(results, count, time.monotonic() - began)
        finally:
            await store.close()


async def _all(pool: ProcessPoolExecutor, work: Callable[[Given], Made], given: Sequence[Given]) -> list[Made]:
    loop = asyncio.get_running_loop()
    return await asyncio.gather(*(loop.run_in_executor(pool, work, one) for one in given))


def _speed(results: Sequence[RepairResult], count: int, seconds: float) -> Speed:
    """Summarise the results of all processes."""

    def rate(topic: str) -> float:
        applied = sum(result.counts[topic] for result in results)
        if applied != count:
            raise MeasurementError(f"{applied:,} of {count:,} {topic} were applied")
        lasted_s = max(one.ended_s[topic] for one in results) - min(one.begun_s[topic] for one in results)
        return round(applied / lasted_s, 1)

    return Speed(len(results), rate("transactions"), rate("labels"), round(seconds, 2))


def _warm_up(features: str) -> None:
    """Import what the work needs, in the process that does it."""
    load_sets(features)


def _repair_partitions(task: RepairTask) -> RepairResult:
    """Repair some partitions as their worker would."""
    counts, begun_s, ended_s = dict[str, int](), dict[str, float](), dict[str, float]()

    def emit(fact: Fact) -> None:
        if isinstance(fact, Reapplied):
            counts[fact.topic] = counts.get(fact.topic, 0) + fact.count
            begun_s.setdefault(fact.topic, time.monotonic())
            ended_s[fact.topic] = time.monotonic()

    ends = {LogPart(of_labels, partition): NO_END for of_labels in (True, False) for partition in task.partitions}

    async def all_parts(_partitions: Mapping[TopicName, int]) -> dict[LogPart, int]:
        return ends

    repair = Repair(
        settings=task.settings,
        policy=load_sets(task.settings.features),
        target=task.repair,
        emit=emit,
        read_to=dict,
    )
    if not asyncio.run(repair.run(all_parts)):
        raise MeasurementError("Redis lost records during the measurement: try again")
    return RepairResult(counts, begun_s, ended_s)
