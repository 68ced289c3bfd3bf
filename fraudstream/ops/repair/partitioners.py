"""Tells from keys and partitions which partitioner wrote a topic, and whether several did.

Every client library hashes a record's key to choose its partition, and not all use the same hash: with two of them, a
card's payments go to two partitions. A placement is a key with a partition that it was found on. A hash explains a
placement if it gives that partition; by chance it explains one in N.
"""

import math
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

import msgspec
import numpy as np
from aiokafka.partitioner import murmur2
from numpy.typing import NDArray

_POSITIVE = 0x7FFF_FFFF
_FNV_BASIS, _FNV_PRIME = 0x811C_9DC5, 0x0100_0193
_WORD, _SIGN = 0xFFFF_FFFF, 0x8000_0000
_DOUBT = 1e-6
"""A hash is named if it explains so many placements by chance less often than this."""

Placement = tuple[bytes, int]
Flags = NDArray[np.bool_]


class Partitioner(NamedTuple):
    """A hash of keys: its name, the clients that use it, and the function; the partition is its value modulo N."""

    name: str
    used_by: str
    hash: Callable[[bytes], int]


def _fnv1a(key: bytes) -> int:
    """Return the 32 bits of FNV-1a."""
    value = _FNV_BASIS
    for byte in key:
        value = (value ^ byte) * _FNV_PRIME & _WORD
    return value


def _magnitude(word: int) -> int:
    """Return the absolute value of 32 bits that are taken as a signed integer."""
    return (_WORD + 1) - word if word & _SIGN else word


PARTITIONERS = (
    Partitioner(
        "murmur2",
        "Java's client, Kafka Streams and Connect, aiokafka, kafka-python, KafkaJS, franz-go; librdkafka with "
        "partitioner=murmur2_random",
        lambda key: murmur2(key) & _POSITIVE,
    ),
    Partitioner(
        "crc32",
        "librdkafka's default, consistent_random: confluent-kafka for Python, Go and .NET, node-rdkafka, rust-rdkafka",
        zlib.crc32,
    ),
    Partitioner(
        "fnv1a",
        "Sarama's default, kafka-go's Hash; librdkafka with partitioner=fnv1a_random",
        lambda key: _magnitude(_fnv1a(key)),
    ),
    Partitioner("fnv1a_reference", "Sarama's and kafka-go's reference hash", lambda key: _fnv1a(key) & _POSITIVE),
)

HASHES = MappingProxyType({one.name: one.hash for one in PARTITIONERS})
"""The hash of keys of each partitioner, by its name."""


def used_by(name: str) -> str:
    """Return the clients that use a partitioner."""
    return next(one.used_by for one in PARTITIONERS if one.name == name)


class KeySample(NamedTuple):
    """What was read of a topic with so many partitions: records, those without a card's key, and the placements.

    `is_whole` is false if the time was over before all was read.
    """

    topic: str
    partitions: int
    records: int
    without_card: int
    placements: Collection[Placement]
    is_whole: bool = True


class PartitionerVerdict(StrEnum):
    """What a sample says about the producers of a topic."""

    ONE = "one"
    """One known partitioner wrote it, or it has one partition."""
    MIXTURE = "mixture"
    """Several partitioners wrote it, at least one of them known."""
    UNKNOWN = "unknown"
    """An unknown partitioner wrote it, and each card is on one partition."""
    SCATTERED = "scattered"
    """An unknown partitioner wrote it, or none, and puts cards on several partitions."""
    TOO_FEW = "too_few"
    """There are too few cards to tell."""

    @property
    def text(self) -> str:
        """The verdict in words."""
        return _VERDICT_TEXT[self]


_VERDICT_TEXT = {
    PartitionerVerdict.ONE: "one partitioner",
    PartitionerVerdict.MIXTURE: "several partitioners",
    PartitionerVerdict.UNKNOWN: "an unknown partitioner, each card on one partition",
    PartitionerVerdict.SCATTERED: "cards are on several partitions",
    PartitionerVerdict.TOO_FEW: "too few cards to tell",
}


class WrittenBy(msgspec.Struct, frozen=True):
    """How many placements a partitioner explains.

    `partitions` is smaller than the topic's for records that were written before it got more.
    """

    partitioner: str
    partitions: int
    placements: int


class PartitionerReport(msgspec.Struct, frozen=True, kw_only=True):
    """The partitioners of one topic; placements that none of them explains are `unexplained`.

    `on_two_partitions` counts cards on several partitions, other than by the topic's growth.
    """

    topic: str
    partitions: int
    records: int
    is_whole: bool
    without_card: int
    cards: int
    on_two_partitions: int
    written_by: tuple[WrittenBy, ...]
    unexplained: int
    verdict: PartitionerVerdict

    @property
    def is_refused(self) -> bool:
        """Whether the order of cards is lost, or will be."""
        return self.verdict in {PartitionerVerdict.MIXTURE, PartitionerVerdict.SCATTERED}


def examine(sample: KeySample) -> PartitionerReport:
    """Tell which partitioners wrote a topic."""
    placements = sorted(sample.placements)
    found = _Explained(placements, sample.partitions)
    cards = len({key for key, _ in placements})
    here = Counter(
        key for (key, _), is_before in zip(placements, found.before_growth.tolist(), strict=True) if not is_before
    )
    divided = sum(count > 1 for count in here.values())
    return PartitionerReport(
        topic=sample.topic,
        partitions=sample.partitions,
        records=sample.records,
        is_whole=sample.is_whole,
        without_card=sample.without_card,
        cards=cards,
        on_two_partitions=divided,
        written_by=tuple(found.written_by),
        unexplained=int(found.left.sum()),
        verdict=_verdict(found, len(placements), divided),
    )


class _Explained:
    """The placements explained by partitioners: the one that explains most comes first, then of the rest.

    `left` marks those that none explains; `before_growth` those that are as if the topic had fewer partitions.
    """

    def __init__(self, placements: Sequence[Placement], partitions: int) -> None:
        self.partitions = partitions
        self.written_by: list[WrittenBy] = []
        self.left: Flags = np.full(len(placements), partitions > 1)
        self.before_growth: Flags = np.zeros(len(placements), np.bool_)
        self._at = np.array([partition for _, partition in placements], np.int64)
        self._hashes = {one.name: np.array([one.hash(key) for key, _ in placements], np.int64) for one in PARTITIONERS}
        while best := self._best([partitions]):
            self._take(*best)
        while self.left.any() and (best := self._best(range(int(self._at[self.left].max()) + 1, partitions))):
            self.before_growth |= self._take(*best)

    def _best(self, counts: Sequence[int]) -> tuple[str, int] | None:
        """Return the partitioner, with one of these numbers of partitions, that explains most of the rest, if any."""
        total = int(self.left.sum())
        candidates = [
            (int(self._explains(name, count).sum()), name, count) for name in self._hashes for count in counts
        ]
        if not candidates or not total:
            return None
        explained, name, count = max(candidates, key=lambda one: one[0])
        doubt = chance(explained, total, 1 / count) * len(candidates)
        return (name, count) if doubt < _DOUBT else None

    def _explains(self, name: str, count: int) -> Flags:
        matches: Flags = self.left & (self._hashes[name] % count == self._at)
        return matches

    def _take(self, name: str, count: int) -> Flags:
        matches = self._explains(name, count)
        self.written_by.append(WrittenBy(name, count, int(matches.sum())))
        self.left = self.left & ~matches
        return matches


def chance(explained: int, total: int, share: float) -> float:
    """Return an upper bound on the chance that a wrong hash explains so many of `total` placements.

    It explains each with chance `share`. The bound is Chernoff's, with the relative entropy of the two shares.
    """
    found = explained / total
    if found <= share or share >= 1:
        return 1.0
    entropy = found * math.log(found / share)
    if found < 1:
        entropy += (1 - found) * math.log((1 - found) / (1 - share))
    return math.exp(-total * entropy)


def _verdict(found: _Explained, placements: int, divided: int) -> PartitionerVerdict:
    """Return the verdict on a topic with so many cards on several partitions."""
    known = sum(one.partitions == found.partitions for one in found.written_by)
    if found.partitions == 1:
        return PartitionerVerdict.ONE
    if known:
        return PartitionerVerdict.MIXTURE if known > 1 or found.left.any() else PartitionerVerdict.ONE
    if not placements or chance(placements, placements, 1 / found.partitions) * len(PARTITIONERS) >= _DOUBT:
        return PartitionerVerdict.TOO_FEW
    return PartitionerVerdict.SCATTERED if divided else PartitionerVerdict.UNKNOWN


def advice(report: PartitionerReport) -> Iterator[str]:
    """Yield what an operator should know and do, a line each."""
    if not report.is_whole:
        yield "the time was over before the sample was read; give more --seconds, or fewer --records"
    if report.without_card:
        yield f"{report.without_card:,} records have no key that can be a card_id: they become dead letters, wrong_key"
    match report.verdict:
        case PartitionerVerdict.MIXTURE | PartitionerVerdict.SCATTERED:
            yield (
                "producers place cards differently, and records of one card on two partitions have no order: have all "
                "producers use one partitioner, such as murmur2 (in librdkafka's clients partitioner=murmur2_random)"
            )
        case PartitionerVerdict.TOO_FEW:
            yield "too few cards to tell the partitioner; try again when there are more"
        case PartitionerVerdict.ONE | PartitionerVerdict.UNKNOWN:
            pass
