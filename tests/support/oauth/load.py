"""Load with an even rate on a fleet, and what became of it: lost and repeated payments, and the longest pause."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from aiokafka import AIOKafkaProducer

from fraudstream_client.validity import ValidScores
from support.acceptance import sized
from support.fleet.payments import partition_of, payment


class Became(NamedTuple):
    """What became of payments: how many had no score or several, and the longest ms from a payment to its score."""

    lost: int
    repeated: int
    longest_ms: int


def load_seconds() -> int:
    """Return how long a load lasts, during which tokens of 6 s, or else of 30 s, are renewed."""
    return sized(20, 120, published=1_800)


async def send_evenly(brokers: str, topic: str, first: int, seconds: float, rate: int) -> range:
    """Publish payments, numbered from `first` on, so many a second; return their numbers."""
    producer = AIOKafkaProducer(bootstrap_servers=brokers)
    await producer.start()
    numbers = range(first, first + int(seconds * rate))
    loop = asyncio.get_running_loop()
    begin = loop.time()
    try:
        for number in numbers:
            await asyncio.sleep(max(0.0, begin + (number - first) / rate - loop.time()))
            one = payment(number, cards=400, merchants=100)
            key = one["card_id"]
            await producer.send(topic, msgspec.json.encode(one), key=key.encode(), partition=partition_of(key))
        await producer.flush()
    finally:
        await producer.stop()
    return numbers


def became(payments: Sequence[Any], scores: Sequence[Any], numbers: range) -> Became:
    """Compare the records of payments with those of scores, by the time at which each was sent."""
    reader: ValidScores[Any] = ValidScores()
    sent = {(record.partition, record.offset): record.timestamp for record in payments}
    wanted = {f"t-{number}" for number in numbers}
    counts, longest = Counter[str](), 0
    for record, score in reader.of(scores):
        if score.transaction_id in wanted:
            counts[score.transaction_id] += 1
            longest = max(longest, record.timestamp - sent[score.source.partition, score.source.offset])
    repeated = sum(count > 1 for count in counts.values())
    return Became(len(wanted) - len(counts), repeated, longest)
