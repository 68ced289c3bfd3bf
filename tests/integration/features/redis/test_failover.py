"""A replica becomes the master behind a name, or by sentinels: the store leaves the demoted one at once."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator

import pytest

from features.errors import StoreUnavailableError
from features.history.store import Fate, Transactions
from support.features.recount import transaction, transactions
from support.features.stores import worker
from support.redis.cluster import until
from support.redis.proxy import RedisProxy
from support.redis.replicated import NAME, Pair, Server, redis_pair
from support.redis.retry import insist

pytestmark = pytest.mark.integration

NOW = 1_700_000_000_000
SLOW_LOAD = ("--key-load-delay", "50000", "--loading-process-events-interval-bytes", "1024")
"""Settings with which a server loads a key in 50 ms, and answers in between that it is loading."""
RECOVERED_S = 2.0
"""A failover itself takes as long as the sentinels need; from then on a call succeeds within this time."""


@pytest.fixture
def pair() -> Iterator[Pair]:
    with redis_pair() as opened:
        yield opened


@pytest.fixture
def watched() -> Iterator[Pair]:
    with redis_pair(sentinels=True) as opened:
        yield opened


def payment(offset: int) -> Transactions:
    return transactions([transaction(offset, card=f"c{offset}")])


def holds(server: Server, histories: int) -> bool:
    """Tell whether a server has so many cards' histories."""
    return len(server.client.keys("fraudstream:failover:c:*")) == histories


def exchange(pair: Pair, proxy: RedisProxy) -> None:
    """Exchange the roles of both servers; new connections lead to the new master, and the old ones stay."""
    pair.replica.follow(None)
    pair.master.follow(pair.replica)
    proxy.switch(pair.replica.url, cut=False)


async def test_a_write_that_the_demoted_master_refuses_is_repeated_at_the_new_one(pair: Pair) -> None:
    with RedisProxy(pair.master.url) as proxy:
        async with worker(proxy.url, "failover") as store:
            observed = await store.observe(payment(1))
            epoch = observed.history_epoch
            until("the replica has the record", lambda: holds(pair.replica, 1))
            exchange(pair, proxy)
            began = time.monotonic()
            observed, failures = await insist(store, payment(2))
            assert time.monotonic() - began < RECOVERED_S
            assert 1 <= failures <= 3
            assert (observed.incomplete, observed.history_epoch) == (True, epoch + 1)
            assert list(observed.fates) == [Fate.DECIDE]
            assert holds(pair.replica, 2)
            assert proxy.counts["cut"] == 0


async def test_an_idle_worker_leaves_a_server_in_another_role(pair: Pair) -> None:
    with RedisProxy(pair.master.url) as proxy:
        async with worker(proxy.url, "failover") as store:
            epoch = store.history_epoch
            watching = asyncio.create_task(store.watch())
            await asyncio.sleep(0.2)  # it subscribes over the connection that was free
            await store.refresh()
            exchange(pair, proxy)
            with pytest.raises(StoreUnavailableError, match="the server is a replica; a master is needed"):
                await store.refresh()
            await store.refresh()
            assert store.history_epoch == epoch + 1
            with pytest.raises(StoreUnavailableError, match="the connection is made anew"):
                await watching


async def test_a_server_that_still_loads_its_data_is_left(pair: Pair) -> None:
    with RedisProxy(pair.master.url) as proxy:
        async with worker(proxy.url, "failover") as store:
            await store.observe(payment(1))
            pair.master.client.mset({f"other-{number}": os.urandom(2048) for number in range(200)})
            until("the data is saved, after the replica's copy of it", pair.master.client.save)
            pair.master.signal(signal.SIGKILL)
            pair.master.start(SLOW_LOAD, loading=True)
            with pytest.raises(StoreUnavailableError, match="closed by server"):
                await store.observe(payment(2))
            with pytest.raises(StoreUnavailableError, match="loading"):
                await store.observe(payment(2))
            pair.replica.follow(None)
            proxy.switch(pair.replica.url, cut=False)
            began = time.monotonic()
            observed, _ = await insist(store, payment(2))
            assert time.monotonic() - began < RECOVERED_S
            assert observed.incomplete


async def test_the_master_that_sentinels_know_is_found_and_followed_when_it_fails(watched: Pair) -> None:
    with pytest.raises(StoreUnavailableError, match="No master found for 'nobody'"):
        async with worker(watched.url.replace(NAME, "nobody"), "failover"):
            pass
    async with worker(watched.url, "failover") as store:
        epoch = (await store.observe(payment(1))).history_epoch
        until("the replica has the record", lambda: holds(watched.replica, 1))
        watched.master.signal(signal.SIGKILL)
        watched.replica.await_role("master")
        began = time.monotonic()
        observed, _ = await insist(store, payment(2))
        assert time.monotonic() - began < RECOVERED_S
        assert (observed.incomplete, observed.history_epoch) == (True, epoch + 1)
        assert holds(watched.replica, 2)


async def test_a_master_that_was_replaced_and_does_not_know_it_is_left(watched: Pair) -> None:
    async with worker(watched.url, "failover") as store:
        epoch = (await store.observe(payment(1))).history_epoch
        until("the replica has the record", lambda: holds(watched.replica, 1))
        watched.master.signal(signal.SIGSTOP)
        watched.replica.await_role("master")
        watched.master.signal(signal.SIGCONT)  # it is a master still, until the sentinels look at it again
        until_s = time.monotonic() + 3 * RECOVERED_S  # each sentinel has to learn of the failover
        while store.history_epoch == epoch:
            assert time.monotonic() < until_s
            await asyncio.sleep(0.05)
            await store.refresh()
        assert watched.master.client.info("replication")["role"] == "master"
        await store.observe(payment(2))
        assert holds(watched.replica, 2)


async def test_sentinels_that_are_away_are_named_without_logins() -> None:
    url = "redis+sentinel://user:secret@127.0.0.1:1,127.0.0.1:2/name?sentinel_password=hidden"
    with pytest.raises(StoreUnavailableError, match=r"127\.0\.0\.1:1 - .*ConnectionError, 127\.0\.0\.1:2 - ") as told:
        async with worker(url, "failover"):
            pass
    assert "secret" not in str(told.value)
    assert "hidden" not in str(told.value)
