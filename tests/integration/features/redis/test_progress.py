"""Losses are detected without a batch, and an epoch is complete when all parts of the log are applied again."""

import asyncio
import contextlib

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
from support.features.stores import worker
from support.redis.proxy import RedisProxy
from support.redis.server import free_port, redis_server
from support.redis.watch import notices, watched

pytestmark = pytest.mark.integration

DEFAULT = load(None)
LONGER = FeatureSet((*DEFAULT.rows, card("count", "60d")))
WITH_DEVICES = FeatureSet((*DEFAULT.rows, device("cards", "30d")))
NOW = 1_700_000_000_000
COVER = Coverage.of(DEFAULT.horizons_ms)
SOURCE, LABELS = LogPart(of_labels=False, partition=0), LogPart(of_labels=True, partition=0)


def done(end: int, displaced_below: int = 0) -> PartReport:
    return PartReport(PartProgress(0, end, end), displaced_below)


def halfway(end: int) -> PartReport:
    return PartReport(PartProgress(0, end // 2, end), end)


async def finish_repair(store: RedisStore) -> None:
    assert await store.repair_progress.report(store.state.target, {SOURCE: done(5, 9), LABELS: done(3)}, 2)
    await store.refresh()


def test_a_stored_coverage_is_read_back_equal() -> None:
    whole = EpochCoverage(7, Coverage.of(DEFAULT.horizons_ms))
    assert read_coverage(whole.text.encode()) == whole
    assert read_coverage(None) == EpochCoverage(0, Coverage({}))
    assert read_coverage(b"-7") == EpochCoverage(-7, Coverage({}))


def test_a_coverage_holds_for_no_longer_horizon_no_other_kind_and_no_other_epoch() -> None:
    whole = EpochCoverage(7, Coverage({"card": 5, "merchant": 7}))
    asked = [{"card": 5, "merchant": 7}, {"card": 4}, {"card": 6, "merchant": 7}, {"card": 5, "device": 1}]
    assert [whole.holds(7, Coverage(horizons)) for horizons in asked] == [True, True, False, False]
    assert not whole.holds(8, Coverage({"card": 5}))


async def test_histories_are_complete_only_when_all_parts_are_reported_as_done(server: str, deployment: str) -> None:
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


async def test_a_repeated_or_late_report_takes_back_no_progress(server: str, deployment: str) -> None:
    async with worker(server, deployment) as store:
        await store.declare_loss("a test")
        epoch = store.history_epoch
        await store.repair_progress.report(store.state.target, {SOURCE: done(5, 9)}, 3)
        await store.repair_progress.report(store.state.target, {SOURCE: done(5, 9)}, 3)
        assert await store.repair_progress.report(store.state.target, {SOURCE: halfway(4)}, 3) is False
        assert await store.repair_progress.parts(store.state.target) == {SOURCE: PartProgress(0, 5, 5)}
        assert (await store.repair_progress.displaced(epoch)).below == {source(0, of_labels=False): 9}


async def test_a_report_under_an_outdated_epoch_is_not_stored(server: str, deployment: str) -> None:
    async with worker(server, deployment) as store:
        await store.declare_loss("a test")
        before = store.state.target
        await store.declare_loss("another test")
        assert await store.repair_progress.report(before, {SOURCE: done(5)}, 1) is None
        assert await store.repair_progress.parts(before) == {}
        await store.refresh()
        assert store.incomplete


async def test_histories_are_incomplete_for_a_set_with_a_longer_horizon_until_a_repair(
    server: str, deployment: str
) -> None:
    async with worker(server, deployment) as store:
        assert not store.incomplete
        async with worker(server, deployment, LONGER) as longer:
            assert longer.incomplete
            assert longer.history_epoch == store.history_epoch
            await finish_repair(longer)
            await store.refresh()
            assert (longer.incomplete, store.incomplete) == (False, False)
        async with worker(server, deployment) as again:
            assert not again.incomplete


async def test_a_worker_with_shorter_horizons_keeps_records_for_the_longest_one_and_stays_complete(
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
            assert not longer.lacks(LONGER.horizons_ms)  # a horizon that it needs itself does not count
            assert store.state.displaced == NONE_DISPLACED
        await finish_repair(store)  # the worker with shorter horizons takes part, though the other one is closed
        assert store.state.pending_repair is None
        assert not store.lacks(LONGER.horizons_ms)
    async with worker(server, deployment, LONGER) as later:
        assert not later.incomplete


async def test_a_repair_with_a_shorter_target_does_not_complete_a_longer_horizon(server: str, deployment: str) -> None:
    async with worker(server, deployment) as store:
        await store.declare_loss("a test")
        short = store.state.target
        async with worker(server, deployment, LONGER):
            await store.repair_progress.report(short, {SOURCE: done(5), LABELS: done(5)}, 2)
            await store.refresh()
            assert (store.incomplete, store.lacks(LONGER.horizons_ms)) == (False, True)
            assert await store.repair_progress.parts(store.state.target) == {}
            await finish_repair(store)
            assert not store.lacks(LONGER.horizons_ms)
            await store.repair_progress.report(short, {SOURCE: done(5)}, 2)  # a late report
            await store.refresh()
            assert not store.lacks(LONGER.horizons_ms)


async def test_a_part_is_not_done_until_the_offset_of_its_displaced_records_is_final(
    server: str, deployment: str
) -> None:
    async with worker(server, deployment) as store:
        await store.declare_loss("a test")
        repair = store.state.target
        assert await store.repair_progress.report(repair, {SOURCE: done(5, 9)._replace(final=False)}, 1) is False
        assert await store.repair_progress.parts(repair) == {SOURCE: PartProgress(0, 5, 5)}
        assert await store.repair_progress.report(repair, {SOURCE: done(5, 12)}, 1) is True
        assert (await store.repair_progress.displaced(repair.epoch)).below == {source(0, of_labels=False): 12}


async def test_the_next_epoch_drops_needs_that_no_worker_has_any_more(server: str, deployment: str) -> None:
    async with worker(server, deployment) as store:
        async with worker(server, deployment, LONGER):
            await store.refresh()
        assert store.state.target.cover == Coverage.of(LONGER.horizons_ms)
        await store.declare_loss("by hand")
        assert store.state.target == EpochCoverage(store.history_epoch, COVER)
        async with worker(server, deployment, LONGER):
            await store.refresh()
            assert store.state.target.cover == Coverage.of(LONGER.horizons_ms)


async def test_a_deleted_retention_key_is_restored_as_far_back_as_histories_are_complete(
    server: str, deployment: str, client: redis_asyncio.Redis
) -> None:
    async with worker(server, deployment) as store:
        async with worker(server, deployment, LONGER) as longer:
            await finish_repair(longer)
        await store.refresh()
        before = store.state.target
        await client.delete(f"fraudstream:{deployment}:epoch:kept")
        await store.refresh()
        assert store.state.target == before
        assert read_retention(await client.get(f"fraudstream:{deployment}:epoch:kept")).cover == before.cover
        assert not store.incomplete


OF_A_CARD = 20
"""Number of a card's records that trimming would drop, and of those that it would keep."""


async def test_no_worker_trims_records_that_another_workers_feature_set_needs(server: str, deployment: str) -> None:
    old = [transaction(number) for number in range(OF_A_CARD)]
    new = [transaction(OF_A_CARD + number, ms=NOW + 40 * DAY_MS + number) for number in range(OF_A_CARD)]
    async with worker(server, deployment) as store, worker(server, deployment, LONGER) as longer:
        await store.observe(transactions(old + new))  # it does not know the needs of the other yet
        await store.compact()
        observed = await longer.observe(transactions([transaction(100, ms=NOW + 41 * DAY_MS)]))
        assert observed.cards.lengths.tolist() == [2 * OF_A_CARD + 1]
    async with worker(server, deployment) as store:
        await store.observe(transactions([transaction(101 + n, ms=NOW + 41 * DAY_MS + n) for n in range(OF_A_CARD)]))
        await store.compact()
    async with worker(server, deployment, LONGER) as longer:
        observed = await longer.observe(transactions([transaction(200, ms=NOW + 42 * DAY_MS)]))
        assert observed.cards.lengths.tolist() == [3 * OF_A_CARD + 2]


async def test_a_worker_without_device_features_appends_to_device_histories_while_another_worker_needs_them(
    server: str, deployment: str, client: redis_asyncio.Redis
) -> None:
    async with worker(server, deployment) as store, worker(server, deployment, WITH_DEVICES) as other:
        await store.refresh()
        mine = await store.observe(transactions([transaction(1, device="phone")]))
        assert set(mine.histories) == {Entity.CARD, Entity.MERCHANT}
        theirs = await other.observe(transactions([transaction(2, device="phone")]))
        assert theirs.histories[Entity.DEVICE].lengths.tolist() == [2]
        (device_key,) = await client.keys(f"fraudstream:{deployment}:d:*")
        stored = await client.get(device_key)
        await store.declare_loss("what is not needed from now on is given up")
        await store.observe(transactions([transaction(3, device="phone")]))
        assert await client.get(device_key) == stored
        again = await other.observe(transactions([transaction(4, device="phone")]))
        assert again.histories[Entity.DEVICE].lengths.tolist() == [3]
        await store.refresh()
        await store.observe(transactions([transaction(5, device="phone")]))
        again = await other.observe(transactions([transaction(6, device="phone")]))
        assert again.histories[Entity.DEVICE].lengths.tolist() == [5]


@pytest.mark.parametrize("how", ["flushed", "epoch deleted", "epoch set back", "whole deleted"])
async def test_refresh_detects_a_loss_without_a_batch(
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


async def test_refresh_detects_a_restart_without_a_batch(deployment: str) -> None:
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


async def test_a_new_replica_is_no_loss_but_a_master_that_was_a_replica_meanwhile_is(
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
    """Poll until a replica has all that its master has."""
    for _ in range(1000):
        if (await replica.info("replication")).get("master_link_status") == "up":
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the replica is not synchronised after 10 s")


async def test_an_emptied_server_of_a_deployment_with_earlier_decisions_is_incomplete_until_a_repair(
    server: str, deployment: str
) -> None:
    async with worker(server, deployment, emptied=True) as store, worker(server, deployment) as other:
        assert store.incomplete
        assert other.incomplete
        await finish_repair(store)
        assert not store.incomplete


async def test_the_deletion_of_uncached_histories_is_detected_by_all_workers_as_one_loss(
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


async def test_expiry_and_deletions_of_keys_that_are_no_histories_of_the_deployment_are_no_loss(
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


async def test_a_server_without_deletion_notifications_is_logged(
    deployment: str, caplog: pytest.LogCaptureFixture
) -> None:
    with redis_server("--notify-keyspace-events", "Kx") as url:
        async with worker(url, deployment) as store, watched(store):
            assert "set notify-keyspace-events to Ege" in caplog.text
    caplog.clear()
    with redis_server() as url:
        async with worker(url, deployment) as store, watched(store):
            assert "notify-keyspace-events" not in caplog.text


async def test_checkpoints_are_stored_under_a_complete_epoch_only_and_never_fall(server: str, deployment: str) -> None:
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


async def test_after_a_loss_of_records_checkpoints_are_void_and_none_is_stored_until_the_repair(
    server: str, deployment: str
) -> None:
    async with worker(server, deployment) as store, worker(server, deployment) as other:
        await store.checkpoint({SOURCE: 7})
        await store.declare_loss("a key was deleted")
        assert await store.repair_progress.checkpoints(COVER) == {}
        assert not await other.checkpoint({SOURCE: 9})  # it does not know of the loss yet
        assert await store.repair_progress.checkpoints(COVER) == {}
        await finish_repair(store)
        assert await store.checkpoint({SOURCE: 4})
        assert await store.repair_progress.checkpoints(COVER) == {SOURCE: 4}


async def test_records_lost_on_the_same_server_void_the_checkpoints(
    server: str, deployment: str, client: redis_asyncio.Redis
) -> None:
    async with worker(server, deployment) as store:
        await store.observe(transactions([transaction(1)]))
        await store.checkpoint({SOURCE: 7})
        await client.delete(*[key async for key in client.scan_iter(f"fraudstream:{deployment}:c:*")])
        await store.observe(transactions([transaction(2)]))
        assert store.incomplete
        assert await store.repair_progress.checkpoints(COVER) == {}


async def copy_keys(one: str, other: str, pattern: str) -> None:
    """Copy the keys of one server to another, as a replica would have them."""
    async with redis_asyncio.Redis.from_url(one) as here, redis_asyncio.Redis.from_url(other) as there:
        async for key in here.scan_iter(pattern):
            await there.restore(key, 0, await here.dump(key), replace=True)


async def test_after_the_loss_of_a_server_the_checkpoints_of_its_successor_are_valid(deployment: str) -> None:
    with redis_server() as first, redis_server() as second, RedisProxy(first) as front:
        async with worker(front.url, deployment) as store:
            await store.observe(transactions([transaction(1)]))
            await store.checkpoint({SOURCE: 7})
            await copy_keys(first, second, "*")
            await store.observe(transactions([transaction(2)]))  # which the second one lacks
            front.switch(second)
            with contextlib.suppress(StoreUnavailableError):
                await store.observe(transactions([transaction(3)]))
            after = await store.observe(transactions([transaction(3)]))
            assert after.incomplete
            assert await store.repair_progress.checkpoints(COVER) == {SOURCE: 7}


async def test_a_server_replaced_by_an_older_copy_while_no_worker_ran_is_detected(deployment: str) -> None:
    with redis_server() as first, redis_server() as second:
        async with worker(first, deployment) as store:
            await store.observe(transactions([transaction(1)]))
            assert await store.checkpoint({SOURCE: 7})
            await copy_keys(first, second, "*")
            await store.observe(transactions([transaction(2)]))  # which the second one lacks
        async with worker(first, deployment) as again:
            assert not again.incomplete, "nothing was lost here"
        async with worker(second, deployment) as late, worker(second, deployment) as later:
            assert late.incomplete
            assert late.history_epoch == later.history_epoch == again.history_epoch + 1
            assert await late.repair_progress.checkpoints(COVER) == {SOURCE: 7}


async def test_a_replaced_server_is_detected_even_if_its_checkpoints_are_void(deployment: str) -> None:
    with redis_server() as first, redis_server() as second:
        async with worker(first, deployment) as store:
            await store.repair_progress.void_checkpoints(store.history_epoch)
            assert not await store.checkpoint({SOURCE: 7})
            await copy_keys(first, second, "*")
        async with worker(second, deployment) as late:
            assert late.incomplete
            assert await late.repair_progress.checkpoints(COVER) == {}


async def test_a_worker_stores_no_checkpoint_on_a_server_that_it_has_not_identified(deployment: str) -> None:
    with redis_server() as first, redis_server() as second, RedisProxy(first) as front:
        async with worker(front.url, deployment) as store:
            await copy_keys(first, second, "*")
            assert await store.checkpoint({SOURCE: 7})
            front.switch(second)
            with contextlib.suppress(StoreUnavailableError):
                await store.checkpoint({SOURCE: 9})
            assert not await store.checkpoint({SOURCE: 9})
            assert await store.repair_progress.checkpoints(COVER) == {}
            assert not store.incomplete


async def test_a_loss_that_voids_checkpoints_raises_the_epoch_above_that_of_a_repair_from_them(
    server: str, deployment: str
) -> None:
    async with worker(server, deployment) as one, worker(server, deployment) as two:
        before = one.history_epoch
        await one.checkpoint({SOURCE: 7})
        await two.state._epochs.raise_above(before)  # as after the loss of a server, which leaves checkpoints valid
        await one.declare_loss("a key was deleted", above=before)
        assert one.history_epoch == before + 2
        await two.refresh()
        await two.declare_loss("the same key", above=before)
        assert two.history_epoch == before + 2
