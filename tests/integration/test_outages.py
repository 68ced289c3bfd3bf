"""Services that go away: nothing is lost, nothing is decided twice, and what is decided meanwhile says so."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cluster import Cluster
from fleet import new_fleet, sources, until
from payments import payment
from workers import Worker


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
