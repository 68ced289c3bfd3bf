"""Histories on a real server: losses, restarts, cut connections, expiry, refused servers, several workers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from redis import asyncio as redis_asyncio
from redis.asyncio.cluster import ClusterNode

from features.declaration import DAY_MS, load
from features.errors import StoreRefusedError, StoreUnavailableError
from features.history.records import card_hash, merchant_hash
from features.history.store import Entity, Fate, Observed, observe_all
from features.redis.store import RedisStore, StoreOptions
from features.redis.urls import is_cluster, seeds
from features.vector.vectorise import vectorise
from fraudstream_client.outputs import LabelStatus
from support.features.recount import label, transaction, transactions
from support.features.stores import worker
from support.redis.cluster import redis_cluster
from support.redis.proxy import Loss, RedisProxy
from support.redis.server import free_port, redis_server

pytestmark = pytest.mark.integration

DEFAULT = load(None)
Client = redis_asyncio.Redis | redis_asyncio.RedisCluster
NOW = 1_700_000_000_000


@pytest.fixture(scope="module")
def one_server() -> Iterator[str]:
    with redis_server() as url:
        yield url


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    with redis_cluster(replicas=False) as opened:
        yield opened.url


@pytest.fixture(params=["one_server", "cluster"])
def server(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


@pytest.fixture
def proxy(one_server: str) -> Iterator[RedisProxy]:
    with RedisProxy(one_server) as opened:
        yield opened


@pytest.fixture
async def client(server: str) -> AsyncIterator[Client]:
    async with client_of(server) as opened:
        yield opened


def client_of(url: str) -> Client:
    if not is_cluster(url):
        return redis_asyncio.Redis.from_url(url)
    return redis_asyncio.RedisCluster(startup_nodes=[ClusterNode(*address) for address in seeds(url)])


class Clock:
    def __init__(self) -> None:
        self.ms = NOW

    def __call__(self) -> int:
        return self.ms


async def observe(store: RedisStore, *rows: dict) -> Observed:
    return await store.observe(transactions(list(rows)))


async def keys(client: Client, deployment: str, kind: str) -> list[bytes]:
    names = (f"fraudstream:{deployment}:{kind}:*", f"fraudstream:{{{deployment}/*}}:{kind}:*")
    return sorted([key for name in names async for key in client.scan_iter(name)])


async def test_trap_4_a_deleted_history_is_detected(server: str, deployment: str, client: Client) -> None:
    async with worker(server, deployment) as store:
        first = await observe(store, *(transaction(i) for i in range(6)))
        await client.delete(*await keys(client, deployment, "c"))
        after = await observe(store, transaction(9))
    assert (first.incomplete, after.incomplete) == (False, True)
    assert after.history_epoch == first.history_epoch + 1
    assert after.cards.lengths.tolist() == [1]
    assert after.merchants.lengths.tolist() == [7]
    (key,) = await keys(client, deployment, "c")
    assert await client.strlen(key) == 80 + 72


async def test_trap_5_records_replaced_by_as_many_others_are_detected(
    server: str, deployment: str, client: Client
) -> None:
    async with worker(server, deployment) as store, worker(server, deployment) as other:
        await observe(store, transaction(1), transaction(2))
        await client.delete(*await keys(client, deployment, "c"), *await keys(client, deployment, "m"))
        lost = await observe(other, transaction(3), transaction(4))
        assert not lost.incomplete
        after = await observe(store, transaction(5))
        assert after.incomplete
        assert after.cards.lengths.tolist() == after.merchants.lengths.tolist() == [3]
        told = await observe(other, transaction(6))
        assert told.incomplete
        assert told.history_epoch == after.history_epoch
        assert told.cards.lengths.tolist() == [4]


async def test_a_flushed_server_is_detected_by_every_worker_and_the_epoch_is_raised_once(
    server: str, deployment: str, client: Client
) -> None:
    async with worker(server, deployment) as one, worker(server, deployment) as two:
        first = await observe(one, transaction(1))
        await observe(two, transaction(2, card="other"))
        await client.flushall()
        after = [await observe(one, transaction(3)), await observe(two, transaction(4, card="other"))]
    assert [o.incomplete for o in after] == [True, True]
    assert [o.history_epoch - first.history_epoch for o in after] == [1, 1]
    assert [o.merchants.lengths.tolist() for o in after] == [[1], [2]]


async def test_records_reapplied_after_a_loss_are_counted_once(server: str, deployment: str, client: Client) -> None:
    rows = [transaction(i, card=f"c{i % 2}") for i in range(8)]
    async with worker(server, deployment) as store:
        first = await observe(store, *rows)
        await client.delete(*await keys(client, deployment, "c"))
        await observe(store, rows[7])
        again = await observe(store, *rows)
    assert list(again.fates) == [Fate.DECIDE] * 8
    assert again.merchants.lengths.tolist() == first.merchants.lengths.tolist()


async def test_a_restarted_server_is_detected_even_if_no_cached_history_is_used(deployment: str) -> None:
    port = free_port()
    with contextlib.ExitStack() as first:
        url = first.enter_context(redis_server(port=port))
        async with worker(url, deployment) as store:
            before = await observe(store, transaction(1))
            epoch_key = f"fraudstream:{deployment}:epoch"
            first.close()
            with redis_server(port=port):
                async with redis_asyncio.Redis.from_url(url) as restored:  # as a snapshot would have it
                    await restored.set(epoch_key, before.history_epoch)
                with contextlib.suppress(StoreUnavailableError):
                    await observe(store, transaction(2, card="new", merchant="new"))
                after = await observe(store, transaction(2, card="new", merchant="new"))
    assert after.incomplete
    assert after.history_epoch > before.history_epoch


async def test_two_workers_on_the_same_merchants_lose_and_duplicate_nothing(server: str, deployment: str) -> None:
    async with worker(server, deployment) as one, worker(server, deployment) as two:
        workers = [one, two]

        async def drive(mine: int) -> None:
            for part in range(30):
                first = 1000 * mine + 10 * part
                rows = [transaction(first + i, card=f"card-{mine}-{i % 3}", merchant=f"m{i % 2}") for i in range(6)]
                await observe(workers[mine], *rows)
                if part % 3 == 0:
                    await observe(workers[1 - mine], *rows)  # as after a rebalance
                await workers[mine].label([label(first, rows[0], fraud=True, at_ms=rows[0]["ms"])])

        await asyncio.gather(drive(0), drive(1))
        seen = await observe(one, *(transaction(9000 + i, card="x", merchant=f"m{i}") for i in range(2)))
        fresh = await observe(two, *(transaction(9000 + i, card="x", merchant=f"m{i}") for i in range(2)))
    assert seen.merchants.lengths.tolist() == [181 + 60, 181]
    assert (seen.merchants.rows == fresh.merchants.rows).all()
    assert not seen.incomplete
    assert not fresh.incomplete


async def test_a_record_that_a_zombie_appended_beyond_the_cached_end_is_not_appended_again(
    server: str, deployment: str
) -> None:
    async with worker(server, deployment) as owner, worker(server, deployment) as zombie:
        await observe(owner, transaction(1, card="a"))
        await observe(zombie, transaction(2, card="b"))
        row = transaction(3, card="c")
        first = await observe(zombie, row)
        again = await observe(owner, row, transaction(4, card="c"))
        later = await observe(zombie, transaction(5, card="d"))
    assert first.merchants.positions.tolist() == [2]
    assert again.merchants.positions.tolist() == [2, 3]
    assert again.merchants.lengths.tolist() == [3, 4]
    assert later.merchants.lengths.tolist() == [5]


async def test_a_batch_or_label_repeated_after_a_lost_reply_is_appended_once(
    proxy: RedisProxy, deployment: str
) -> None:
    async with worker(proxy.url, deployment) as store:
        await observe(store, transaction(1))
        proxy.lose(Loss.REPLY)
        rows = [transaction(2), transaction(3, card="other")]
        with pytest.raises(StoreUnavailableError):
            await observe(store, *rows)
        again = await observe(store, *rows)
        assert list(again.fates) == [Fate.DECIDE, Fate.DECIDE]
        assert again.cards.positions.tolist() == [1, 0]
        assert again.merchants.positions.tolist() == [1, 2]
        said = label(1, rows[0], fraud=True, at_ms=NOW)
        proxy.lose(Loss.REPLY)
        with pytest.raises(StoreUnavailableError):
            await store.label([said])
        (answer,) = await store.label([said])
        assert (answer.status, answer.card_position, answer.merchant_position) == (LabelStatus.APPLIED, 2, 3)
        assert not again.incomplete
        assert (await observe(store, transaction(4))).merchants.positions.tolist() == [4]


async def test_records_of_a_failed_call_are_not_appended_by_the_next_call(
    one_server: str, proxy: RedisProxy, deployment: str
) -> None:
    async with worker(proxy.url, deployment) as store, worker(one_server, deployment) as fresh:
        await observe(store, transaction(1, card="a"))
        proxy.lose(Loss.REQUEST)
        with pytest.raises(StoreUnavailableError):
            await observe(store, transaction(2, card="a"))
        after = await observe(store, transaction(3, card="b"))
        assert after.merchants.positions.tolist() == [1]
        assert (await observe(fresh, transaction(4, card="a"))).cards.positions.tolist() == [1]


async def test_a_cancelled_call_leaves_the_store_usable(proxy: RedisProxy, deployment: str) -> None:
    async with worker(proxy.url, deployment) as store:
        await observe(store, transaction(1))
        proxy.lose(Loss.SILENCE)
        task = asyncio.ensure_future(observe(store, transaction(2)))
        assert await asyncio.to_thread(proxy.lost.wait, 5)
        for _ in range(10):  # until it reads: Python 3.11's wait_for swallows a cancellation at the end of a send
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        after = await observe(store, transaction(2), transaction(3))
    assert after.cards.positions.tolist() == [1, 2]
    assert not after.incomplete


async def test_a_cached_copy_is_returned_without_the_server_and_without_drafts(
    proxy: RedisProxy, deployment: str
) -> None:
    rows = [transaction(1), transaction(2)]
    card, merchant = card_hash(rows[0]["card"]), merchant_hash(rows[0]["merchant"])
    async with worker(proxy.url, deployment) as store:
        assert store.cached_copy(Entity.CARD, card) is None
        seen = await observe(store, *rows)
        proxy.lose(Loss.SILENCE)
        with pytest.raises(StoreUnavailableError):
            await observe(store, transaction(3))
        for kind, entity, own in (
            (Entity.CARD, card, seen.cards.rows),
            (Entity.MERCHANT, merchant, seen.merchants.rows),
        ):
            told = store.cached_copy(kind, entity)
            assert told is not None
            assert (told.rows == own[-2:]).all()
            told.append(own[0], NOW)
        assert (await observe(store, transaction(4))).cards.positions.tolist() == [3]


async def test_connecting_to_a_server_that_does_not_answer_raises_unavailable_with_its_address(deployment: str) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    unresponsive = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with unresponsive:
        url = f"redis://127.0.0.1:{unresponsive.sockets[0].getsockname()[1]}/0"
        store = RedisStore(url, deployment, DEFAULT, Clock(), StoreOptions(timeout_s=0.05))
        with pytest.raises(StoreUnavailableError, match=r"127\.0\.0\.1"):
            await store.connect()
        await store.close()


def age_of(store: RedisStore) -> int | None:
    known = store.age.known
    return None if known is None else known.age


async def test_the_age_of_histories_is_shared_and_returns_with_them_after_a_loss(
    server: str, deployment: str, client: Client
) -> None:
    month = [transaction(day, ms=NOW + day * DAY_MS) for day in range(31)]
    async with worker(server, deployment) as store:
        first = await observe(store, *month[:2])
        assert first.ages_days is not None
        assert first.ages_days.tolist() == [0, 1]
        await observe(store, *month[2:])
        assert age_of(store) == 30
        await store.refresh()
        async with worker(server, deployment) as other:
            assert age_of(other) == 30
        await client.flushall()
        await store.refresh()
        assert age_of(store) == 0
        await store.apply(transactions(month))
        assert age_of(store) == 30


async def test_a_connection_that_the_server_has_closed_is_replaced_before_the_next_command(
    one_server: str, deployment: str
) -> None:
    async with worker(one_server, deployment) as store, client_of(one_server) as other:
        await store.refresh()
        connection: Any = store._connection
        await other.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        assert await connection._idle._reader.read() == b"", "the end has arrived"
        await store.refresh()
        assert not (await observe(store, transaction(0))).incomplete


async def test_refresh_without_a_server_raises_unavailable(deployment: str) -> None:
    store = RedisStore(f"redis://127.0.0.1:{free_port()}/0", deployment, DEFAULT, Clock())
    with pytest.raises(StoreUnavailableError):
        await store.refresh()
    await store.close()


async def test_a_server_with_an_eviction_policy_is_refused_with_the_command_that_corrects_it(deployment: str) -> None:
    with redis_server("--maxmemory-policy", "allkeys-lru") as url:
        store = RedisStore(url, deployment, DEFAULT, Clock())
        with pytest.raises(StoreRefusedError, match=r"'allkeys-lru'.*CONFIG SET maxmemory-policy noeviction"):
            await store.connect()
        await store.close()


async def test_without_config_the_policy_is_read_from_info_and_wrong_passwords_are_refused(deployment: str) -> None:
    with redis_server("--rename-command", "CONFIG", "", password="s3cret") as url:  # noqa: S106 - of this server alone
        async with worker(url, deployment) as store:
            await store.refresh()
        wrong = RedisStore(url.replace("s3cret", "gu3ss"), deployment, DEFAULT, Clock())
        with pytest.raises(StoreRefusedError) as refused:
            await wrong.connect()
        assert "gu3ss" not in str(refused.value)
        await wrong.close()


async def test_scripts_are_sent_again_after_a_script_flush(server: str, deployment: str, client: Client) -> None:
    async with worker(server, deployment) as store:
        await observe(store, transaction(1))
        await client.script_flush()
        assert (await observe(store, transaction(2))).cards.positions.tolist() == [1]


async def test_keys_expire_a_day_after_their_horizon_and_the_expiry_is_set_once_an_hour(
    server: str, deployment: str, client: Client
) -> None:
    clock = Clock()
    async with worker(server, deployment, clock=clock) as store:
        await observe(store, transaction(1))
        (card,), (merchant,) = await keys(client, deployment, "c"), await keys(client, deployment, "m")
        for key, days in ((card, 38), (merchant, 45)):
            assert 0 < days * DAY_MS - await client.pttl(key) < 60_000
            await client.persist(key)
        clock.ms += 3_599_999
        await observe(store, transaction(2))
        assert await client.pttl(card) == -1
        clock.ms += 1
        await observe(store, transaction(3))
        assert await client.pttl(card) > 0


async def test_an_expired_history_starts_anew_and_is_no_loss(server: str, deployment: str, client: Client) -> None:
    clock = Clock()
    async with worker(server, deployment, clock=clock) as store:
        await observe(store, transaction(1))
        await client.delete(*await keys(client, deployment, "c"), *await keys(client, deployment, "m"))
        clock.ms += 45 * DAY_MS
        after = await observe(store, transaction(2))
    assert not after.incomplete
    assert after.cards.lengths.tolist() == [1]


async def test_trimming_shortens_the_stored_value_and_changes_no_vector_of_any_worker(
    server: str, deployment: str, client: Client
) -> None:
    async with worker(server, deployment) as one, worker(server, deployment) as two:
        for day in range(60):
            row = transaction(day, ms=NOW + day * DAY_MS)
            await observe(two if day in (20, 40) else one, row)
        (card,) = await keys(client, deployment, "c")
        assert await client.strlen(card) == 80 + 60 * 72
        await one.compact()
        assert await client.strlen(card) == 80 + 37 * 72
        assert await client.pttl(card) > 0
        row = transaction(60, ms=NOW + 60 * DAY_MS)
        seen = [await observe(store, row) for store in (two, one)]
        async with worker(server, deployment) as fresh:
            seen.append(await observe(fresh, row))
    assert [s.cards.positions.tolist() for s in seen] == [[60]] * 3
    assert len({vectorise(DEFAULT, transactions([row]), s).tobytes() for s in seen}) == 1
    assert not any(s.incomplete for s in seen)


async def test_a_small_cache_changes_no_vector(server: str, deployment: str) -> None:
    async with worker(server, deployment, cache_bytes=8_000) as small, worker(server, f"{deployment}x") as large:
        for i in range(60):
            rows = [transaction(10 * i + k, card=f"c{(i + k) % 7}", merchant=f"m{k}") for k in range(5)]
            batch = transactions(rows)
            told = [vectorise(DEFAULT, batch, await store.observe(batch)).tobytes() for store in (small, large)]
            assert told[0] == told[1]


async def test_no_key_contains_the_id_of_a_card(server: str, deployment: str, client: Client) -> None:
    async with worker(server, deployment) as store:
        await observe(store, transaction(1, card="card-of-somebody"))
    assert not [key for key in await client.keys("*") if b"card-of-somebody" in key]


async def in_parts(store: RedisStore, rows: list[dict]) -> list[int]:
    """Observe rows, and return how many were observed together."""
    return [len(some) async for some, _ in observe_all(store, transactions(rows))]


async def test_a_batch_is_cut_where_its_histories_take_too_much_whether_they_are_cached_or_not(
    server: str, deployment: str
) -> None:
    rows = [transaction(number, card=f"c{number % 4}", merchant=f"m{number % 2}") for number in range(12)]
    async with worker(server, deployment) as store:
        assert await in_parts(store, rows) == [12]
    async with worker(server, deployment, batch_bytes=2_000) as store:
        sizes = await in_parts(store, rows)
        assert sizes == [3, 3, 3, 3]  # of three records of 72 bytes and six of 48 each
        stats = store.cache_stats
        assert (stats[Entity.CARD].misses, stats[Entity.CARD].hits) == (4, 8)
        assert (stats[Entity.MERCHANT].misses, stats[Entity.MERCHANT].hits) == (2, 10)
        assert await in_parts(store, rows) == sizes
        assert (store.cache_stats[Entity.CARD].misses, store.cache_stats[Entity.CARD].hits) == (4, 20)
    async with worker(server, deployment, batch_bytes=1) as store:
        assert await in_parts(store, rows) == [1] * 12
        await store.apply(transactions(rows))


async def test_labels_whose_histories_take_too_much_together_are_appended_in_parts(
    server: str, deployment: str
) -> None:
    rows = [transaction(number, card=f"c{number % 5}", merchant=f"m{number % 3}") for number in range(15)]
    said = [label(number, row, fraud=True, at_ms=NOW) for number, row in enumerate(rows)]
    results = []
    for name, limit in (("whole", 64 << 20), ("cards", 700), ("one", 1)):
        async with worker(server, f"{deployment}{name}", batch_bytes=limit) as store:
            await in_parts(store, rows)
            results.append([result._replace(history_epoch=0) for result in await store.label(said)])
    assert {result.status for result in results[0]} == {LabelStatus.APPLIED}
    assert results[1:] == [results[0]] * 2
