"""Fixtures of the integration tests: fleets, and a Redis of the test's own."""

from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest
from aiokafka import client as aiokafka_client

from support.fleet.fleet import Fleet, new_fleet, standing_fleet
from support.fleet.workers import Worker
from support.kafka.cluster import Cluster
from support.kafka.jars import NoJars
from support.kafka.three_brokers import ThreeBrokers, three_brokers
from support.redis.own import OwnRedis

_CONNECTIONS = ContextVar[list[Any]]("connections that a bootstrap has made")


@pytest.fixture(scope="session", autouse=True)
def _cancelled_bootstraps_leave_nothing() -> Iterator[None]:
    """Close the connection of a cancelled bootstrap: aiokafka leaves it open, which a later test is told of."""
    connect, bootstrap = aiokafka_client.create_conn, aiokafka_client.AIOKafkaClient.bootstrap

    async def create_conn(*args: Any, **options: Any) -> Any:
        made = await connect(*args, **options)
        _CONNECTIONS.get([]).append(made)
        return made

    async def closing(client: Any) -> None:
        made: list[Any] = []
        _CONNECTIONS.set(made)
        try:
            await bootstrap(client)
        except BaseException:
            for connection in made:
                connection.close()
            raise
        finally:
            _CONNECTIONS.set([])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aiokafka_client, "create_conn", create_conn)
        patch.setattr(aiokafka_client.AIOKafkaClient, "bootstrap", closing)
        yield


@pytest.fixture
def apache_kafka(kafka: Cluster) -> None:
    """Skip tests of what the embedded broker lacks: transactions, topic ids, bounds on timestamps, notes of commits."""
    if kafka.kind == "embedded":
        pytest.skip("the embedded broker lacks what this needs")


@pytest.fixture
def fleet(
    kafka: Cluster, redis_url: str, topic_prefix: str, tmp_path: Path, start_worker: Callable[..., Worker]
) -> Fleet:
    """A fleet without workers yet."""
    return new_fleet(kafka, redis_url, topic_prefix, tmp_path, start_worker)


@pytest.fixture(scope="module")
def standing(
    kafka: Cluster, redis_url: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Fleet]:
    """A fleet of one worker with a live model that a module's tests share, under its `STANDING` settings if it has any.

    No test ends its worker, stops a server or changes a topic's settings; each has ids and cards of its own.
    """
    settings = getattr(request.module, "STANDING", {})
    with standing_fleet(kafka, redis_url, tmp_path_factory.mktemp("standing"), **settings) as fleet:
        yield fleet


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
