"""A loss is noticed though nothing is asked, and an epoch is whole when all parts of the log are applied again."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis import asyncio as redis_asyncio

from features.declaration import DAY_MS, FeatureSet, load
from features.errors import StoreUnavailableError
from features.history.displaced import ALL_DISPLACED, NONE_DISPLACED, Displaced
from features.history.records import source
from features.history.store import Entity
from features.redis.progress import LogPart, PartProgress, PartReport
from features.redis.retention import Coverage, EpochCoverage, read_coverage, read_retention
from features.redis.store import RedisStore
from features.rows import card, device
from support.features.recount import transaction, transactions
from support.redis.proxy import RedisProxy
from support.redis.server import free_port, redis_server
from support.redis.watch import notices, watched

pytestmark = pytest.mark.integration

DEFAULT = load(None)
LONGER = FeatureSet((*DEFAULT.rows, card("count", "60d")))
WITH_DEVICES = FeatureSet((*DEFAULT.rows, device("cards", "30d")))
DEPLOYMENTS = itertools.count()
NOW = 1_700_000_000_000
COVER = Coverage.of(DEFAULT.horizons_ms)
SOURCE, LABELS = LogPart(of_labels=False, partition=0), LogPart(of_labels=True, partition=0)


@pytest.fixture
def deployment() -> str:
    return f"w{next(DEPLOYMENTS)}"


@asynccontextmanager
async def worker(
    url: str, deployment: str, features: FeatureSet = DEFAULT, *, emptied: bool = False
) -> AsyncIterator[RedisStore]:
    store = RedisStore(url, deployment, features, lambda: NOW)
    try:
        await store.connect(emptied=emptied)
        yield store
    finally:
        await store.close()


def done(end: int, displaced_below: int = 0) -> PartReport:
    return PartReport(PartProgress(0, end, end), displaced_below)


def halfway(end: int) -> PartReport:
    return PartReport(PartProgress(0, end // 2, end), end)


async def all_done(store: RedisStore) -> None:
    assert await store.repair_progress.report(store.state.target, {SOURCE: done(5, 9), LABELS: done(3)}, 2)
    await store.refresh()


def test_what_is_kept_of_whole_histories_can_be_read_again() -> None:
    whole = EpochCoverage(7, Coverage.of(DEFAULT.horizons_ms))
    assert read_coverage(whole.text.encode()) == whole
    assert read_coverage(None) == EpochCoverage(0, Coverage({}))
    assert read_coverage(b"-7") == EpochCoverage(-7, Coverage({}))


def test_an_epoch_is_whole_for_who_asks_no_further_back_and_for_no_other_kind() -> None:
    whole = EpochCoverage(7, Coverage({"card": 5, "merchant": 7}))
    asked = [{"card": 5, "merchant": 7}, {"card": 4}, {"card": 6, "merchant": 7}, {"card": 5, "device": 1}]
    assert [whole.holds(7, Coverage(horizons)) for horizons in asked] == [True, True, False, False]
    assert not whole.holds(8, Coverage({"card": 5}))


async def test_histories_are_whole_when_all_parts_have_reported_and_not_before(server: str, deployment: str) -> None:
    async with worker(server, deployment) as one, worker(server, deployment) as two:
        assert (one.incomplete, one.state.displaced) == (False, NONE_DISPLACED)
        await one.declare_loss("a test")
        await two.refresh()
        epoch = one.history_epoch
        assert (one.incomplete, two.incomplete, two.history_epoch) == (True, True, epoch)
        assert two.state.displaced == ALL_DISPLACED
        assert await one.repair_progress.report(one.state.target, {SOURCE: done(5, 9)}, 2) is False
        assert await two.repair_progress.report(one.state.target, {LABELS: halfway(4)}, 2) is False
        await one.refresh()
        assert one.incomplete
        assert await two.repair_progress.parts(one.state.target) == {
            SOURCE: PartProgress(0, 5, 5),
            LABELS: PartProgress(0, 2, 4),
        }
        assert await two.repair_progress.report(one.state.target, {LABELS: done(4)}, 2) is True
        await one.refresh()
        await two.refresh()
        assert not one.incomplete
        assert not two.incomplete
        places = {source(0, of_labels=False): 9, source(0, of_labels=True): 4}
        assert one.state.displaced == two.state.displaced == Displaced(places)
    async with worker(server, deployment) as later:
        assert not later.incomplete
        assert later.state.displaced == Displaced(places)


async def test_a_report_that_comes_twice_or_late_takes_nothing_back(server: str, deployment: str) -> None:
    async with worker(server, deployment) as store:
        await store.declare_loss("a test")
        epoch = store.history_epoch
        await store.repair_progress.report(store.state.target, {SOURCE: done(5, 9)}, 3)
        await store.repair_progress.report(store.state.target, {SOURCE: done(5, 9)}, 3)
        assert await store.repair_progress.report(store.state.target, {SOURCE: halfway(4)}, 3) is False
        assert await store.repair_progress.parts(store.state.target) == {SOURCE: PartProgress(0, 5, 5)}
        assert (await store.repair_progress.displaced(epoch)).below == {source(0, of_labels=False): 9}


async def test_a_report_under_an_epoch_that_is_over_is_not_noted(server: str, deployment: str) -> None:
    async with worker(server, deployment) as store:
        await store.declare_loss("a test")
        before = store.state.target
        await store.declare_loss("another test")
        assert await store.repair_progress.report(before, {SOURCE: done(5)}, 1) is None
        assert await store.repair_progress.parts(before) == {}
        await store.refresh()
        assert store.incomplete


async def test_a_feature_set_that_looks_further_back_is_not_covered_until_it_was_repaired_for(
    server: str, deployment: str
) -> None:
    async with worker(server, deployment) as store:
        assert not store.incomplete
        async with worker(server, deployment, LONGER) as longer:
            assert longer.incomplete
            assert longer.history_epoch == store.history_epoch
            await all_done(longer)
            await store.refresh()
            assert (longer.incomplete, store.incomplete) == (False, False)
        async with worker(server, deployment) as again:
            assert not again.incomplete


async def test_who_asks_for_less_keeps_as_long_as_who_asks_for_more_and_is_whole_meanwhile(
    server: str, deployment: str
) -> None:
    async with worker(server, deployment) as store:
        async with worker(server, deployment, LONGER) as longer:
            await store.refresh()
            both = EpochCoverage(store.history_epoch, Coverage.of(LONGER.horizons_ms))
            assert store.state.target == longer.state.target == both
            assert store.state.pending_repair == longer.state.pending_repair == both
            assert (store.incomplete, longer.incomplete) == (False, True)
            assert (store.lacks(DEFAULT.horizons_ms), store.lacks(LONGER.horizons_ms)) == (False, True)
            assert not longer.lacks(LONGER.horizons_ms)  # what it needs is missed anyway
            assert store.state.displaced == NONE_DISPLACED
        await all_done(store)  # who asks for less takes part, though the other is gone again
        assert store.state.pending_repair is None
        assert not store.lacks(LONGER.horizons_ms)
    async with worker(server, deployment, LONGER) as later:
        assert not later.incomplete


async def test_a_repair_that_aims_at_less_than_is_kept_by_now_says_nothing_of_more(
    server: str, deployment: str
) -> None:
    async with worker(server, deployment) as store:
        await store.declare_loss("a test")
        short = store.state.target
        async with worker(server, deployment, LONGER):
            await store.repair_progress.report(short, {SOURCE: done(5), LABELS: done(5)}, 2)
            await store.refresh()
            assert (store.incomplete, store.lacks(LONGER.horizons_ms)) == (False, True)
            assert await store.repair_progress.parts(store.state.target) == {}
            await all_done(store)
            assert not store.lacks(LONGER.horizons_ms)
            await store.repair_progress.report(short, {SOURCE: done(5)}, 2)  # which came late
            await store.refresh()
            assert not store.lacks(LONGER.horizons_ms)


async def test_a_part_whose_displaced_records_are_not_all_told_is_not_done(server: str, deployment: str) -> None:
    async with worker(server, deployment) as store:
        await store.declare_loss("a test")
        repair = store.state.target
        assert await store.repair_progress.report(repair, {SOURCE: done(5, 9)._replace(final=False)}, 1) is False
        assert await store.repair_progress.parts(repair) == {SOURCE: PartProgress(0, 5, 5)}
        assert await store.repair_progress.report(repair, {SOURCE: done(5, 12)}, 1) is True
        assert (await store.repair_progress.displaced(repair.epoch)).below == {source(0, of_labels=False): 12}


async def test_the_next_epoch_forgets_what_nobody_asks_for_any_more(server: str, deployment: str) -> None:
    async with worker(server, deployment) as store:
        async with worker(server, deployment, LONGER):
            await store.refresh()
        assert store.state.target.cover == Coverage.of(LONGER.horizons_ms)
        await store.declare_loss("by hand")
        assert store.state.target == EpochCoverage(store.history_epoch, COVER)
        async with worker(server, deployment, LONGER):
            await store.refresh()
            assert store.state.target.cover == Coverage.of(LONGER.horizons_ms)


async def test_what_says_how_long_histories_are_kept_is_said_anew_as_far_as_they_are_whole(
    server: str, deployment: str, client: redis_asyncio.Redis
) -> None:
    async with worker(server, deployment) as store:
        async with worker(server, deployment, LONGER) as longer:
            await all_done(longer)
        await store.refresh()
        before = store.state.target
        await client.delete(f"fraudstream:{deployment}:epoch:kept")
        await store.refresh()
        assert store.state.target == before
        assert read_retention(await client.get(f"fraudstream:{deployment}:epoch:kept")).cover == before.cover
        assert not store.incomplete


OF_A_CARD = 20
"""Records of a card that a tidying would drop, and as many that it would not."""


async def test_nobody_trims_what_another_has_just_had_kept(server: str, deployment: str) -> None:
    old = [transaction(number) for number in range(OF_A_CARD)]
    new = [transaction(OF_A_CARD + number, ms=NOW + 40 * DAY_MS + number) for number in range(OF_A_CARD)]
    async with worker(server, deployment) as store, worker(server, deployment, LONGER) as longer:
        await store.observe(transactions(old + new))  # it has not heard of the other yet
        await store.compact()
        observed = await longer.observe(transactions([transaction(100, ms=NOW + 41 * DAY_MS)]))
        assert observed.cards.lengths.tolist() == [2 * OF_A_CARD + 1]
    async with worker(server, deployment) as store:
        await store.observe(transactions([transaction(101 + n, ms=NOW + 41 * DAY_MS + n) for n in range(OF_A_CARD)]))
        await store.compact()
    async with worker(server, deployment, LONGER) as longer:
        observed = await longer.observe(transactions([transaction(200, ms=NOW + 42 * DAY_MS)]))
        assert observed.cards.lengths.tolist() == [3 * OF_A_CARD + 2]


async def test_who_has_no_devices_in_his_features_keeps_them_for_who_has(server: str, deployment: str) -> None:
    async with worker(server, deployment) as store, worker(server, deployment, WITH_DEVICES) as other:
        await store.refresh()
        mine = await store.observe(transactions([transaction(1, device="phone")]))
        assert set(mine.histories) == {Entity.CARD, Entity.MERCHANT}
        theirs = await other.observe(transactions([transaction(2, device="phone")]))
        assert theirs.histories[Entity.DEVICE].lengths.tolist() == [2]
        await store.declare_loss("so that devices are given up")
        await store.observe(transactions([transaction(3, device="phone")]))


@pytest.mark.parametrize("how", ["flushed", "epoch deleted", "epoch set back", "whole deleted"])
async def test_a_loss_is_noticed_by_a_look_alone(
    server: str, deployment: str, client: redis_asyncio.Redis, how: str
) -> None:
    async with worker(server, deployment) as store, worker(server, deployment) as other:
        await store.observe(transactions([transaction(1)]))
        before, key = store.history_epoch, f"fraudstream:{deployment}:epoch"
        match how:
            case "flushed":
                await client.flushall()
            case "epoch deleted":
                await client.delete(key)
            case "epoch set back":
                await client.set(key, before - 5)
            case _:
                await client.delete(f"{key}:whole")
        await store.refresh()
        await other.refresh()
        assert (store.incomplete, other.incomplete) == (True, True)
        assert store.history_epoch == other.history_epoch == before + 1


async def test_a_restart_is_noticed_by_a_look_alone(deployment: str) -> None:
    port = free_port()
    with contextlib.ExitStack() as first:
        url = first.enter_context(redis_server(port=port))
        async with worker(url, deployment) as store:
            before = store.history_epoch
            first.close()
            with pytest.raises(StoreUnavailableError):
                await store.refresh()
            with redis_server(port=port):
                async with redis_asyncio.Redis.from_url(url) as restored:  # as a snapshot would have it
                    await restored.set(f"fraudstream:{deployment}:epoch", before)
                    await restored.set(
                        f"fraudstream:{deployment}:epoch:whole", f"{before} {Coverage.of(DEFAULT.horizons_ms).text}"
                    )
                await store.refresh()
                assert store.incomplete
                assert store.history_epoch == before + 1


async def test_a_new_replica_is_no_loss_and_having_been_one_meanwhile_is(
    deployment: str,
) -> None:
    with redis_server() as url, redis_server() as second:
        host, port = url.removesuffix("/0").removeprefix("redis://").split(":")
        async with worker(url, deployment) as store, redis_asyncio.Redis.from_url(second) as replica:
            before = store.history_epoch
            await replica.replicaof(host, port)
            await synchronised(replica)
            await store.refresh()
            assert not store.incomplete
            async with redis_asyncio.Redis.from_url(url) as demoted:
                await replica.replicaof("NO", "ONE")
                await demoted.replicaof("127.0.0.1", second.removesuffix("/0").rpartition(":")[2])
                await synchronised(demoted)
                with pytest.raises(StoreUnavailableError, match="replica"):
                    await store.refresh()
                await demoted.replicaof("NO", "ONE")
            await store.refresh()
            assert store.incomplete
            assert store.history_epoch == before + 1


async def synchronised(replica: redis_asyncio.Redis) -> None:
    """Wait until a replica has all that its master has; it tells nobody."""
    for _ in range(1000):
        if (await replica.info("replication")).get("master_link_status") == "up":
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the replica is not synchronised after 10 s")


async def test_an_emptied_server_of_a_deployment_that_decided_before_is_not_whole(server: str, deployment: str) -> None:
    async with worker(server, deployment, emptied=True) as store, worker(server, deployment) as other:
        assert store.incomplete
        assert other.incomplete
        await all_done(store)
        assert not store.incomplete


async def test_a_history_that_nobody_remembers_is_missed_when_it_is_deleted(
    server: str, deployment: str, client: redis_asyncio.Redis
) -> None:
    async with worker(server, deployment) as store, worker(server, deployment) as other:
        await store.observe(transactions([transaction(1), transaction(2, card="b")]))
        store._session._clear_caches()
        before = store.history_epoch
        async with watched(store), watched(other):
            keys = [key async for key in client.scan_iter(f"fraudstream:{deployment}:c:*")]
            for key in keys:
                await client.delete(key)
            assert await notices(store, before + 1)
            assert await notices(other, before + 1)
            await asyncio.sleep(0.3)
            assert store.history_epoch == before + 1


async def test_what_a_deployment_deletes_itself_or_lets_expire_is_no_loss(
    server: str, deployment: str, client: redis_asyncio.Redis
) -> None:
    async with worker(server, deployment) as store:
        await store.observe(transactions([transaction(1)]))
        before = store.history_epoch
        async with watched(store):
            (key,) = [key async for key in client.scan_iter(f"fraudstream:{deployment}:c:*")]
            await client.pexpire(key, 1)
            await client.set(f"fraudstream:{deployment}x:c:0", "another's")
            await client.delete(f"fraudstream:{deployment}x:c:0", f"fraudstream:{deployment}:epoch:displaced:1")
            assert not await notices(store, before + 1)


async def test_a_server_that_does_not_tell_of_deletions_is_said_to(
    deployment: str, caplog: pytest.LogCaptureFixture
) -> None:
    with redis_server("--notify-keyspace-events", "Kx") as url:
        async with worker(url, deployment) as store, watched(store):
            assert "set notify-keyspace-events to Ege" in caplog.text
    caplog.clear()
    with redis_server() as url:
        async with worker(url, deployment) as store, watched(store):
            assert "notify-keyspace-events" not in caplog.text


async def test_marks_are_noted_under_a_whole_epoch_and_only_rise(server: str, deployment: str) -> None:
    async with worker(server, deployment) as store:
        assert await store.checkpoint({SOURCE: 7, LABELS: 3})
        assert await store.checkpoint({SOURCE: 5})
        assert await store.repair_progress.checkpoints(COVER) == {SOURCE: 7, LABELS: 3}
        before = store.history_epoch
        assert not await store.repair_progress.checkpoint(before - 1, {SOURCE: 99})
    async with worker(server, deployment, LONGER) as longer:
        assert not await longer.checkpoint({SOURCE: 9})
        assert await longer.repair_progress.checkpoints(COVER) == {SOURCE: 7, LABELS: 3}
        assert await longer.repair_progress.checkpoints(Coverage.of(LONGER.horizons_ms)) == {}


async def test_after_records_were_taken_marks_mean_nothing_and_none_is_added(server: str, deployment: str) -> None:
    async with worker(server, deployment) as store, worker(server, deployment) as other:
        await store.checkpoint({SOURCE: 7})
        await store.declare_loss("a key was deleted")
        assert await store.repair_progress.checkpoints(COVER) == {}
        assert not await other.checkpoint({SOURCE: 9})  # who has not heard of it yet
        assert await store.repair_progress.checkpoints(COVER) == {}
        await all_done(store)
        assert await store.checkpoint({SOURCE: 4})
        assert await store.repair_progress.checkpoints(COVER) == {SOURCE: 4}


async def test_records_that_are_gone_from_the_same_server_void_the_marks(
    server: str, deployment: str, client: redis_asyncio.Redis
) -> None:
    async with worker(server, deployment) as store:
        await store.observe(transactions([transaction(1)]))
        await store.checkpoint({SOURCE: 7})
        await client.delete(*[key async for key in client.scan_iter(f"fraudstream:{deployment}:c:*")])
        await store.observe(transactions([transaction(2)]))
        assert store.incomplete
        assert await store.repair_progress.checkpoints(COVER) == {}


async def copied(one: str, other: str, pattern: str) -> None:
    """Give another server the keys of one, as a replica would have them."""
    async with redis_asyncio.Redis.from_url(one) as here, redis_asyncio.Redis.from_url(other) as there:
        async for key in here.scan_iter(pattern):
            await there.restore(key, 0, await here.dump(key), replace=True)


async def test_after_the_loss_of_a_server_the_marks_of_the_next_one_stand(deployment: str) -> None:
    with redis_server() as first, redis_server() as second, RedisProxy(first) as front:
        async with worker(front.url, deployment) as store:
            await store.observe(transactions([transaction(1)]))
            await store.checkpoint({SOURCE: 7})
            await copied(first, second, "*")
            await store.observe(transactions([transaction(2)]))  # which the second one lacks
            front.switch(second)
            with contextlib.suppress(StoreUnavailableError):
                await store.observe(transactions([transaction(3)]))
            after = await store.observe(transactions([transaction(3)]))
            assert after.incomplete
            assert await store.repair_progress.checkpoints(COVER) == {SOURCE: 7}


async def test_a_server_that_came_back_with_less_while_no_worker_ran_is_noticed(deployment: str) -> None:
    with redis_server() as first, redis_server() as second:
        async with worker(first, deployment) as store:
            await store.observe(transactions([transaction(1)]))
            assert await store.checkpoint({SOURCE: 7})
            await copied(first, second, "*")
            await store.observe(transactions([transaction(2)]))  # which the second one lacks
        async with worker(first, deployment) as again:
            assert not again.incomplete, "nothing was lost here"
        async with worker(second, deployment) as late, worker(second, deployment) as later:
            assert late.incomplete
            assert late.history_epoch == later.history_epoch == again.history_epoch + 1
            assert await late.repair_progress.checkpoints(COVER) == {SOURCE: 7}


async def test_it_is_noticed_too_where_the_marks_mean_nothing(deployment: str) -> None:
    with redis_server() as first, redis_server() as second:
        async with worker(first, deployment) as store:
            await store.repair_progress.void_checkpoints(store.history_epoch)
            assert not await store.checkpoint({SOURCE: 7})
            await copied(first, second, "*")
        async with worker(second, deployment) as late:
            assert late.incomplete
            assert await late.repair_progress.checkpoints(COVER) == {}


async def test_who_does_not_know_that_the_server_is_another_notes_nothing_there(deployment: str) -> None:
    with redis_server() as first, redis_server() as second, RedisProxy(first) as front:
        async with worker(front.url, deployment) as store:
            await copied(first, second, "*")
            assert await store.checkpoint({SOURCE: 7})
            front.switch(second)
            with contextlib.suppress(StoreUnavailableError):
                await store.checkpoint({SOURCE: 9})
            assert not await store.checkpoint({SOURCE: 9})
            assert await store.repair_progress.checkpoints(COVER) == {}
            assert not store.incomplete


async def test_a_repair_that_another_began_from_marks_is_begun_anew_where_records_were_taken_too(
    server: str, deployment: str
) -> None:
    async with worker(server, deployment) as one, worker(server, deployment) as two:
        before = one.history_epoch
        await one.checkpoint({SOURCE: 7})
        await two.state._epochs.raise_above(before)  # as over the loss of a server, which keeps the marks
        await one.declare_loss("a key was deleted", above=before)
        assert one.history_epoch == before + 2
        await two.refresh()
        await two.declare_loss("the same key", above=before)
        assert two.history_epoch == before + 2
