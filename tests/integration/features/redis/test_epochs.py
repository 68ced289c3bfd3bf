"""The history epoch over several shards: agreed on by all, and above every one under which anything was lost."""

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
from support.redis.server import redis_server

pytestmark = pytest.mark.integration

DEPLOYMENTS = itertools.count()
NUMBER = 3
FIRST = 100
COVER = Coverage({"card": 5, "merchant": 7})


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with redis_server() as url:
        yield url


@pytest.fixture
def shards() -> KeyLayout:
    return new_shards()


def new_shards() -> KeyLayout:
    """Several shards on one server: it does not mind which slots they are in."""
    return KeyLayout("fraudstream:", f"e{next(DEPLOYMENTS)}", NUMBER)


class Link(ServerConnection):
    """A connection that can end in the middle of what it is told, or be slow with it."""

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


async def found(link: Link, shards: KeyLayout) -> list[int]:
    return [int(value or 0) for value in await link.values(list(enumerate(shards.epochs)))]


async def whole(link: Link, shards: KeyLayout) -> EpochCoverage:
    return (await Epochs(link, shards, COVER).read()).complete


async def test_a_new_deployment_begins_in_all_shards_once(link: Link, shards: KeyLayout) -> None:
    epochs = Epochs(link, shards, COVER)
    assert await epochs.join(FIRST) == EpochAnswer(FIRST, new=True)
    assert await found(link, shards) == [FIRST] * NUMBER
    assert await epochs.join(FIRST + 9) == EpochAnswer(FIRST, new=False)
    assert await whole(link, shards) == EpochCoverage(FIRST, COVER)


@pytest.mark.parametrize("calls", range(1, NUMBER + 1))
async def test_a_beginning_that_was_interrupted_is_ended_by_the_next_worker(
    link: Link, shards: KeyLayout, calls: int
) -> None:
    epochs = Epochs(link, shards, COVER)
    link.calls_left = calls
    with pytest.raises(KeyboardInterrupt):
        await epochs.join(FIRST)
    link.calls_left = None
    assert await epochs.join(FIRST + 9) == EpochAnswer(FIRST, new=True)
    assert await whole(link, shards) == EpochCoverage(FIRST, COVER)
    assert await found(link, shards) == [FIRST] * NUMBER


async def test_two_workers_that_begin_at_once_begin_the_same(link: Link, shards: KeyLayout) -> None:
    link.pauses = itertools.cycle((0, 3, 1, 0, 2))
    joined = await asyncio.gather(*(Epochs(link, shards, COVER).join(FIRST + number) for number in range(4)))
    assert {one.epoch for one in joined} == {joined[0].epoch}
    assert await whole(link, shards) == EpochCoverage(joined[0].epoch, COVER)
    assert await found(link, shards) == [joined[0].epoch] * NUMBER


async def test_a_risen_epoch_is_not_whole(link: Link, shards: KeyLayout) -> None:
    epochs = Epochs(link, shards, COVER)
    await epochs.join(FIRST)
    assert await epochs.raise_above(FIRST) == FIRST + 1
    assert await found(link, shards) == [FIRST + 1] * NUMBER
    assert await epochs.join(FIRST) == EpochAnswer(FIRST + 1, new=False)
    assert (await whole(link, shards)).under(FIRST + 1) == NO_COVERAGE


async def test_workers_that_notice_the_same_loss_raise_the_epoch_once(link: Link, shards: KeyLayout) -> None:
    epochs = Epochs(link, shards, COVER)
    await epochs.join(FIRST)
    assert [await epochs.raise_above(FIRST), await epochs.raise_above(FIRST), await epochs.raise_above(FIRST)] == [
        FIRST + 1
    ] * 3


@pytest.mark.parametrize("lost", range(NUMBER))
@pytest.mark.parametrize("to", [None, FIRST - 1])
async def test_a_shard_that_lost_its_epoch_or_was_set_back_is_noticed_by_who_joins(
    server: str, link: Link, shards: KeyLayout, lost: int, to: int | None
) -> None:
    await Epochs(link, shards, COVER).join(FIRST)
    with Redis.from_url(server) as client:
        client.delete(*(key for key in client.scan_iter(shards.epochs[lost] + b"*")))
        if to is not None:
            client.set(shards.epochs[lost], to)
    assert await Epochs(link, shards, COVER).join(FIRST + 9) == EpochAnswer(FIRST + 1, new=False)
    assert (await whole(link, shards)).under(FIRST + 1) == NO_COVERAGE
    assert await found(link, shards) == [FIRST + 1] * NUMBER


async def test_a_rise_that_was_interrupted_is_ended_above_it_by_whoever_meets_it(link: Link, shards: KeyLayout) -> None:
    epochs = Epochs(link, shards, COVER)
    await epochs.join(FIRST)
    link.calls_left = 1
    with pytest.raises(KeyboardInterrupt):
        await epochs.raise_above(FIRST)
    link.calls_left = None
    assert await found(link, shards) == [FIRST + 1, FIRST, FIRST]
    assert await epochs.raise_above(FIRST) == FIRST + 2
    assert await found(link, shards) == [FIRST + 2] * NUMBER


async def test_a_loss_is_not_hidden_by_a_worker_that_still_believes_in_an_earlier_epoch(
    server: str, link: Link, shards: KeyLayout
) -> None:
    epochs = Epochs(link, shards, COVER)
    await epochs.join(FIRST)
    await epochs.raise_above(FIRST)
    with Redis.from_url(server) as client:
        client.delete(shards.epochs[1])
    assert await epochs.raise_above(FIRST) == FIRST + 2
    assert await found(link, shards) == [FIRST + 2] * NUMBER


SHORT, LONG, FINE = "card 1/5", "card 1/9", "merchant 1/3 6/8"


async def kept(link: Link, shards: KeyLayout) -> list[StoredRetention]:
    return [read_retention(value) for value in await link.values(list(enumerate(shards.retention)))]


async def test_histories_are_kept_as_all_ask_together_in_all_shards(link: Link, shards: KeyLayout) -> None:
    epochs = Epochs(link, shards, COVER)
    assert await epochs.add_needs(FIRST, [SHORT]) == StoredRetention(FIRST, (SHORT,))
    everything = StoredRetention(FIRST, (SHORT, LONG, FINE))
    assert await epochs.add_needs(FIRST, [FINE, LONG]) == everything
    assert await epochs.add_needs(FIRST, [SHORT]) == everything
    assert await kept(link, shards) == [everything] * NUMBER
    assert (await epochs.read()).stored == everything
    assert everything.cover == Coverage({"card": 9, "merchant": 8})
    assert everything.retentions[Entity.MERCHANT] == Retention((ResolutionSchedule((1, 6), (3, 8)),))


async def test_what_was_asked_under_an_earlier_epoch_is_forgotten_and_under_a_later_one_stays(
    link: Link, shards: KeyLayout
) -> None:
    epochs = Epochs(link, shards, COVER)
    await epochs.add_needs(FIRST, [LONG])
    assert await epochs.add_needs(FIRST + 1, [SHORT]) == StoredRetention(FIRST + 1, (SHORT,))
    assert await epochs.add_needs(FIRST, [LONG]) == StoredRetention(FIRST + 1, (SHORT,))
    assert await kept(link, shards) == [StoredRetention(FIRST + 1, (SHORT,))] * NUMBER


@pytest.mark.parametrize("calls", range(1, NUMBER))
async def test_who_is_interrupted_while_asking_has_others_hear_of_it_last(
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
    assert await kept(link, shards) == [StoredRetention(FIRST, (SHORT, LONG))] * NUMBER


def test_what_is_missing_is_ones_own_needs_and_what_must_not_be_trimmed_since_it_is_whole() -> None:
    known = StoredRetention(FIRST, (FINE, SHORT))
    assert known.lacking((SHORT,), Coverage({"card": 5, "merchant": 8})) == set()
    assert known.lacking((LONG,), COVER) == {LONG}
    assert known.lacking((SHORT,), Coverage({"card": 7, "device": 2})) == {"card 1/7", "device 1/2"}
    assert known.lacking((LONG,), Coverage({"card": 7})) == {LONG}
    assert UNKNOWN_RETENTION.lacking((SHORT,), Coverage({})) == {SHORT}


class Deployment:
    """Workers that touch shards, as batches do, and losses; what was lost under which epoch is kept beside."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._shards = new_shards()
        self._epochs = Epochs(link, self._shards, COVER)
        self._believed: list[int] = []
        self._lost_under = [0] * NUMBER

    async def begin(self, workers: int) -> None:
        self._believed = [(await self._epochs.join(FIRST)).epoch for _ in range(workers)]

    async def touch(self, worker: int, shard: int) -> None:
        """Do with a shard what a batch does, and what follows; go on with it only under an epoch above its losses."""
        epoch = (await found(self._link, self._shards))[shard]
        believed = self._believed[worker]
        if epoch == believed:
            assert epoch > self._lost_under[shard]
        elif epoch > believed:
            self._believed[worker] = await self._epochs.raise_above(believed)
        else:
            self._believed[worker] = await self._epochs.raise_above(believed)

    async def lose(self, shard: int) -> None:
        """Lose a shard, HOME's with what is whole, if another one is there that still knows the epoch."""
        everywhere = await found(self._link, self._shards)
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
)  # one that is behind raises the lost shard to what the other believes in
@given(plan=st.lists(st.lists(acts, min_size=1, max_size=3), max_size=12), pauses=st.lists(st.integers(0, 4)))
@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nobody_works_on_a_shard_under_an_epoch_under_which_it_was_lost(
    server: str, plan: list[list[tuple[str, int, int]]], pauses: list[int]
) -> None:
    """What a list of the plan holds goes on at the same time, but for losses, which come first."""

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
