"""Finds out whether single offsets were decided, without reading all scores.

The places of a partition's valid scores rise, so bisection finds where the score of a place would be. Whether a score
is valid depends on those before it; some are read before each place that is looked at.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from aiokafka import TopicPartition

from fraudstream_client.validity import Standing, place_of
from stream.engine.fetcher import LogConsumer, open_consumer
from stream.kafka.client import require_topic
from stream.positions.offsets import read_decision
from stream.scan import EARLIER_SCORES
from stream.settings import Settings

_FETCH_MS, _FETCH_WAIT_MS = 500, 50
_READ_THROUGH = 4 * EARLIER_SCORES
"""So many scores are read one after the other rather than bisected."""


class _ScoresFrom(NamedTuple):
    """Reads the valid scores of an assigned partition from some offset of it on."""

    consumer: LogConsumer
    tp: TopicPartition
    begin: int

    async def first_place(self, start: int, end: int, least: int = -1) -> int | None:
        """Return the place of the first valid score in [start, end) that has at least this place; None if none has."""
        at, standing = max(self.begin, start - EARLIER_SCORES), Standing()
        self.consumer.seek(self.tp, at)
        while at < end:
            for record in (await self.consumer.getmany(self.tp, timeout_ms=_FETCH_MS)).get(self.tp, ()):
                score = read_decision(record)
                if score is None or record.offset >= end:
                    continue
                is_valid = standing.is_valid(score.epoch, score.place)
                standing = standing.after(score.epoch, score.place)
                if is_valid and record.offset >= start and score.place >= least:
                    return score.place
            at = await self.consumer.position(self.tp)
        return None


async def undecided_among(
    consumer: LogConsumer, tp: TopicPartition, log: int, offsets: Iterable[int]
) -> frozenset[int]:
    """Return which offsets of a log have no valid score in a partition of scores, which `consumer` is assigned.

    Raises:
        aiokafka.errors.KafkaError: its broker does not respond.
    """
    begin, end = (await consumer.beginning_offsets([tp]))[tp], (await consumer.end_offsets([tp]))[tp]
    scores = _ScoresFrom(consumer, tp, begin)
    return frozenset([offset for offset in offsets if not await _is_decided(scores, place_of(log, offset), end)])


async def undecided_on(
    settings: Settings, topic: str, log: int, offsets: Mapping[int, Iterable[int]]
) -> dict[int, frozenset[int]]:
    """Return which offsets of a log, given by partition, have no valid score on a topic of scores.

    Raises:
        aiokafka.errors.KafkaError: the brokers do not respond, or the topic does not exist.
    """
    consumer = open_consumer(settings, fetch_max_wait_ms=_FETCH_WAIT_MS)
    try:
        await consumer.start()
        await require_topic(consumer, topic)
        tps = {TopicPartition(topic, partition): asked for partition, asked in offsets.items()}
        consumer.assign(list(tps))
        return {tp.partition: await undecided_among(consumer, tp, log, asked) for tp, asked in tps.items()}
    finally:
        await consumer.stop()


async def _is_decided(scores: _ScoresFrom, place: int, end: int) -> bool:
    low, high = scores.begin, end  # a valid score of the place, if there is one, lies in [low, high)
    while high - low > _READ_THROUGH:
        middle = (low + high) // 2
        following = await scores.first_place(middle, high)
        if following is None or following > place:
            high = middle
        else:
            low = middle
    return await scores.first_place(low, high, place) == place
