"""Partitions that are set aside are tried again with growing pauses, and say why they wait."""

import asyncio

from aiokafka import TopicPartition
from numpy.random import default_rng

from stream.engine.lanes import AsidePartitions

FIRST, SECOND = TopicPartition("transactions", 0), TopicPartition("transactions", 1)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def pauses(failures: int) -> list[float]:
    """Return the pause after each of so many failures in a row, to a hundredth of a second."""
    clock, found = Clock(), []
    aside = AsidePartitions(clock, default_rng(1))
    for _ in range(failures):
        aside.add(FIRST, "no leader")
        began = clock.now
        while not aside.is_due(FIRST):
            clock.now += 0.01
        found.append(clock.now - began)
    return found


def test_a_partition_that_went_on_begins_with_the_first_pause_again() -> None:
    clock = Clock()
    aside = AsidePartitions(clock, default_rng(1))
    for _ in range(5):
        aside.add(FIRST, "no leader")
    aside.remove(FIRST)
    assert FIRST not in aside
    aside.add(FIRST, "no leader")
    clock.now = 0.13
    assert aside.is_due(FIRST)


def test_a_partition_whose_cause_is_gone_is_due_at_once() -> None:
    aside = AsidePartitions(Clock(), default_rng(1))
    aside.add(FIRST, "its last decisions are being read")
    aside.hurry(SECOND)
    assert not aside.is_due(FIRST)
    assert not aside.is_due(SECOND)
    aside.hurry(FIRST)
    assert aside.is_due(FIRST)


async def test_who_waits_for_a_partition_to_be_set_aside_wakes_with_it_and_does_not_wait_where_there_is_one() -> None:
    aside = AsidePartitions(lambda: 0.0, default_rng(1))
    waiting = asyncio.create_task(aside.wait_for_one(30))
    await asyncio.sleep(0)
    assert not waiting.done()
    aside.add(TopicPartition("labels", 1), "Redis is away")
    await asyncio.wait_for(waiting, 0.5)
    await asyncio.wait_for(aside.wait_for_one(30), 0.5)
    aside.clear()
    await asyncio.wait_for(aside.wait_for_one(0.01), 0.5)
