"""The history epoch over several shards: equal in all, and above every one under which records were lost."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from redis import Redis

from features.history.retention import ResolutionSchedule, Retention
from features.history.store import Entity
from features.redis.connection import Call, Script
from features.redis.epochs import EpochAnswer, Epochs
from features.redis.keys import HOME_SHARD, KeyLayout
from features.redis.retention import (
    NO_COVERAGE,
    UNKNOWN_RETENTION,
    Coverage,
    EpochCoverage,
    StoredRetention,
    read_retention,
)
from features.redis.server import ServerConnection
from support.examples import examples

pytestmark = pytest.mark.integration

DEPLOYMENTS = itertools.count()
NUMBER = 3
FIRST = 100
COVER = Coverage({"card": 5, "merchant": 7})


@pytest.fixture
def shards() -> KeyLayout:
    return new_shards()


def new_shards() -> KeyLayout:
    """Return keys of several shards, which may all be on one server."""
    return KeyLayout("fraudstream:", f"e{next(DEPLOYMENTS)}", NUMBER)


class Link(ServerConnection):
    """A connection that can be interrupted between the calls of a step, or delay them."""

    def __init__(self, url: str) -> None:
        super().__init__(url, b"tried", 1.0)
        self.calls_left: int | None = None
        self.pauses: Iterator[int] = itertools.repeat(0)

    async def run(self, script: Script, calls: Sequence[Call]) -> list[Any]:
        replies = []
        for call in calls:
            if self.calls_left is not None:
                if not self.calls_left:
                    raise KeyboardInterrupt
                self.calls_left -= 1
            for _ in range(next(self.pauses)):
                await asyncio.sleep(0)
            replies += await super().run(script, [call])
        return replies


@pytest.fixture
async def link(server: str) -> AsyncIterator[Link]:
    opened = Link(server)
    yield opened
    await opened.close()


async def stored_epochs(link: Link, shards: KeyLayout) -> list[int]:
    return [int(value or 0) for value in await link.values(list(enumerate(shards.epochs)))]


async def stored_coverage(link: Link, shards: KeyLayout) -> EpochCoverage:
    return (await Epochs(link, shards, COVER).read()).complete


async def test_the_first_worker_sets_the_first_epoch_in_all_shards(link: Link, shards: KeyLayout) -> None:
    epochs = Epochs(link, shards, COVER)
    assert await epochs.join(FIRST) == EpochAnswer(FIRST, new=True)
    assert await stored_epochs(link, shards) == [FIRST] * NUMBER
    assert await epochs.join(FIRST + 9) == EpochAnswer(FIRST, new=False)
    assert await stored_coverage(link, shards) == EpochCoverage(FIRST, COVER)


@pytest.mark.parametrize("calls", range(1, NUMBER + 1))
async def test_an_interrupted_initialisation_is_completed_by_the_next_worker(
    link: Link, shards: KeyLayout, calls: int
) -> None:
    epochs = Epochs(link, shards, COVER)
    link.calls_left = calls
    with pytest.raises(KeyboardInterrupt):
        await epochs.join(FIRST)
    link.calls_left = None
    assert await epochs.join(FIRST + 9) == EpochAnswer(FIRST, new=True)
    assert await stored_coverage(link, shards) == EpochCoverage(FIRST, COVER)
    assert await stored_epochs(link, shards) == [FIRST] * NUMBER


async def test_workers_that_join_at_the_same_time_agree_on_the_epoch(link: Link, shards: KeyLayout) -> None:
    link.pauses = itertools.cycle((0, 3, 1, 0, 2))
    joined = await asyncio.gather(*(Epochs(link, shards, COVER).join(FIRST + number) for number in range(4)))
    assert {one.epoch for one in joined} == {joined[0].epoch}
    assert await stored_coverage(link, shards) == EpochCoverage(joined[0].epoch, COVER)
    assert await stored_epochs(link, shards) == [joined[0].epoch] * NUMBER


async def test_a_raised_epoch_has_no_coverage(link: Link, shards: KeyLayout) -> None:
    epochs = Epochs(link, shards, COVER)
    await epochs.join(FIRST)
    assert await epochs.raise_above(FIRST) == FIRST + 1
    assert await stored_epochs(link, shards) == [FIRST + 1] * NUMBER
    assert await epochs.join(FIRST) == EpochAnswer(FIRST + 1, new=False)
    assert (await stored_coverage(link, shards)).under(FIRST + 1) == NO_COVERAGE


async def test_raising_above_the_same_epoch_again_returns_the_same_epoch(link: Link, shards: KeyLayout) -> None:
    epochs = Epochs(link, shards, COVER)
    await epochs.join(FIRST)
    assert [await epochs.raise_above(FIRST), await epochs.raise_above(FIRST), await epochs.raise_above(FIRST)] == [
        FIRST + 1
    ] * 3


@pytest.mark.parametrize("lost", range(NUMBER))
@pytest.mark.parametrize("to", [None, FIRST - 1])
async def test_joining_detects_a_shard_that_lost_its_epoch_or_was_set_back(
    server: str, link: Link, shards: KeyLayout, lost: int, to: int | None
) -> None:
    await Epochs(link, shards, COVER).join(FIRST)
    with Redis.from_url(server) as client:
        client.delete(*(key for key in client.scan_iter(shards.epochs[lost] + b"*")))
        if to is not None:
            client.set(shards.epochs[lost], to)
    assert await Epochs(link, shards, COVER).join(FIRST + 9) == EpochAnswer(FIRST + 1, new=False)
    assert (await stored_coverage(link, shards)).under(FIRST + 1) == NO_COVERAGE
    assert await stored_epochs(link, shards) == [FIRST + 1] * NUMBER


async def test_after_an_interrupted_raise_the_next_one_raises_all_shards_above_it(
    link: Link, shards: KeyLayout
) -> None:
    epochs = Epochs(link, shards, COVER)
    await epochs.join(FIRST)
    link.calls_left = 1
    with pytest.raises(KeyboardInterrupt):
        await epochs.raise_above(FIRST)
    link.calls_left = None
    assert await stored_epochs(link, shards) == [FIRST + 1, FIRST, FIRST]
    assert await epochs.raise_above(FIRST) == FIRST + 2
    assert await stored_epochs(link, shards) == [FIRST + 2] * NUMBER


async def test_a_worker_with_an_outdated_epoch_does_not_hide_the_loss_of_a_shard(
    server: str, link: Link, shards: KeyLayout
) -> None:
    epochs = Epochs(link, shards, COVER)
    await epochs.join(FIRST)
    await epochs.raise_above(FIRST)
    with Redis.from_url(server) as client:
        client.delete(shards.epochs[1])
    assert await epochs.raise_above(FIRST) == FIRST + 2
    assert await stored_epochs(link, shards) == [FIRST + 2] * NUMBER


SHORT, LONG, FINE = "card 1/5", "card 1/9", "merchant 1/3 6/8"


async def stored_retentions(link: Link, shards: KeyLayout) -> list[StoredRetention]:
    return [read_retention(value) for value in await link.values(list(enumerate(shards.retention)))]


async def test_the_union_of_all_needs_is_stored_in_all_shards(link: Link, shards: KeyLayout) -> None:
    epochs = Epochs(link, shards, COVER)
    assert await epochs.add_needs(FIRST, [SHORT]) == StoredRetention(FIRST, (SHORT,))
    everything = StoredRetention(FIRST, (SHORT, LONG, FINE))
    assert await epochs.add_needs(FIRST, [FINE, LONG]) == everything
    assert await epochs.add_needs(FIRST, [SHORT]) == everything
    assert await stored_retentions(link, shards) == [everything] * NUMBER
    assert (await epochs.read()).stored == everything
    assert everything.cover == Coverage({"card": 9, "merchant": 8})
    assert everything.retentions[Entity.MERCHANT] == Retention((ResolutionSchedule((1, 6), (3, 8)),))


async def test_needs_of_an_earlier_epoch_are_dropped_and_change_nothing_under_a_later_one(
    link: Link, shards: KeyLayout
) -> None:
    epochs = Epochs(link, shards, COVER)
    await epochs.add_needs(FIRST, [LONG])
    assert await epochs.add_needs(FIRST + 1, [SHORT]) == StoredRetention(FIRST + 1, (SHORT,))
    assert await epochs.add_needs(FIRST, [LONG]) == StoredRetention(FIRST + 1, (SHORT,))
    assert await stored_retentions(link, shards) == [StoredRetention(FIRST + 1, (SHORT,))] * NUMBER


@pytest.mark.parametrize("calls", range(1, NUMBER))
async def test_needs_added_to_some_shards_only_are_not_read_until_the_addition_is_repeated(
    link: Link, shards: KeyLayout, calls: int
) -> None:
    epochs = Epochs(link, shards, COVER)
    await epochs.add_needs(FIRST, [SHORT])
    link.calls_left = calls
    with pytest.raises(KeyboardInterrupt):
        await epochs.add_needs(FIRST, [LONG])
    link.calls_left = None
    assert (await epochs.read()).stored == StoredRetention(FIRST, (SHORT,))
    assert await epochs.add_needs(FIRST, [LONG]) == StoredRetention(FIRST, (SHORT, LONG))
    assert await stored_retentions(link, shards) == [StoredRetention(FIRST, (SHORT, LONG))] * NUMBER


def test_lacking_needs_are_the_own_ones_and_those_that_keep_complete_histories() -> None:
    known = StoredRetention(FIRST, (FINE, SHORT))
    assert known.lacking((SHORT,), Coverage({"card": 5, "merchant": 8})) == set()
    assert known.lacking((LONG,), COVER) == {LONG}
    assert known.lacking((SHORT,), Coverage({"card": 7, "device": 2})) == {"card 1/7", "device 1/2"}
    assert known.lacking((LONG,), Coverage({"card": 7})) == {LONG}
    assert UNKNOWN_RETENTION.lacking((SHORT,), Coverage({})) == {SHORT}


class Deployment:
    """Workers that use shards as batches do, and losses; it records the epoch under which each shard was lost."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._shards = new_shards()
        self._epochs = Epochs(link, self._shards, COVER)
        self._worker_epochs: list[int] = []
        self._lost_under = [0] * NUMBER

    async def begin(self, workers: int) -> None:
        self._worker_epochs = [(await self._epochs.join(FIRST)).epoch for _ in range(workers)]

    async def touch(self, worker: int, shard: int) -> None:
        """Use a shard as a batch does, and raise the epoch if it differs; check that it is above the shard's losses."""
        epoch = (await stored_epochs(self._link, self._shards))[shard]
        worker_epoch = self._worker_epochs[worker]
        if epoch == worker_epoch:
            assert epoch > self._lost_under[shard]
        else:
            self._worker_epochs[worker] = await self._epochs.raise_above(worker_epoch)

    async def lose(self, shard: int) -> None:
        """Lose a shard, HOME_SHARD with the coverage, if another shard still has the epoch."""
        everywhere = await stored_epochs(self._link, self._shards)
        if not any(epoch for place, epoch in enumerate(everywhere) if place != shard):
            return
        self._lost_under[shard] = max(everywhere)
        keys = [self._shards.epochs[shard], *([self._shards.complete] if shard == HOME_SHARD else [])]
        await self._link._client.delete(*keys)


acts = st.one_of(
    st.tuples(st.just("touch"), st.integers(0, 2), st.integers(0, NUMBER - 1)),
    st.tuples(st.just("touch"), st.integers(0, 2), st.integers(0, NUMBER - 1)),
    st.tuples(st.just("lose"), st.just(0), st.integers(0, NUMBER - 1)),
)


@example(
    plan=[[("lose", 0, 1), ("touch", 0, 1)], [("lose", 0, 1), ("touch", 1, 1), ("touch", 0, 1)]], pauses=[0]
)  # a worker with an outdated epoch raises the lost shard to the epoch of the other worker
@given(plan=st.lists(st.lists(acts, min_size=1, max_size=3), max_size=12), pauses=st.lists(st.integers(0, 4)))
@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_worker_uses_a_shard_under_an_epoch_under_which_it_was_lost(
    server: str, plan: list[list[tuple[str, int, int]]], pauses: list[int]
) -> None:
    """The acts of one list of the plan run at the same time, except losses, which come first."""

    async def happen() -> None:
        link = Link(server)
        link.pauses = itertools.cycle([*pauses, 0])
        try:
            deployment = Deployment(link)
            await deployment.begin(3)
            for at_once in plan:
                for _, _, shard in (act for act in at_once if act[0] == "lose"):
                    await deployment.lose(shard)
                await asyncio.gather(*(deployment.touch(*act[1:]) for act in at_once if act[0] == "touch"))
            for worker, shard in itertools.product(range(3), range(NUMBER)):
                await deployment.touch(worker, shard)
        finally:
            await link.close()

    asyncio.run(happen())
