"""A server that evicts keys: nothing is decided by it meanwhile, and what it has evicted is a loss, seen or not."""

from collections.abc import Callable, Iterator

import pytest
from redis import Redis

from features.errors import StoreRefusedError, StoreUnavailableError
from features.history.store import Observed, Prediction
from features.redis.progress import LogPart
from features.redis.store import RedisStore
from support.features.recount import label, transaction, transactions
from support.features.stores import worker
from support.redis.cluster import redis_cluster
from support.redis.server import redis_server

pytestmark = pytest.mark.integration

NOW = 1_700_000_000_000
EVICTING = "volatile-random"
"""Evicts histories, which expire, and no key that is kept for ever, as the epoch's."""


class Servers:
    """One server, or the masters of a cluster, whose policies a test sets."""

    def __init__(self, url: str, clients: list[Redis]) -> None:
        self.url = url
        self.clients = clients

    def set_policy(self, policy: str) -> None:
        for client in self.clients[:1]:  # one master of several is enough
            client.config_set("maxmemory-policy", policy)

    def evict(self) -> None:
        """Evict all that may be, by a policy that nobody sees."""
        for client in self.clients:
            before = client.config_get("maxmemory-policy")["maxmemory-policy"]
            client.config_set("maxmemory-policy", EVICTING)
            client.config_set("maxmemory", 1)
            while client.info("keyspace").get("db0", {}).get("expires"):
                client.config_set("maxmemory", 1)
            client.config_set("maxmemory", 0)
            client.config_set("maxmemory-policy", before)


@pytest.fixture(scope="module")
def one_server() -> Iterator[Servers]:
    with redis_server() as url:
        yield Servers(url, [Redis.from_url(url)])


@pytest.fixture(scope="module")
def cluster() -> Iterator[Servers]:
    with redis_cluster(replicas=False) as opened:
        yield Servers(opened.url, [node.client for node in opened.nodes])


@pytest.fixture(params=["one_server", "cluster"])
def servers(request: pytest.FixtureRequest) -> Iterator[Servers]:
    found: Servers = request.getfixturevalue(request.param)
    yield found
    found.set_policy("noeviction")


async def observe(store: RedisStore, offset: int) -> Observed:
    return await store.observe(transactions([transaction(offset)]))


async def test_while_a_running_server_may_evict_nothing_is_decided_and_then_all_goes_on_as_before(
    servers: Servers, deployment: str
) -> None:
    async with worker(servers.url, deployment) as store:
        first = await observe(store, 0)
        servers.set_policy("allkeys-lru")
        for _ in range(2):
            with pytest.raises(StoreRefusedError, match=r"'allkeys-lru'.*CONFIG SET maxmemory-policy noeviction"):
                await store.refresh()
        with pytest.raises(StoreUnavailableError, match="'allkeys-lru'"):
            await observe(store, 1)
        with pytest.raises(StoreUnavailableError, match="'allkeys-lru'"):
            await store.label([label(0, transaction(0), fraud=True, at_ms=NOW)])
        with pytest.raises(StoreUnavailableError, match="'allkeys-lru'"):
            await store.predict([Prediction("card-1", "risk", 1.0, NOW, NOW, 0, 0)])
        servers.set_policy("noeviction")
        await store.refresh()
        again = await observe(store, 1)
    assert (again.incomplete, again.history_epoch) == (False, first.history_epoch)
    assert again.cards.lengths.tolist() == [2]


async def test_what_was_evicted_meanwhile_is_one_loss_for_all_workers_whatever_the_checkpoints(
    servers: Servers, deployment: str
) -> None:
    async with worker(servers.url, deployment) as store, worker(servers.url, deployment) as other:
        before = (await observe(store, 0)).history_epoch
        await observe(other, 1)
        await store.checkpoint({LogPart(of_labels=False, partition=0): 1})
        servers.set_policy("allkeys-lru")
        for one in (store, other):
            with pytest.raises(StoreRefusedError):
                await one.refresh()
        servers.evict()
        servers.set_policy("noeviction")
        with pytest.raises(StoreUnavailableError):
            await observe(store, 2)
        for one in (store, other, store, other):
            await one.refresh()
        after = await observe(store, 2)
        assert (after.incomplete, after.history_epoch) == (True, before + 1)
        assert other.history_epoch == before + 1
        assert await store.repair_progress.checkpoints(store.state.stored.cover) == {}


def reset(servers: Servers) -> None:
    for client in servers.clients:
        client.config_resetstat()


def nothing(_: Servers) -> None: ...


@pytest.mark.parametrize("then", [nothing, reset])
async def test_a_policy_that_came_and_went_between_two_looks_is_noticed_by_the_servers_count(
    then: Callable[[Servers], None], servers: Servers, deployment: str
) -> None:
    async with worker(servers.url, deployment) as store:
        before = (await observe(store, 0)).history_epoch
        if then is reset:  # then the count alone tells nothing, but the policy was seen
            servers.set_policy("allkeys-lru")
            with pytest.raises(StoreRefusedError):
                await store.refresh()
        servers.evict()
        then(servers)
        servers.set_policy("noeviction")
        await store.refresh()
        assert (store.history_epoch, store.incomplete) == (before + 1, True)
        await store.refresh()
        assert store.history_epoch == before + 1


async def test_what_is_evicted_while_no_worker_runs_is_noticed_at_the_next_start(
    servers: Servers, deployment: str
) -> None:
    async with worker(servers.url, deployment) as store:
        before = (await observe(store, 0)).history_epoch
    servers.evict()
    async with worker(servers.url, deployment) as store:
        assert (store.history_epoch, store.incomplete) == (before + 1, True)
    async with worker(servers.url, deployment) as store:
        assert store.history_epoch == before + 1


async def test_what_a_server_evicted_before_a_deployment_began_is_no_loss(servers: Servers, deployment: str) -> None:
    async with worker(servers.url, f"{deployment}-earlier") as store:
        await observe(store, 0)
    servers.evict()
    async with worker(servers.url, deployment) as store:
        first = await observe(store, 0)
        await store.refresh()
        assert (first.incomplete, store.history_epoch) == (False, first.history_epoch)
