"""A measurement deletes its keys at the end, on a server and on a cluster, and no others."""

from collections.abc import Iterator

import pytest
from redis import Redis

from benchmarks.parts import servers
from features.redis.store import RedisStore
from features.vector.sets import load_sets
from fraudstream.bench.worker import WorkerBench, own_names
from stream.clock import now_ms
from stream.settings import Settings
from support.kafka.cluster import Cluster
from support.redis import cluster
from support.redis.own import OwnRedis

pytestmark = pytest.mark.integration

SETS = load_sets("")
OTHERS = b"fraudstream:bench-1:epoch"


@pytest.fixture(scope="module")
def redis_cluster() -> Iterator[cluster.Cluster]:
    with cluster.redis_cluster(replicas=False) as running:
        yield running


def keys(redis: Redis) -> set[bytes]:
    return set(redis.scan_iter(count=1_000))


async def test_compared_servers_keep_no_keys(
    own_redis: OwnRedis, redis_cluster: cluster.Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "SIZES", (1,))
    monkeypatch.setattr(servers, "ROUNDS", 1)
    monkeypatch.setattr(servers, "_WARM_UP", 1)
    own_redis.client.set(OTHERS, 1)
    found = await servers.compare_servers([own_redis.url, redis_cluster.url], SETS)
    assert len(found) == 2
    assert keys(own_redis.client) == {OTHERS}
    assert [node.do("DBSIZE") for node in redis_cluster.running] == [0, 0, 0]


async def test_a_measured_worker_keeps_no_keys(kafka: Cluster, own_redis: OwnRedis) -> None:
    own = own_names(Settings(brokers=kafka.brokers, redis_url=own_redis.url))
    async with WorkerBench(own):
        own_redis.client.set(OTHERS, 1)
        store = RedisStore(own.redis_url, own.deployment, SETS, now_ms)
        await store.connect()
        await store.close()
        assert len(keys(own_redis.client)) > 1
    assert keys(own_redis.client) == {OTHERS}
