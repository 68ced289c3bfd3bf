"""Fixtures of the integration tests: fleets, and a Redis of the test's own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.fleet.fleet import Fleet, new_fleet
from support.fleet.workers import Worker
from support.kafka.cluster import Cluster
from support.kafka.jars import NoJars
from support.kafka.three_brokers import ThreeBrokers, three_brokers
from support.redis.own import OwnRedis


@pytest.fixture
def fleet(
    kafka: Cluster, redis_url: str, topic_prefix: str, tmp_path: Path, start_worker: Callable[..., Worker]
) -> Fleet:
    """A fleet without workers yet."""
    return new_fleet(kafka, redis_url, topic_prefix, tmp_path, start_worker)


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[OwnRedis]:
    (tmp_path / "redis").mkdir()
    server = OwnRedis(tmp_path / "redis")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def apart(
    kafka: Cluster, own_redis: OwnRedis, topic_prefix: str, tmp_path: Path, start_worker: Callable[..., Worker]
) -> Fleet:
    """A fleet on a Redis of its own."""
    return new_fleet(kafka, own_redis.url, topic_prefix, tmp_path, start_worker)


@pytest.fixture(scope="module")
def cluster() -> Iterator[ThreeBrokers]:
    """Three brokers of Apache Kafka."""
    try:
        with three_brokers() as running:
            yield running
    except NoJars as reason:
        pytest.skip(f"no three brokers of Apache Kafka: {reason}")


@pytest.fixture
def replicated(
    cluster: ThreeBrokers, redis_url: str, topic_prefix: str, tmp_path: Path, start_worker: Callable[..., Worker]
) -> Fleet:
    """A fleet whose topics have three replicas; all brokers are in service."""
    cluster.start()
    return new_fleet(cluster, redis_url, topic_prefix, tmp_path, start_worker)
