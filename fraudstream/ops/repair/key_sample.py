"""Samples the keys of a topic: those of the last records of each partition."""

import asyncio

from fraudstream.ops.repair.partitioners import KeySample, Placement
from stream.scan import scan_topic
from stream.settings import Settings

LONGEST_CARD = 64
"""A `card_id` has at most so many bytes."""
AFTER_ALL_MS = 1 << 50
"""No record has so late a timestamp, so a scan since then begins at the ends."""


async def sample_keys(settings: Settings, topic: str, records: int, seconds: float) -> KeySample:
    """Read the last `records` of each partition of a topic, for at most `seconds`, and return their keys.

    Raises:
        aiokafka.errors.KafkaError: the broker does not respond, or the topic does not exist.
    """
    placements, count, without_card = set[Placement](), 0, 0
    async with scan_topic(settings, topic, AFTER_ALL_MS, before=records) as scan:
        is_whole = True
        try:
            async with asyncio.timeout(seconds):
                async for fetched, _ in scan.read():
                    count += len(fetched)
                    found = [(one.key, one.partition) for one in fetched if one.key and len(one.key) <= LONGEST_CARD]
                    without_card += len(fetched) - len(found)
                    placements.update(found)
        except TimeoutError:
            is_whole = False
        return KeySample(topic, len(scan.first), count, without_card, placements, is_whole)
