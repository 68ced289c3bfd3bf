"""What a producer of one partition can do to the payments of others: the worst records that are known, on partition 0.

Everyday payments come on the other partitions at a steady rate, first alone, then beside an attack. Latency counts from
the time at which a payment was due to its score at a consumer. Each measurement has topics and a worker of its own.
"""

import asyncio
import os
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from typing import NamedTuple

import click
import msgspec
import numpy as np
from aiokafka import TopicPartition
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatch

from fraudstream.bench.payments import PublishedPayment, payments
from fraudstream.bench.worker import PARTITIONS, WorkerBench, own_names, resident_mib, worker_environment
from models.commands import CommandKind
from stream.clock import now_ms
from stream.errors import MeasurementError
from stream.kafka.client import producer_options
from stream.kafka.stray import PlainProducer
from stream.kafka.topics import DEAD_LETTERS, TRANSACTIONS
from stream.scan import offset_ranges
from stream.settings import Settings, read_settings

LONG = "hour"
"""The attack that takes minutes."""
ATTACKED = 0
"""The partition that is attacked."""
RATE = 20.0
"""Payments a second on each of the others, as the attack was first measured."""
_MIB = 2**20
_WARM_UP, _WARM_UP_RATE = 600, 200.0
_PATIENCE_SECONDS, _SLOWEST = 300.0, 28.0
"""For so long an answer is waited for, or until so many a second would have been answered."""
_IN_A_BATCH, _IN_AN_HOUR, _HOUR_MS = 200, 100_000, 3_600_000
_LOOK_SECONDS = 0.25
_SEED = 36
Batch = Sequence[tuple[bytes, bytes]]
"""Keys and values of records that are compressed together."""


class Attack(NamedTuple):
    """What is sent in one go, each batch compressed by itself, and what it is, in words."""

    batches: Callable[[], Iterator[Batch]]
    text: str


class NeighbourLine(NamedTuple):
    """Milliseconds that the other partitions' payments took before an attack and during it, and how it ended.

    Attributes:
        attack: its name.
        before, during: p50 and p95.
        records: how many records the attack had.
        answered: how many of them have a score or a dead letter.
        seconds: until all were answered.
        resident_mib: the worker's memory before the attack and after it.
    """

    attack: str
    before: tuple[float, float]
    during: tuple[float, float]
    records: int
    answered: int
    seconds: float
    resident_mib: tuple[float, float]

    @property
    def holds(self) -> bool:
        """Whether the other partitions' p95 is at most twice that of before plus 20 ms, and nothing was lost."""
        return self.during[1] <= 2 * self.before[1] + 20 and self.answered == self.records


def _unpacking() -> Iterator[Batch]:
    return ([(b"card", b"0" * (60 * _MIB))] for _ in range(60))


def _digits() -> Iterator[Batch]:
    return ([(b"card", b"7" * (_MIB - 100))] * 8 for _ in range(40))


def _objects() -> Iterator[Batch]:
    return ([(b"card", b"[" + b'{"a":1},' * (_MIB // 8 - 16) + b"0]")] * 8 for _ in range(40))


def _of_cards(cards: int, of_all: int = 20_000, at_ms: Callable[[int], int] | None = None) -> Iterator[Batch]:
    """Make so many payments of some cards; `at_ms` says when each occurs, if not as it is simulated."""
    found = payments(of_all, _SEED + 1)
    for first in range(0, len(found), _IN_A_BATCH):
        batch = []
        for at, one in enumerate(found[first : first + _IN_A_BATCH], first):
            value = msgspec.json.decode(one.value)
            value["card_id"] = f"attacked-{'abcdefghij'[at % cards % 10]}-{at % cards // 10 * 'x'}"
            if at_ms is not None:
                value["occurred_at"] = at_ms(at)
            batch.append((value["card_id"].encode(), msgspec.json.encode(value)))
        yield batch


def _hour_of_a_card() -> Iterator[Batch]:
    """Make payments of one card that are spread evenly over the last hour, which are published at once."""
    begin = now_ms() - _HOUR_MS
    return _of_cards(1, _IN_AN_HOUR, lambda at: begin + at * _HOUR_MS // _IN_AN_HOUR)


ATTACKS = {
    "unpacking": Attack(_unpacking, "60 records of a few kB that unpack to 60 MiB each"),
    "card": Attack(lambda: _of_cards(1), "20,000 payments of one card"),
    "cards": Attack(lambda: _of_cards(200), "20,000 payments of 200 cards"),
    "digits": Attack(_digits, "40 batches of 8 MiB of digits"),
    LONG: Attack(_hour_of_a_card, f"{_IN_AN_HOUR:,} payments of one card in an hour"),
    "objects": Attack(_objects, '40 batches of 8 MiB of {"a":1},'),
}


def medians(lines: Iterable[NeighbourLine]) -> list[NeighbourLine]:
    """Return of each attack the run whose p95 beside it is the median."""
    by_attack: dict[str, list[NeighbourLine]] = {}
    for line in lines:
        by_attack.setdefault(line.attack, []).append(line)
    return [sorted(runs, key=lambda run: run.during[1])[len(runs) // 2] for runs in by_attack.values()]


async def measure_neighbours(settings: Settings, digest: str, attack: str, seconds: float) -> NeighbourLine:
    """Measure the other partitions' payments for so long alone, and as long and until all is answered beside an attack.

    Raises:
        MeasurementError: the model cannot be made live, or payments are not decided.
        aiokafka.errors.KafkaError: the brokers do not respond.
    """
    async with WorkerBench(own_names(settings), PARTITIONS) as run:
        worker = run.start_worker()
        try:
            return await _measured(run, worker.pid, digest, attack, seconds)
        finally:
            worker.stop()


async def _measured(run: WorkerBench, pid: int, digest: str, attack: str, seconds: float) -> NeighbourLine:
    wanted = int(seconds * RATE * (PARTITIONS - 1))
    made = iter(payments(_WARM_UP + 12 * wanted, _SEED))
    await run.command(CommandKind.PROMOTE, digest)
    await run.inject(list(islice(made, _WARM_UP)), _WARM_UP_RATE)
    others = (one for one in made if _partition_of(one.key) != ATTACKED)
    async with _attacker(run.settings, attack) as begin:
        before, memory = await _offered(run, list(islice(others, wanted))), round(resident_mib(pid))
        seen, began = len(run.seen), time.monotonic()
        attacking = asyncio.ensure_future(begin())
        during = await _offered(run, list(islice(others, wanted)))
        sent = await attacking
        answered = await _answered(run, seen + wanted, sent)
    seconds, memories = round(time.monotonic() - began, 1), (memory, round(resident_mib(pid)))
    return NeighbourLine(attack, _figures(before), _figures(during), sent, answered, seconds, memories)


@asynccontextmanager
async def _attacker(settings: Settings, attack: str) -> AsyncIterator[Callable[[], Awaitable[int]]]:
    """Start a process that has all batches of an attack ready; yield what lets it send them, and returns their records.

    In this process their making would hold up what is measured.
    """
    command = sys.executable, "-m", "benchmarks.parts.neighbours", attack
    process = await asyncio.create_subprocess_exec(
        *command, stdin=PIPE, stdout=PIPE, env=os.environ | worker_environment(settings)
    )
    assert process.stdin is not None  # noqa: S101 - it is a pipe
    assert process.stdout is not None  # noqa: S101 - likewise
    told, asked = process.stdout, process.stdin
    try:
        await told.readline()

        async def begin() -> int:
            asked.write(b"\n")
            await asked.drain()
            return int(await told.readline())

        yield begin
    finally:
        asked.close()
        await process.wait()


def _partition_of(key: bytes) -> int:
    return int(DefaultPartitioner()(key, list(range(PARTITIONS)), list(range(PARTITIONS))))


async def _offered(run: WorkerBench, records: list[PublishedPayment]) -> list[float]:
    """Offer payments at the rate of the other partitions; return how late each was decided."""
    due = (await run.offer(records, RATE * (PARTITIONS - 1))).due_ms
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        late = {
            one.transaction_id: one.at_ms - due[one.transaction_id] for one in run.seen if one.transaction_id in due
        }
        if len(late) == len(due):
            return list(late.values())
        if time.monotonic() > deadline:
            raise MeasurementError(f"{len(late):,} of {len(due):,} payments of other partitions are decided")
        await asyncio.sleep(_LOOK_SECONDS)


def _figures(late_ms: Sequence[float]) -> tuple[float, float]:
    p50, p95 = np.percentile(late_ms, [50, 95]).round(1).tolist()
    return p50, p95


async def _attack(settings: Settings, attack: Attack) -> None:
    """Make all batches of an attack, wait for a line, and send them as fast as the broker takes them."""
    builders, sent = list[BatchBuilder](), 0
    for batch in attack.batches():
        builder = BatchBuilder(2**31 - 1, DefaultRecordBatch.CODEC_ZSTD)
        for key, value in batch:
            builder.append(timestamp=None, key=key, value=value)
        builder.close()
        builder._build()  # noqa: SLF001 - compressed now, and not while it is measured
        builders.append(builder)
        sent += len(batch)
    producer = PlainProducer(**producer_options(settings) | {"enable_idempotence": False})
    await producer.start()
    try:
        click.echo("ready")
        await asyncio.to_thread(sys.stdin.readline)
        for builder in builders:
            await (await producer.send_batch(builder, settings.topic(TRANSACTIONS.name), partition=ATTACKED))
    finally:
        await producer.stop()
    click.echo(sent)


async def _answered(run: WorkerBench, before: int, sent: int) -> int:
    """Wait until all records of an attack have a score or a dead letter; return how many have one in the end."""
    letters = TopicPartition(run.settings.topic(DEAD_LETTERS.name), 0)
    deadline = time.monotonic() + max(_PATIENCE_SECONDS, sent / _SLOWEST)
    while True:
        begin, end = (await offset_ranges(run.settings, [letters]))[letters]
        found = len(run.seen) - before + end - begin
        if found >= sent or time.monotonic() > deadline:
            return found
        await asyncio.sleep(_LOOK_SECONDS)


if __name__ == "__main__":
    asyncio.run(_attack(read_settings(os.environ), ATTACKS[sys.argv[1]]))
