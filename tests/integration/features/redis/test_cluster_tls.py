"""A Redis Cluster over TLS: each master is reached at its TLS port, and certificates are verified."""

import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from features.declaration import load
from features.errors import StoreUnavailableError
from features.history.store import Fate
from features.redis.store import RedisStore
from fraudstream.demo.services.errors import NotReady
from support.certificates import Authority, NoCertificates
from support.features.recount import transaction, transactions
from support.redis.cluster import Cluster, Node, redis_cluster
from support.redis.retry import insist
from support.redis.secured import secured_redis

pytestmark = pytest.mark.integration

NOW = 1_700_000_000_000
ROWS = [transaction(number, card=f"c{number}", merchant=f"m{number}") for number in range(1, 60)]
"""Cards and merchants on all three masters."""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    try:
        return Authority(tmp_path_factory.mktemp("authority"))
    except NoCertificates as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def cluster(authority: Authority) -> Iterator[Cluster]:
    try:
        with secured_redis(authority):
            pass
    except NotReady as error:
        pytest.skip(f"no Redis with TLS: {error}")
    certificate, key = authority.vouch("redis-cluster", "IP:127.0.0.1")
    files = ("--tls-cert-file", str(certificate), "--tls-key-file", str(key), "--tls-ca-cert-file", str(authority.file))
    with redis_cluster(*files, "--tls-auth-clients", "no", secure=True) as opened:
        yield opened


@asynccontextmanager
async def worker(cluster: Cluster, trusting: Authority) -> AsyncIterator[RedisStore]:
    url = f"{cluster.secure_url}?ssl_ca_certs={trusting.file}"
    store = RedisStore(url, "tls", load(None), lambda: NOW)
    try:
        await store.connect()
        yield store
    finally:
        await store.close()


def has_tls_clients(node: Node) -> bool:
    return any(client["laddr"].endswith(f":{node.secure_port}") for client in node.client.client_list("normal"))


async def test_each_master_is_reached_over_tls_and_a_failover_is_detected(
    cluster: Cluster, authority: Authority
) -> None:
    async with worker(cluster, authority) as store:
        observed = await store.observe(transactions(ROWS))
        assert set(observed.fates) == {Fate.DECIDE}
        masters = [node for node in cluster.nodes if node.info("role") == "master"]
        assert [node.do("DBSIZE") > 0 for node in masters] == [True] * 3
        assert [has_tls_clients(node) for node in masters] == [True] * 3
        replica = cluster.replica_of(masters[1])
        masters[1].signal(signal.SIGKILL)
        cluster.taken_over(replica)
        observed, failures = await insist(store, transactions(ROWS))
        assert failures
        assert observed.incomplete
        assert has_tls_clients(replica)
    cluster.restore()


async def test_a_cluster_with_a_certificate_of_another_authority_is_not_trusted(
    cluster: Cluster, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path / "stranger")
    with pytest.raises(StoreUnavailableError, match="certificate is not trusted") as refused:
        async with worker(cluster, stranger):
            pass
    assert str(cluster.nodes[0].secure_port) in str(refused.value)
