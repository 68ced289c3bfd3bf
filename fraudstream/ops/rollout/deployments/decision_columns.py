"""The valid decisions of one deployment since a time as columns, some 40 bytes each, so that many can be joined."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fraudstream.ops.rollout.deployments.decisions import compared
from fraudstream_client.outputs import Decision
from stream.readers import ScoreView, ValidViews, read_scores
from stream.scan import EARLIER_SCORES, FetchedRecord, scan_topic
from stream.settings import Settings

DECISIONS = tuple(decision.value for decision in Decision)
_CODES = {decision: code for code, decision in enumerate(DECISIONS)}
ROW = np.dtype(
    [
        ("partition", "i4"),
        ("place", "i8"),
        ("decision", "i1"),
        ("currency", "i2"),
        ("amount_minor", "i8"),
        ("score", "f8"),
        ("latency_ms", "i8"),
    ]
)
"""A decision: its transaction's place, and indexes of `DECISIONS` and of `currencies`. A score that is null is NaN."""

Rows = NDArray[Any]
"""Decisions of the type `ROW`."""


@dataclass(slots=True)
class DecisionCollector:
    """Collects the decisions of a deployment; `currencies` are numbered as they come, for all collectors that share it.

    Attributes:
        passed_over: how many decisions of the time were not read, since there are more than can be held.
    """

    deployment: str
    currencies: list[str]
    passed_over: int = 0
    _valid: ValidViews = field(default_factory=ValidViews)
    _parts: list[Rows] = field(default_factory=list)

    def add(self, records: Iterable[FetchedRecord], first: int) -> None:
        """Add the next records of a partition; those before offset `first` only show which are valid."""
        lines = [
            (record.partition, *self._line(decision))
            for record, decision in self._valid.of(read_scores(records))
            if record.offset >= first and decision.is_of(self.deployment) and compared(decision) in _CODES
        ]
        if lines:
            self._parts.append(np.array(lines, ROW))

    def _line(self, one: ScoreView) -> tuple[int, int, int, int, float, int]:
        if one.currency not in self.currencies:
            self.currencies.append(one.currency)
        score = np.nan if one.score is None else one.score
        currency = self.currencies.index(one.currency)
        return one.place, _CODES[compared(one)], currency, one.amount_minor, score, one.latency_ms

    def rows(self) -> Rows:
        """Return all of them, by partition and place."""
        found = np.concatenate([np.empty(0, ROW), *self._parts])
        return found[np.lexsort((found["place"], found["partition"]))]


async def collect_decisions(
    settings: Settings, topic: str, since_ms: int, most: int, currencies: list[str]
) -> DecisionCollector:
    """Read the decisions of the settings' deployment on a topic of scores since a time: the newest `most`, if more.

    Raises:
        aiokafka.errors.KafkaError: the brokers do not answer, or the topic is missing.
    """
    found = DecisionCollector(settings.deployment, currencies)
    async with scan_topic(settings, topic, since_ms, EARLIER_SCORES) as scan:
        firsts = newest(scan.first, await scan.ends(), most)
        found.passed_over = sum(firsts.values()) - sum(scan.first.values())
        scan.start_at(firsts)
        async for records, _share in scan.read():
            if records:
                found.add(records, firsts[records[0].partition])
    return found


def newest(firsts: Mapping[int, int], ends: Mapping[int, int], most: int) -> dict[int, int]:
    """Return from which offset each partition is read so that at most `most` records are: of each an equal share."""
    share = most // max(1, len(firsts))
    return {partition: max(first, ends.get(partition, first) - share) for partition, first in firsts.items()}
