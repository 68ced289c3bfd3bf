"""Which partitions go on apart from the others, in what pieces, and when they come back."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition

from features.history.records import card_hash
from stream.engine.budgets import LEAST_TAKEN, PIECE_SECONDS, ROUND_SECONDS, Budgets
from support.stream_records import CARD_NUMBER

TOPIC = "transactions"
HERE = TopicPartition(TOPIC, 0)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def budgets(clock: Clock) -> Budgets:
    return Budgets(clock)


def records(count: int, size: int = 500, key: bytes | None = None) -> Sequence[Any]:
    """Return records of so many bytes, each with a key of its own, or all with this one."""
    return [SimpleNamespace(key=key or b"card-%d" % at, value=bytes(size), headers=()) for at in range(count)]


@pytest.mark.parametrize(
    ("parts", "seconds", "own", "is_apart"),
    [
        pytest.param({0: records(128), 1: records(2)}, 0.1, 4, True, id="most of the records"),
        pytest.param({0: records(1, 1 << 20), 1: records(30)}, 0.1, 4, True, id="most of the bytes"),
        pytest.param({0: records(128), 1: records(128)}, 0.1, 4, True, id="twice an equal share"),
        pytest.param({one: records(128) for one in range(4)}, 0.1, 4, False, id="an equal share"),
        pytest.param({0: records(100), 1: records(60)}, 0.1, 2, False, id="more than the other one, but no lot"),
        pytest.param({0: records(128), 1: records(2)}, 0.9 * ROUND_SECONDS, 4, False, id="no long batch"),
        pytest.param({0: records(20)}, 0.1, 4, False, id="too few to compare"),
        pytest.param({0: records(128)}, 0.1, 1, False, id="nobody beside it"),
    ],
)
def test_a_partition_goes_on_apart_that_had_most_of_a_batch_that_took_long(
    parts: dict[int, Sequence[Any]],
    seconds: float,
    own: int,
    is_apart: bool,  # noqa: FBT001 - a case
    budgets: Budgets,
) -> None:
    budgets.judge(TOPIC, parts, seconds, own)
    assert (HERE in budgets) is bool(budgets) is is_apart
    assert budgets.changes == int(is_apart)


@pytest.mark.parametrize(
    ("some", "card"),
    [
        (records(40, key=b"one card"), f"{card_hash('one card') & (1 << 64) - 1:016x}"),
        ([*records(21, key=b"one card"), *records(20)], f"{card_hash('one card') & (1 << 64) - 1:016x}"),
        ([*records(20, key=b"one card"), *records(20)], ""),
        ([SimpleNamespace(key=None, value=b"", headers=())] * 40, ""),
        (records(40, key=b"\xff\xfe no text"), None),
        (records(40, key=CARD_NUMBER.encode()), ""),
        (records(40, key=f"000{CARD_NUMBER[:8]}-{CARD_NUMBER[8:]}".encode()), ""),
    ],
    ids=["one card", "one for the most part", "one of many", "no key", "no text", "a card number", "a dressed one"],
)
def test_the_card_with_most_of_the_records_is_named_by_its_hash_alone(
    some: Sequence[Any], card: str | None, budgets: Budgets, caplog: pytest.LogCaptureFixture
) -> None:
    budgets.judge(TOPIC, {0: some}, 0.1, 4)
    found = budgets.excesses()[HERE]
    assert found.card == card if card is not None else len(found.card) == 16
    assert "one card" not in caplog.text
    assert f"the card with the hash {found.card}" in caplog.text if found.card else "hash" not in caplog.text


def test_a_piece_takes_about_as_long_as_it_should_whatever_a_record_costs(budgets: Budgets) -> None:
    budgets.judge(TOPIC, {0: records(100)}, 0.5, 4)
    for cost, expected in ((0.005, 2), (0.02, 1), (0.0005, 20), (0.00005, 200), (0.000001, 512), (0.004, 2)):
        for _ in range(12):
            piece = budgets.piece(HERE, 512)
            budgets.spent(HERE, piece, piece * cost)
        assert budgets.piece(HERE, 512) == pytest.approx(expected, abs=1), cost
    assert budgets.piece(HERE, 1) == 1
    assert budgets.piece(TopicPartition(TOPIC, 1), LEAST_TAKEN) == LEAST_TAKEN, "of the others as before"


def test_after_cheap_records_a_piece_grows_slowly_since_the_next_may_be_costly(budgets: Budgets) -> None:
    budgets.judge(TOPIC, {0: records(100)}, 0.5, 4)
    before = budgets.piece(HERE, 512)
    budgets.spent(HERE, before, 0.0)
    assert budgets.piece(HERE, 512) == 2 * before


def test_a_partition_comes_back_when_all_has_fitted_into_its_pieces_for_two_seconds(
    budgets: Budgets, clock: Clock
) -> None:
    budgets.judge(TOPIC, {0: records(100)}, 0.5, 4)
    clock.now += 1.9
    budgets.spent(HERE, budgets.piece(HERE, 512), 0.001)  # there may be more behind a full piece
    clock.now += 1.9
    budgets.spent(HERE, 1, 2 * PIECE_SECONDS)
    clock.now += 1.9
    budgets.spent(HERE, 0, 0.0)
    assert HERE in budgets
    clock.now += 0.2
    budgets.spent(HERE, 0, 0.0)
    assert HERE not in budgets
    assert budgets.changes == 2
    budgets.spent(HERE, 1, 1.0)
    assert not budgets


async def test_the_lane_of_pieces_wakes_when_a_partition_is_put_apart(budgets: Budgets) -> None:
    waiting = asyncio.create_task(budgets.wait_for_one(60))
    await asyncio.sleep(0)
    budgets.judge(TOPIC, {0: records(100)}, 0.5, 4)
    await asyncio.wait_for(waiting, 5)
    await asyncio.wait_for(budgets.wait_for_one(60), 5)
    budgets.clear()
    assert not budgets
