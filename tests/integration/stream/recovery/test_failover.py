"""The master of the histories fails or is demoted while payments come in: workers follow, and repair what is lost."""

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.fleet.fleet import Fleet, new_fleet, until
from support.fleet.repair_scenario import Scenario
from support.fleet.workers import Worker
from support.kafka.cluster import Cluster
from support.redis.proxy import RedisProxy
from support.redis.replicated import Pair, redis_pair

NewFleet = Callable[[str], Fleet]


@pytest.fixture
def fleet_on(
    kafka: Cluster, topic_prefix: str, tmp_path: Path, start_worker: Callable[..., Worker]
) -> Callable[[str], Fleet]:
    """A function that returns a fleet on the Redis at a URL."""
    return lambda url: new_fleet(kafka, url, topic_prefix, tmp_path, start_worker)


@pytest.fixture
def watched() -> Iterator[Pair]:
    with redis_pair(sentinels=True) as pair:
        yield pair


@pytest.mark.acceptance
def test_workers_leave_a_demoted_master_behind_a_proxy_that_keeps_their_connections(
    fleet_on: NewFleet, report: Callable[[str], None]
) -> None:
    with redis_pair() as pair, RedisProxy(pair.master.url) as front:
        scenario = Scenario(fleet_on(front.url), pair.master)
        workers = scenario.fleet.go_live(workers=2)
        scenario.run_weeks(0, 1, 2)
        before = scenario.epoch
        scenario.redis = pair.replica
        publishing = scenario.publish_slowly(3)
        pair.replica.follow(None)
        pair.master.follow(pair.replica)
        front.switch(pair.replica.url, cut=False)
        began = time.monotonic()
        scenario.await_detected(before, seconds=2.0)
        detected_s = time.monotonic() - began
        publishing.join()
        scenario.await_whole()
        for worker in workers:
            worker.await_ready()
        ready_s = time.monotonic() - began
        scenario.settle(3)
        scenario.run_weeks(4)
        assert all(not score.degraded for score in scenario.check())
        assert front.counts["cut"] == 0
        report(f"the loss was noticed {detected_s:.1f} s after the demotion, and all were ready after {ready_s:.1f} s")


@pytest.mark.acceptance
def test_workers_and_commands_follow_the_master_that_sentinels_know(fleet_on: NewFleet, watched: Pair) -> None:
    scenario = Scenario(fleet_on(watched.url), watched.master)
    scenario.fleet.go_live(workers=2)
    scenario.run_weeks(0, 1, 2)
    before = scenario.epoch
    watched.master.signal(signal.SIGKILL)
    scenario.redis = watched.replica
    publishing = scenario.publish_slowly(3)
    watched.replica.await_role("master")
    scenario.await_detected(before, seconds=4.0)  # each sentinel has to learn of the failover
    publishing.join()
    scenario.await_whole()
    scenario.settle(3)
    lost = scenario.epoch  # two workers that notice the same failover may raise it twice
    done = scenario.fleet.cli("features", "rebuild", "--reason", "a test", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["epoch"] == lost + 1
    until(lambda: scenario.is_whole, "the histories are whole")
    scenario.run_weeks(4)
    assert all(not score.degraded for score in scenario.check())
