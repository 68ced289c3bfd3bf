"""How a running worker's cost grows with partitions and cards, on the Kafka and the Redis of the settings."""

from collections.abc import Sequence
from itertools import cycle, islice

import msgspec

from benchmarks.contenders.harness import ContenderRun
from benchmarks.contenders.registry import OURS
from benchmarks.contenders.task import Line
from benchmarks.growth.series import GrowthPoint, GrowthSeries
from stream.bench.payments import PublishedPayment, payments
from stream.settings import Settings

PARTITIONS = (1, 4, 16, 64)
CARDS = (100, 1_000, 10_000)
_WARM_UP, _SEED = 500, 11
_LINES = ("from a backlog", "at 200 a second")
_RATE = 200.0
_SECONDS = 5.0


def by_partitions(settings: Settings, digest: str, backlog: int) -> GrowthSeries:
    """Measure µs of CPU of a decision by the number of partitions of the topics."""
    points = [
        GrowthPoint(count, _cpu_us(settings, digest, payments(_needed(backlog), _SEED), backlog, count))
        for count in PARTITIONS
    ]
    return GrowthSeries("A worker by partitions", "partitions", "µs of CPU a decision", _LINES, tuple(points))


def by_cards(settings: Settings, digest: str, backlog: int) -> GrowthSeries:
    """Measure µs of CPU of a decision by the number of cards, of which each pays equally often."""
    points = [
        GrowthPoint(count, _cpu_us(settings, digest, _of_cards(_needed(backlog), count), backlog, 4)) for count in CARDS
    ]
    return GrowthSeries("A worker by cards", "cards", "µs of CPU a decision", _LINES, tuple(points))


def _needed(backlog: int) -> int:
    return _WARM_UP + backlog + int(_RATE * _SECONDS)


def _of_cards(count: int, cards: int) -> list[PublishedPayment]:
    """Return payments of so many cards, in turns."""
    found = list[PublishedPayment]()
    for one, number in zip(payments(count, _SEED), cycle(range(cards)), strict=False):
        card = f"card-of-growth-{number}"
        value = msgspec.json.encode(msgspec.json.decode(one.value) | {"card_id": card})
        found.append(PublishedPayment(one.transaction_id, card.encode(), value))
    return found


def _cpu_us(
    settings: Settings, digest: str, some: Sequence[PublishedPayment], backlog: int, partitions: int
) -> tuple[float, ...]:
    supply = iter(some)
    with ContenderRun(settings, OURS, digest, Line.OWN, partitions) as run:
        run.warm_up(list(islice(supply, _WARM_UP)))
        at_rate = run.at_rate(list(islice(supply, int(_RATE * _SECONDS))), _RATE)
        return run.backlog(list(islice(supply, backlog))).cpu_us, at_rate.cpu_us
