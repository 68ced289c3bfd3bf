"""The hashes of the client libraries, and what keys and partitions tell about who wrote a topic."""

from collections.abc import Callable, Iterable

import numpy as np
import pytest

from fraudstream.ops.repair.partitioners import (
    PARTITIONERS,
    KeySample,
    PartitionerReport,
    PartitionerVerdict,
    Placement,
    WrittenBy,
    advice,
    chance,
    examine,
    used_by,
)

HASH = {one.name: one.hash for one in PARTITIONERS}
CARDS = [f"card-{number:05}".encode() for number in range(400)]


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        # Kafka's own examples, as signed integers: the partition is that of the lower 31 bits
        ("murmur2", b"21", -973932308 & 0x7FFFFFFF),
        ("murmur2", b"foobar", -790332482 & 0x7FFFFFFF),
        ("murmur2", b"a-little-bit-long-string", -985981536 & 0x7FFFFFFF),
        ("crc32", b"123456789", 0xCBF43926),
        ("fnv1a", b"foobar", 2**32 - 0xBF9CF968),
        ("fnv1a", b"", 2**32 - 0x811C9DC5),
        ("fnv1a_reference", b"foobar", 0xBF9CF968 & 0x7FFFFFFF),
    ],
)
def test_a_hash_gives_its_published_values(name: str, key: bytes, value: int) -> None:
    assert HASH[name](key) == value


def placed(name: str, partitions: int, cards: Iterable[bytes] = CARDS) -> set[Placement]:
    return {(card, HASH[name](card) % partitions) for card in cards}


def report(placements: set[Placement], partitions: int = 12, **changes: object) -> PartitionerReport:
    return examine(KeySample("transactions", partitions, len(placements), 0, placements)._replace(**changes))


@pytest.mark.parametrize("name", HASH)
@pytest.mark.parametrize("partitions", [3, 12, 300])  # with two, both kinds of FNV-1a give the same
def test_one_partitioner_is_named(name: str, partitions: int) -> None:
    found = report(placed(name, partitions), partitions)
    assert (found.verdict, found.written_by) == (PartitionerVerdict.ONE, (WrittenBy(name, partitions, len(CARDS)),))
    assert (found.cards, found.on_two_partitions, found.unexplained, found.is_refused) == (len(CARDS), 0, 0, False)
    assert list(advice(found)) == []
    assert used_by(name)


def test_two_partitioners_with_the_same_cards_are_named_with_the_share_of_cards_on_two_partitions() -> None:
    both = placed("murmur2", 12) | placed("crc32", 12, CARDS[:100])
    found = report(both)
    apart = sum(HASH["murmur2"](card) % 12 != HASH["crc32"](card) % 12 for card in CARDS[:100])
    assert found.verdict is PartitionerVerdict.MIXTURE
    assert found.written_by == (WrittenBy("murmur2", 12, 400), WrittenBy("crc32", 12, apart))
    assert (found.cards, found.on_two_partitions, found.is_refused) == (400, apart, True)
    assert ["partitioner=murmur2_random" in line for line in advice(found)] == [True]


def test_two_partitioners_with_cards_of_their_own_are_a_mixture_too() -> None:
    found = report(placed("crc32", 12, CARDS[:300]) | placed("fnv1a", 12, CARDS[300:]))
    assert [one.partitioner for one in found.written_by] == ["crc32", "fnv1a"]
    assert (found.verdict, found.on_two_partitions) == (PartitionerVerdict.MIXTURE, 0)


def test_a_few_cards_of_another_producer_are_a_mixture_though_its_partitioner_is_not_known() -> None:
    found = report(placed("murmur2", 12) | {(CARDS[0], (HASH["murmur2"](CARDS[0]) + 1) % 12)})
    assert (found.verdict, found.unexplained, found.on_two_partitions) == (PartitionerVerdict.MIXTURE, 1, 1)


@pytest.mark.parametrize("before", [6, 8])
def test_a_topic_that_got_more_partitions_is_no_mixture(before: int) -> None:
    found = report(placed("murmur2", before, CARDS[:200]) | placed("murmur2", 12, CARDS[100:]))
    assert found.verdict is PartitionerVerdict.ONE
    assert {(one.partitioner, one.partitions) for one in found.written_by} == {("murmur2", 12), ("murmur2", before)}
    assert (found.on_two_partitions, found.unexplained) == (0, 0)


def test_an_unknown_partitioner_that_keeps_cards_together_is_accepted() -> None:
    places = np.random.default_rng(1).integers(12, size=len(CARDS)).tolist()
    found = report(set(zip(CARDS, places, strict=True)))
    assert (found.verdict, found.written_by, found.unexplained) == (PartitionerVerdict.UNKNOWN, (), len(CARDS))
    assert not found.is_refused


def test_cards_on_partitions_in_turn_are_refused() -> None:
    found = report({(card, at % 12) for at, card in enumerate(CARDS * 5)})
    assert (found.verdict, found.written_by) == (PartitionerVerdict.SCATTERED, ())
    assert found.on_two_partitions == len(CARDS)
    assert found.is_refused


@pytest.mark.parametrize(("partitions", "count"), [(12, 0), (12, 5), (2, 20)])
def test_too_few_cards_tell_nothing(partitions: int, count: int) -> None:
    found = report(placed("murmur2", partitions, CARDS[:count]), partitions)
    assert (found.verdict, found.written_by, found.is_refused) == (PartitionerVerdict.TOO_FEW, (), False)
    assert ["too few cards" in line for line in advice(found)] == [True]


def test_one_partition_suits_every_partitioner() -> None:
    found = report(placed("murmur2", 1), 1)
    assert (found.verdict, found.unexplained, found.on_two_partitions) == (PartitionerVerdict.ONE, 0, 0)


def test_what_is_wrong_with_a_sample_is_told() -> None:
    found = report(placed("murmur2", 12), without_card=7, is_whole=False)
    assert [line.split(";")[0] for line in advice(found)] == [
        "the time was over before the sample was read",
        "7 records have no key that can be a card_id: they become dead letters, wrong_key",
    ]


@pytest.mark.parametrize(
    ("explained", "total", "share", "holds"),
    [
        (10, 10, 0.5, lambda bound: bound == pytest.approx(2**-10)),
        (5, 10, 0.5, lambda bound: bound == 1),
        (0, 10, 0.5, lambda bound: bound == 1),
        (9, 10, 0.5, lambda bound: 11 / 2**10 < bound < 0.03),
        (3, 3, 1.0, lambda bound: bound == 1),
    ],
)
def test_the_chance_of_a_wrong_hash_is_bounded(
    explained: int, total: int, share: float, holds: Callable[[float], bool]
) -> None:
    assert holds(chance(explained, total, share))
