"""How a running worker's cost grows with partitions, cards and time, on the Kafka and the Redis of the settings."""

import time
from collections.abc import Iterator, Sequence
from itertools import islice

from benchmarks.contenders.harness import ContenderRun
from benchmarks.contenders.registry import OURS
from benchmarks.contenders.task import Line
from benchmarks.growth.cards import CardSupply, write_histories
from benchmarks.growth.memory import SAMPLE_SECONDS
from benchmarks.growth.series import GrowthPoint, GrowthSeries
from fraudstream.bench.payments import PublishedPayment, payments
from stream.settings import Settings

PARTITIONS = (1, 4, 16, 64)
CARDS = (1_000, 10_000, 100_000, 1_000_000)
_WARM_UP, _SEED = 500, 11
_LINES = ("from a backlog", "at 200 a second")
_RATE = 200.0
_SECONDS = 5.0
_AT_RATE = int(_RATE * _SECONDS)
_FILLING = 50_000
"""Payments that fill the worker's cache: with 512 MiB for cards and merchants it holds some 44,000 cards."""


def by_partitions(settings: Settings, digest: str, backlog: int) -> GrowthSeries:
    """Measure µs of CPU of a decision by the number of partitions of the topics."""
    some = payments(_WARM_UP + backlog + _AT_RATE, _SEED)
    points = [GrowthPoint(count, _by_partitions_us(settings, digest, some, count)) for count in PARTITIONS]
    return GrowthSeries("A worker by partitions", "partitions", "µs of CPU a decision", _LINES, tuple(points))


def _by_partitions_us(
    settings: Settings, digest: str, some: Sequence[PublishedPayment], partitions: int
) -> tuple[float, ...]:
    supply = iter(some)
    with ContenderRun(settings, OURS, digest, Line.OWN, partitions) as run:
        run.warm_up(list(islice(supply, _WARM_UP)))
        at_rate = run.at_rate(list(islice(supply, _AT_RATE)), _RATE)
        return run.backlog(list(supply)).cpu_us, at_rate.cpu_us


def by_cards(settings: Settings, digest: str, backlog: int) -> GrowthSeries:
    """Measure µs of CPU of a decision by the number of cards, each with a history of 60 records beforehand.

    The worker decides a payment of each card, at most 50,000, until its cache has what it can hold; then payments of
    random cards count. So of few cards it finds all histories in its cache, of a million hardly any.
    """
    points = [GrowthPoint(count, _by_cards_us(settings, digest, backlog, count)) for count in CARDS]
    return GrowthSeries("A worker by cards", "cards", "µs of CPU a decision", _LINES, tuple(points))


def _by_cards_us(settings: Settings, digest: str, backlog: int, cards: int) -> tuple[float, ...]:
    supply = CardSupply(cards, _SEED)
    with ContenderRun(settings, OURS, digest, Line.OWN) as run:
        run.warm_up(payments(_WARM_UP, _SEED))
        write_histories(run.settings, cards, _SEED)
        filling = supply.once_each(_FILLING)
        found = run.backlog(filling + supply.at_random(backlog), len(filling))
        return found.cpu_us, run.at_rate(supply.at_random(_AT_RATE), _RATE).cpu_us


def over_time(settings: Settings, digest: str, rate: float, minutes: int) -> Iterator[GrowthPoint]:
    """Yield seconds since the first payment, MiB of resident memory and decided payments, after each half minute.

    Raises:
        MeasurementError: payments are not decided.
    """
    stretches, each = minutes * 60 // SAMPLE_SECONDS, int(rate * SAMPLE_SECONDS)
    supply = iter(payments(_WARM_UP + stretches * each, _SEED))
    with ContenderRun(settings, OURS, digest, Line.OWN) as run:
        run.warm_up(list(islice(supply, _WARM_UP)))
        began = time.monotonic()
        yield GrowthPoint(0, (run.resident_mib(), 0.0))
        for stretch in range(1, stretches + 1):
            run.at_rate(list(islice(supply, each)), rate)
            run.scores.values.clear()  # this process's memory
            yield GrowthPoint(round(time.monotonic() - began), (run.resident_mib(), float(stretch * each)))
