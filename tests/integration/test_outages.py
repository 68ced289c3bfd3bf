"""Services that go away: nothing is lost, nothing is decided twice, and what is decided meanwhile says so."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cluster import Cluster
from fleet import Fleet, new_fleet, sources, until
from own_redis import OwnRedis
from payments import payment
from workers import Worker


def test_a_restarted_redis_is_taken_for_one_that_lost_records_and_decisions_say_so(
    apart: Fleet, own_redis: OwnRedis
) -> None:
    apart.go_live()
    apart.publish(payment(number) for number in range(100))
    before = apart.await_scores(100)
    own_redis.kill()
    own_redis.start()
    apart.publish(payment(number) for number in range(100, 200))
    after = [score for score in apart.await_scores(200) if int(score.transaction_id[2:]) >= 100]
    assert {score.degraded for score in before} == {()}
    assert {score.degraded for score in after} == {("history_incomplete",)}
    epochs = {score.positions.history_epoch for score in before}, {score.positions.history_epoch for score in after}
    assert max(epochs[0]) < min(epochs[1])


def test_a_redis_emptied_while_no_worker_ran_is_noticed_and_stays_so_through_restarts(
    apart: Fleet, own_redis: OwnRedis
) -> None:
    (worker,) = apart.go_live()
    apart.publish(payment(number) for number in range(100))
    apart.await_scores(100)
    assert worker.terminate() == 0
    asyncio.run(own_redis.empty())
    for more in (200, 300):
        worker = apart.worker()
        worker.await_ready()
        apart.publish(payment(number) for number in range(more - 100, more))
        after = [score for score in apart.await_scores(more) if int(score.transaction_id[2:]) >= more - 100]
        assert {score.degraded for score in after} == {("history_incomplete",)}
        assert worker.terminate() == 0


def test_with_kafka_away_nothing_is_lost_or_decided_twice(
    kafka_outage: Cluster, redis_url: str, topic_prefix: str, tmp_path: Path, start_worker: Callable[..., Worker]
) -> None:
    if kafka_outage.kind == "embedded":
        pytest.skip("the embedded broker forgets everything when it stops")
    fleet = new_fleet(kafka_outage.brokers, redis_url, topic_prefix, tmp_path, start_worker)
    (worker,) = fleet.go_live()
    fleet.publish(payment(number) for number in range(3_000))
    kafka_outage.kill()
    time.sleep(3.0)
    kafka_outage.start()
    until(
        lambda: worker.exit_code is not None or len(fleet.scores()[0]) >= 3_000, "all decided, or the worker ended", 90
    )
    if worker.exit_code is not None:
        assert worker.exit_code == 70
        fleet.worker()
    valid = fleet.await_scores(3_000, seconds=90)
    assert set(sources(valid).values()) == {1}
    assert len(valid) == 3_000
