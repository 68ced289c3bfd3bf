"""Workers with histories on a Redis Cluster: a slot is migrated, then a master is killed, while payments come in."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from features.history.records import card_hash
from features.redis.keys import CLUSTER_SHARDS, KeyLayout
from support.fleet.fleet import Fleet, new_fleet, sources
from support.fleet.miscounted import miscounted
from support.fleet.payments import payment
from support.fleet.workers import Worker
from support.kafka.cluster import Cluster as Kafka
from support.redis.cluster import Cluster, redis_cluster

PART = 1_500


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with redis_cluster() as opened:
        yield opened


@pytest.fixture
def fleet(
    kafka: Kafka, cluster: Cluster, topic_prefix: str, tmp_path: Path, start_worker: Callable[..., Worker]
) -> Fleet:
    return new_fleet(kafka, cluster.url, topic_prefix, tmp_path, start_worker)


def publish(fleet: Fleet, part: int) -> None:
    fleet.publish(payment(number) for number in range(part * PART, (part + 1) * PART))


def test_each_payment_is_decided_once_and_unmarked_only_on_whole_histories(fleet: Fleet, cluster: Cluster) -> None:
    workers = fleet.go_live(workers=2)
    publish(fleet, 0)
    shards = KeyLayout("fraudstream:", fleet.environment["DEPLOYMENT"], CLUSTER_SHARDS)
    slot = shards.slots[shards.shard_of(card_hash("card-7"))]
    source = cluster.owner(slot)
    to = next(node for node in cluster.nodes if node.info("role") == "master" and node is not source)
    list(cluster.moving(slot, to))
    undisturbed = fleet.await_scores(PART)
    publish(fleet, 1)
    source.signal(signal.SIGKILL)
    publish(fleet, 2)
    valid = fleet.await_scores(3 * PART, seconds=120)
    for worker in workers:
        worker.await_ready()
        assert worker.terminate() == 0
    assert set(sources(valid).values()) == {1}
    assert len(valid) == 3 * PART
    assert {score.degraded for score in undisturbed} == {()}
    assert miscounted(valid) == []
    (before,) = {score.positions.history_epoch for score in undisturbed}
    assert max(score.positions.history_epoch for score in valid) > before
