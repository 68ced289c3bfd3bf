"""Compaction on a server: the stored value, other workers, a loss and its repair; and the expiry of keys."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import pytest
from redis import asyncio as redis_asyncio

from features.declaration import DAY_MS, HOUR_MS, MINUTE_MS, FeatureSet, load
from features.errors import StoreRefusedError
from features.history.retention import Retention, exact
from features.history.store import Entity, Fate, Observed, RetentionPolicy
from features.redis import append
from features.redis.progress import LogPart
from features.redis.retention import Coverage, EpochCoverage
from features.redis.store import RedisStore
from features.vector.vectorise import vectorise
from stream.clock import now_ms
from support.features.paned_sets import HOURLY, all_of
from support.features.recount import Row, label, transaction, transactions

pytestmark = pytest.mark.integration

DEPLOYMENTS = itertools.count()
START_MS = 1_700_000_000_000
DEFAULT = load(None)
BUSY = [transaction(i, card=f"c{i % 7}", ms=START_MS + i * MINUTE_MS) for i in range(600)]
"""Ten hours of a payment a minute at one merchant."""


class Clock:
    def __init__(self) -> None:
        self.ms = START_MS

    def __call__(self) -> int:
        return self.ms


@asynccontextmanager
async def worker(
    url: str, deployment: str, keeping: RetentionPolicy = HOURLY, clock: Clock | None = None
) -> AsyncIterator[RedisStore]:
    store = RedisStore(url, deployment, keeping, clock or Clock())
    try:
        await store.connect()
        yield store
    finally:
        await store.close()


async def observe(store: RedisStore, *rows: Row) -> Observed:
    return await store.observe(transactions(list(rows)))


async def only(client: redis_asyncio.Redis, deployment: str, kind: str) -> bytes:
    (key,) = [key async for key in client.scan_iter(f"fraudstream:{deployment}:{kind}:*")]
    return bytes(key)


def vector_bytes(observed: Observed, *rows: Row, feature_set: FeatureSet = HOURLY) -> bytes:
    return vectorise(feature_set, transactions(list(rows)), observed).tobytes()


async def test_compaction_frees_memory_and_changes_no_value_for_any_worker(
    server: str, deployment: str, client: redis_asyncio.Redis
) -> None:
    async with worker(server, deployment) as one, worker(server, deployment) as two:
        await observe(one, *BUSY[:300])
        await observe(two, *BUSY[300:])
        await observe(one, *BUSY[598:])
        merchant = await only(client, deployment, "m")
        before = await client.memory_usage(merchant)
        await one.compact()
        assert await client.memory_usage(merchant) * 4 < before
        assert await client.strlen(merchant) < 80 + 48 * 150
        assert 0 < await client.pttl(merchant) <= 9 * DAY_MS
        row = transaction(1000, card="new", ms=START_MS + 600 * MINUTE_MS)
        seen = [await observe(two, row), await observe(one, row)]
        async with worker(server, deployment) as fresh:
            seen.append(await observe(fresh, row))
    assert [s.merchants.positions.tolist() for s in seen] == [[600]] * 3
    assert not any(s.incomplete for s in seen)
    assert len({vector_bytes(s, row) for s in seen}) == 1
    assert vector_bytes(seen[0], row) == await uncompacted(server, row)


async def test_compaction_voids_the_checkpoints(server: str, deployment: str) -> None:
    async with worker(server, deployment) as store:
        await observe(store, *BUSY)
        assert await store.checkpoint({LogPart(of_labels=False, partition=0): 500})
        assert len(await store.repair_progress.checkpoints(Coverage.of(HOURLY.horizons_ms))) == 1
        await store.compact()
        assert await store.repair_progress.checkpoints(Coverage.of(HOURLY.horizons_ms)) == {}
        assert not await store.checkpoint({LogPart(of_labels=False, partition=0): 600})


async def uncompacted(server: str, row: Row) -> bytes:
    """Return the vector of a transaction after all of BUSY, without any compaction."""
    async with worker(server, f"plain{next(DEPLOYMENTS)}") as plain:
        await observe(plain, *BUSY)
        return vector_bytes(await observe(plain, row), row)


async def test_alternating_appends_and_compactions_of_two_workers_lose_and_duplicate_nothing(
    server: str, deployment: str
) -> None:
    async with worker(server, deployment) as one, worker(server, deployment) as two:
        await observe(one, *BUSY[:500])
        await observe(two, *BUSY[498:500])
        await observe(two, *BUSY[500:])
        await one.compact()
        await two.compact()
        await one.compact()
        row = transaction(1000, card="new", ms=START_MS + 600 * MINUTE_MS)
        seen = [await observe(store, row) for store in (one, two)]
    assert [s.merchants.positions.tolist() for s in seen] == [[600]] * 2
    assert {vector_bytes(s, row) for s in seen} == {await uncompacted(server, row)}


async def test_a_redelivered_offset_is_counted_once_after_compaction(server: str, deployment: str) -> None:
    row = transaction(1000, card="new", ms=START_MS + 600 * MINUTE_MS)
    async with worker(server, deployment) as one:
        await observe(one, *BUSY)
        await one.compact()
        async with worker(server, deployment) as two:
            again = [await observe(store, *BUSY[:50]) for store in (one, two)]
            after = await observe(two, row)
    assert [set(s.fates) for s in again] == [{Fate.DECIDE}] * 2
    assert [s.merchants.positions.tolist() for s in again] == [[599] * 50] * 2
    assert after.merchants.positions.tolist() == [600]
    assert vector_bytes(after, row) == await uncompacted(server, row)


SAID = label(0, BUSY[20], fraud=True, at_ms=START_MS + HOUR_MS)


async def apply_again(stores: Sequence[RedisStore]) -> None:
    """Apply all records again as a repair does, with the batches shared among the stores."""
    for begin in range(0, 600, 100):
        await observe(stores[begin // 100 % len(stores)], *BUSY[begin : begin + 100])
    await stores[0].label([SAID])


async def test_after_a_loss_histories_are_restored_and_not_compacted_before_the_repair_is_complete(
    server: str, deployment: str, client: redis_asyncio.Redis
) -> None:
    row = transaction(1000, card="new", ms=START_MS + 660 * MINUTE_MS)
    async with worker(server, deployment) as one, worker(server, deployment) as two:
        await observe(one, *BUSY)
        await one.label([SAID])
        await one.compact()
        merchant = await only(client, deployment, "m")
        assert await client.strlen(merchant) < 80 + 48 * 150
        await one.declare_loss("a drill")
        await apply_again([one, two])
        await one.compact()
        assert await client.strlen(merchant) == 80 + 48 * 601
        assert vector_bytes(await observe(two, row), row) == await labelled_but_uncompacted(server, row)


async def test_histories_are_compacted_again_after_a_complete_repair(
    server: str, deployment: str, client: redis_asyncio.Redis
) -> None:
    row = transaction(1000, card="new", ms=START_MS + 660 * MINUTE_MS)
    later = [transaction(600 + i, card=f"c{i}", ms=START_MS + 720 * MINUTE_MS) for i in range(20)]
    async with worker(server, deployment) as one:
        await observe(one, *BUSY)
        await one.compact()
        await one.declare_loss("a drill")
        await apply_again([one])
        await mark_complete(client, deployment, one)
    async with worker(server, deployment) as two:
        assert vector_bytes(await observe(two, row), row) == await labelled_but_uncompacted(server, row)
        await observe(two, *later)
        await two.compact()
        assert await client.strlen(await only(client, deployment, "m")) < 80 + 48 * 150


async def mark_complete(client: redis_asyncio.Redis, deployment: str, store: RedisStore) -> None:
    """Store what the last report of a repair stores."""
    whole = EpochCoverage(store.history_epoch, Coverage.of(HOURLY.horizons_ms))
    await client.set(f"fraudstream:{deployment}:epoch:whole", whole.text)
    await store.refresh()


async def labelled_but_uncompacted(server: str, row: Row) -> bytes:
    async with worker(server, f"plain{next(DEPLOYMENTS)}") as plain:
        await observe(plain, *BUSY)
        await plain.label([SAID])
        return vector_bytes(await observe(plain, row), row)


async def test_a_worker_with_an_outdated_epoch_compacts_nothing(
    server: str, deployment: str, client: redis_asyncio.Redis
) -> None:
    async with worker(server, deployment) as one, worker(server, deployment) as behind:
        await observe(behind, *BUSY)
        await one.declare_loss("a drill")
        await behind.compact()
        assert await client.strlen(await only(client, deployment, "m")) == 80 + 48 * 600


async def test_a_history_compacted_too_coarsely_for_a_feature_set_is_refused(server: str, deployment: str) -> None:
    finer = FeatureSet(tuple(all_of(6 * HOUR_MS, 0, 15 * MINUTE_MS)))
    fewer = FeatureSet(HOURLY.rows[3:])
    row = transaction(1000, card="new", ms=START_MS + 600 * MINUTE_MS)
    async with worker(server, deployment) as one:
        await observe(one, *BUSY)
        await one.compact()
    async with worker(server, deployment, fewer) as other:
        assert vector_bytes(await observe(other, row), row) == await uncompacted(server, row)
    async with worker(server, deployment, finer) as other:
        with pytest.raises(
            StoreRefusedError, match=r"merchant's history was compacted .* `fraudstream features rebuild`"
        ):
            await observe(other, transaction(1001))


class Short:
    """A retention of 0.2 s."""

    retentions: Mapping[Entity, Retention] = dict.fromkeys((Entity.CARD, Entity.MERCHANT), Retention((exact(200),)))


async def test_keys_expire_and_an_expired_history_starts_anew_and_is_no_loss(
    server: str, deployment: str, client: redis_asyncio.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(append, "EXPIRY_MARGIN_MS", 100)
    store = RedisStore(server, deployment, Short(), now_ms)  # type: ignore[arg-type]
    await store.connect()
    try:
        first = await observe(store, transaction(1))
        assert await client.exists(await only(client, deployment, "c"), await only(client, deployment, "m")) == 2
        async with asyncio.timeout(5):
            while await client.keys(f"fraudstream:{deployment}:[cm]:*"):  # noqa: ASYNC110 - the server's clock
                await asyncio.sleep(0.01)
        after = await observe(store, transaction(2))
    finally:
        await store.close()
    assert not after.incomplete
    assert after.history_epoch == first.history_epoch
    assert after.cards.lengths.tolist() == after.merchants.lengths.tolist() == [1]


async def test_cache_hits_misses_and_held_bytes_are_counted(server: str, deployment: str) -> None:
    async with worker(server, deployment) as store:
        await observe(store, *BUSY[:10])
        await observe(store, *BUSY[:10])
        uses = store.cache_stats
    assert (uses[Entity.CARD].hits, uses[Entity.CARD].misses) == (3 + 10, 7)
    assert (uses[Entity.MERCHANT].hits, uses[Entity.MERCHANT].misses) == (9 + 10, 1)
    assert uses[Entity.MERCHANT].held_bytes >= 20 * 48


@pytest.mark.parametrize("heard", [False, True])
async def test_no_history_is_compacted_that_another_workers_feature_set_needs(
    server: str, deployment: str, client: redis_asyncio.Redis, *, heard: bool
) -> None:
    async with worker(server, deployment) as paned:
        await observe(paned, *BUSY)
        async with worker(server, deployment, DEFAULT):
            if heard:
                await paned.refresh()
            await paned.compact()
            merchant = await only(client, deployment, "m")
            assert await client.strlen(merchant) == 80 + 48 * 600
        await observe(paned, *(transaction(600 + i, card="c", ms=START_MS + 600 * MINUTE_MS) for i in range(16)))
        await paned.refresh()
        await paned.compact()
        assert await client.strlen(merchant) == 80 + 48 * 616, "a need is dropped only with its epoch"
        await paned.declare_loss("by hand")
        await observe(
            paned, *BUSY[:20], *(transaction(700 + i, card="c", ms=START_MS + 600 * MINUTE_MS) for i in range(16))
        )
        await paned.compact()
        assert await client.strlen(merchant) == 80 + 48 * 632, "histories are not complete"
        await mark_complete(client, deployment, paned)
        await observe(paned, *(transaction(800 + i, card="c", ms=START_MS + 600 * MINUTE_MS) for i in range(16)))
        await paned.compact()
        assert await client.strlen(merchant) < 80 + 48 * 150
