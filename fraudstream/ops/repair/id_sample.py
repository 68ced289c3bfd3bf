"""Counts in the last records of a topic which ids the rules on card numbers refuse, before a worker goes by them."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from fraudstream.ops.repair.key_sample import AFTER_ALL_MS
from stream.contract.fields import ORDINARY_VALUE_BYTES
from stream.id_rules import FIELDS, IdRules, common_shapes
from stream.readers import UNREADABLE
from stream.scan import scan_topic
from stream.settings import Settings

COSTS_THE_RECORD = frozenset({"card_id", "merchant_id"})
"""Fields of which a refused id costs the record; the others are dropped, and named on the score."""

_decode = msgspec.json.Decoder().decode


class IdCount(NamedTuple):
    """How many records state an id in a field, how many of these are refused, and the shapes that all of them have."""

    field: str
    records: int
    refused: int
    shapes: Sequence[str]

    @property
    def costs_records(self) -> bool:
        """Tell whether records are refused for these ids."""
        return bool(self.refused) and self.field in COSTS_THE_RECORD


class IdReport(NamedTuple):
    """What was found in a topic: of so many records, of which so many could not be read."""

    topic: str
    records: int
    unreadable: int
    counts: Sequence[IdCount]
    is_whole: bool


class IdSample:
    """Counts ids record by record."""

    def __init__(self, rules: IdRules) -> None:
        self._rules = rules
        self._stated, self._refused = Counter[str](), Counter[str]()
        self._shapes: dict[str, frozenset[str]] = {}
        self.records = self.unreadable = 0

    def add(self, value: bytes | None) -> None:
        """Take the next record."""
        self.records += 1
        raw = _fields_of(value)
        self.unreadable += raw is None
        for field in FIELDS:
            text = (raw or {}).get(field)
            if not isinstance(text, str) or not text:
                continue
            self._stated[field] += 1
            self._refused[field] += self._rules.refuses(field, text, raw or {})
            if (known := self._shapes.get(field)) is None or known:
                self._shapes[field] = common_shapes(text) if known is None else known & common_shapes(text)

    def counts(self) -> Sequence[IdCount]:
        """Return what was counted of each field that was there."""
        fields = [field for field in FIELDS if field in self._stated]
        return [IdCount(one, self._stated[one], self._refused[one], sorted(self._shapes[one])) for one in fields]


def _fields_of(value: bytes | None) -> Mapping[str, Any] | None:
    """Return a record's members; None if it is none that a worker would read as quickly."""
    if not value or len(value) > ORDINARY_VALUE_BYTES:
        return None
    try:
        raw = _decode(value)
    except UNREADABLE:
        return None
    return raw if isinstance(raw, dict) else None


async def sample_ids(settings: Settings, topic: str, records: int, seconds: float, rules: IdRules) -> IdReport:
    """Read the last `records` of each partition of a topic, for at most `seconds`, and count their ids.

    Raises:
        aiokafka.errors.KafkaError: the broker does not respond, or the topic does not exist.
    """
    sample, is_whole = IdSample(rules), True
    async with scan_topic(settings, topic, AFTER_ALL_MS, before=records) as scan:
        try:
            async with asyncio.timeout(seconds):
                async for fetched, _ in scan.read():
                    for one in fetched:
                        sample.add(one.value)
        except TimeoutError:
            is_whole = False
    return IdReport(topic, sample.records, sample.unreadable, sample.counts(), is_whole)
