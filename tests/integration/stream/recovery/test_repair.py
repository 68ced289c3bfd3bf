"""Redis loses histories: the loss is detected, and workers rebuild them from Kafka while they go on working."""

import json
import re
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from fraudstream_client.outputs import Score
from support.fleet.fleet import Fleet, new_fleet, until
from support.fleet.payments import PARTITIONS
from support.fleet.repair_scenario import A_WEEK, Scenario
from support.fleet.workers import Worker
from support.kafka.cluster import Cluster
from support.redis.own import OwnRedis
from support.redis.proxy import RedisProxy

Slow = tuple[Scenario, RedisProxy]


@pytest.fixture
def scenario(apart: Fleet, own_redis: OwnRedis) -> Scenario:
    return Scenario(apart, own_redis)


@pytest.fixture
def another(tmp_path: Path) -> Iterator[Callable[..., OwnRedis]]:
    """A function that starts another Redis."""
    started: list[OwnRedis] = []

    def start(**options: bool) -> OwnRedis:
        folder = tmp_path / f"another-{len(started)}"
        folder.mkdir()
        started.append(OwnRedis(folder, **options))
        started[-1].start()
        return started[-1]

    yield start
    for server in started:
        server.kill()


@pytest.fixture
def slow(
    kafka: Cluster, own_redis: OwnRedis, topic_prefix: str, tmp_path: Path, start_worker: Callable[..., Worker]
) -> Iterator[tuple[Scenario, RedisProxy]]:
    """A scenario whose Redis can be slowed down, so that a fault can happen during a repair."""
    with RedisProxy(own_redis.url) as front:
        yield Scenario(new_fleet(kafka, front.url, topic_prefix, tmp_path, start_worker), own_redis), front


def unmarked(scores: Sequence[Score]) -> bool:
    return all(not score.degraded for score in scores)


def test_an_emptied_redis_is_repaired_under_load_and_no_decision_is_marked(scenario: Scenario) -> None:
    scenario.fleet.go_live(workers=2)
    scenario.run_weeks(0, 1, 2, 3)
    before = scenario.epoch
    publishing = scenario.publish_slowly(4)
    until(lambda: len(scenario.fleet.scores()[0]) > 4.2 * A_WEEK, "the load is being decided")
    scenario.redis.client.flushall()
    scenario.await_detected(before)
    publishing.join()
    scenario.await_whole()
    scenario.settle(4)
    scenario.run_weeks(5, 6)
    valid = scenario.check()
    assert unmarked(valid)
    assert {score.positions.history_epoch for score in valid} == {before, before + 1}


def test_decisions_wait_until_a_redis_that_restarted_empty_is_repaired(
    scenario: Scenario, another: Callable[..., OwnRedis]
) -> None:
    forgetful = scenario.redis = another(forgetful=True)
    scenario.fleet.environment["REDIS_URL"] = forgetful.url
    (worker,) = scenario.fleet.go_live()
    scenario.run_weeks(0, 1, 2, 3, 4)
    before = scenario.epoch
    forgetful.kill()
    forgetful.start()
    scenario.await_detected(before)  # although no payment comes in
    until(lambda: "rebuilt from Kafka" in str(worker.readiness()[1]), "the worker says that it rebuilds")
    scenario.run_weeks(5)
    scenario.await_whole()
    worker.await_ready()
    assert unmarked(scenario.check())


@pytest.mark.acceptance
def test_after_a_failover_to_a_lagging_replica_only_the_missing_records_are_applied(
    slow: Slow, another: Callable[..., OwnRedis]
) -> None:
    scenario, front = slow
    scenario.fleet.go_live(workers=2)
    replica = another()
    scenario.run_weeks(0, 1, 2)
    replica.client.replicaof("127.0.0.1", scenario.redis.port)
    until(lambda: replica.client.info("replication").get("master_link_status") == "up", "the replica follows")
    scenario.run_weeks(3)
    until(lambda: scenario.marked(replica) == 2 * scenario.decided, "the replica knows what is applied")
    replica.client.replicaof("NO", "ONE")  # it receives no further records
    scenario.run_weeks(4)
    before = scenario.epoch
    scenario.redis.kill()
    scenario.redis = replica
    front.switch(replica.url)
    scenario.await_detected(before)
    scenario.await_whole()
    assert scenario.repaired() == (8 * A_WEEK, 2 * A_WEEK)  # applied: the fifth week's payments and labels
    scenario.run_weeks(5, 6)
    assert unmarked(scenario.check())


@pytest.mark.acceptance
def test_after_a_redis_restart_without_data_loss_no_record_is_applied_again(scenario: Scenario) -> None:
    scenario.fleet.go_live()
    scenario.run_weeks(0, 1, 2, 3)
    until(lambda: scenario.marked(scenario.redis) == 2 * scenario.decided, "what is applied is marked")
    before = scenario.epoch
    scenario.redis.kill()
    scenario.redis.start()
    scenario.await_detected(before)
    scenario.await_whole()
    assert scenario.repaired() == (8 * A_WEEK, 0)
    scenario.run_weeks(4)
    assert unmarked(scenario.check())


@pytest.mark.parametrize("remembered", [True, pytest.param(False, marks=pytest.mark.acceptance)])
def test_deleted_histories_are_repaired_whether_or_not_workers_cache_them(
    scenario: Scenario, *, remembered: bool
) -> None:
    (worker,) = scenario.fleet.go_live()
    scenario.run_weeks(0, 1, 2, 3, 4)
    if not remembered:
        assert worker.terminate() == 0
        scenario.fleet.worker().await_ready()
    before = scenario.epoch
    merchants = scenario.redis.client.keys(scenario.key_of("").replace(":c:", ":m:")[:-16] + "*")
    scenario.redis.client.delete(scenario.key_of("card-7"), scenario.key_of("card-8"), *merchants[:3])
    scenario.await_detected(before)
    scenario.await_whole()
    assert scenario.repaired() == (0, 10 * A_WEEK)  # all, whatever the checkpoints
    scenario.run_weeks(5, 6)
    assert unmarked(scenario.check())


@pytest.mark.acceptance
def test_the_deletion_of_a_cached_history_is_detected_without_keyspace_notifications(scenario: Scenario) -> None:
    scenario.redis.client.config_set("notify-keyspace-events", "")
    scenario.fleet.go_live()
    scenario.run_weeks(0, 1, 2, 3, 4)
    before = scenario.epoch
    scenario.redis.client.delete(scenario.key_of("card-7"))
    scenario.publish(5)
    scenario.await_detected(before, seconds=10)  # with the next payment of that card
    scenario.await_whole()
    scenario.settle(5)
    assert unmarked(scenario.check())


@pytest.mark.acceptance
def test_a_repair_is_finished_after_partitions_move_to_a_new_worker(slow: Slow) -> None:
    scenario, front = slow
    scenario.fleet.go_live()
    scenario.run_weeks(0, 1, 2, 3, 4)
    start_slow_repair(scenario, front)
    until(lambda: sum(scenario.parts_done()) >= PARTITIONS, "the labels are applied: every worker waits for that")
    front.stall()  # for the first worker alone
    before = sum(scenario.parts_done())
    second = scenario.fleet.worker(REDIS_URL=scenario.redis.url)
    until(lambda: sum(scenario.parts_done()) > before, "the second worker has repaired a part")
    assert not scenario.is_whole
    front.delay_s = 0.0
    front.resume()
    scenario.await_whole()
    second.await_ready()
    scenario.run_weeks(5, 6)
    assert unmarked(scenario.check())


def pending_parts(worker: Worker) -> int:
    """Return how many of a worker's parts are not fully applied again."""
    (count,) = re.findall(r"^fraudstream_history_open_parts (\S+)$", worker.get("/metrics")[1], re.MULTILINE)
    return round(float(count))


@pytest.mark.acceptance
def test_the_remaining_worker_finishes_the_repair_of_a_killed_one(slow: Slow) -> None:
    scenario, front = slow
    workers = scenario.fleet.go_live(workers=2)
    scenario.run_weeks(0, 1, 2, 3, 4)
    start_slow_repair(scenario, front)
    pending = {worker: pending_parts(worker) for worker in workers}
    killed = max(workers, key=lambda worker: pending[worker])
    killed.signal(signal.SIGKILL)
    assert pending[killed] > 0
    assert not scenario.is_whole
    front.delay_s = 0.0
    scenario.await_whole()
    scenario.run_weeks(5, 6)
    assert unmarked(scenario.check())


@pytest.mark.acceptance
def test_a_redis_that_is_emptied_again_during_a_repair_is_repaired_again(slow: Slow) -> None:
    scenario, front = slow
    scenario.fleet.go_live(workers=2)
    scenario.run_weeks(0, 1, 2, 3, 4)
    before = start_slow_repair(scenario, front)
    scenario.redis.client.flushall()
    scenario.await_detected(before + 1, seconds=5)
    front.delay_s = 0.0
    scenario.await_whole()
    scenario.run_weeks(5, 6)
    assert unmarked(scenario.check())


def start_slow_repair(scenario: Scenario, front: RedisProxy) -> int:
    """Empty a slow Redis and wait until one part, but not all, is repaired; return the previous epoch."""
    before = scenario.epoch
    front.delay_s = 0.3
    scenario.redis.client.flushall()
    until(lambda: any(scenario.parts_done()), "a part is done")
    assert not scenario.is_whole
    return before


@pytest.mark.acceptance
def test_with_redis_down_degrade_decisions_continue_during_a_repair_and_are_marked(slow: Slow) -> None:
    scenario, front = slow
    scenario.fleet.go_live(workers=2, REDIS_DOWN="degrade")
    scenario.run_weeks(0, 1, 2, 3)
    before = start_slow_repair(scenario, front)
    scenario.publish(4)
    marked = scenario.fleet.await_scores(scenario.decided)[-10:]
    assert not scenario.is_whole
    front.delay_s = 0.0
    scenario.await_whole()
    scenario.settle(4)
    scenario.run_weeks(5, 6)
    valid = scenario.check()
    assert {score.degraded for score in marked} == {("history_incomplete",)}
    numbers = [int(score.transaction_id[2:]) for score in valid if score.degraded]
    assert set(range(4 * A_WEEK, 5 * A_WEEK)) >= set(numbers)
    assert {score.positions.history_epoch for score in valid if not score.degraded} == {before, before + 1}


@pytest.mark.acceptance
def test_a_redis_emptied_while_no_worker_ran_is_repaired_at_the_next_start(scenario: Scenario) -> None:
    (worker,) = scenario.fleet.go_live()
    scenario.run_weeks(0, 1, 2, 3, 4)
    assert worker.terminate() == 0
    scenario.redis.client.flushall()
    worker = scenario.fleet.worker()
    scenario.run_weeks(5)
    scenario.await_whole()
    assert worker.terminate() == 0
    scenario.fleet.worker().await_ready()
    scenario.run_weeks(6)
    assert unmarked(scenario.check())


@pytest.mark.acceptance
def test_a_requested_rebuild_is_done_by_the_running_workers_and_changes_no_feature(scenario: Scenario) -> None:
    scenario.fleet.go_live(workers=2)
    scenario.run_weeks(0, 1, 2, 3, 4)
    before = scenario.epoch
    done = scenario.fleet.cli("features", "rebuild", "--reason", "a test", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["epoch"], report["applied"]) == (before + 1, 2 * scenario.decided)
    refused = scenario.fleet.cli("features", "rebuild", "--here")
    assert refused.returncode == 1
    assert "2 workers run" in refused.stderr
    assert scenario.epoch == before + 1
    scenario.run_weeks(5)
    assert unmarked(scenario.check())


@pytest.mark.acceptance
def test_without_workers_rebuild_is_refused_and_rebuild_here_repairs_all_histories(scenario: Scenario) -> None:
    (worker,) = scenario.fleet.go_live()
    scenario.run_weeks(0, 1, 2, 3, 4)
    assert worker.terminate() == 0
    scenario.redis.client.flushall()
    refused = scenario.fleet.cli("features", "rebuild")
    assert refused.returncode == 1
    assert "no worker has started" in refused.stderr
    assert "--here" in refused.stderr
    assert not scenario.is_whole
    done = scenario.fleet.cli("features", "rebuild", "--here")
    assert done.returncode == 0, done.stderr
    assert f"{2 * scenario.decided:,} records applied" in done.stdout
    assert scenario.is_whole
    scenario.fleet.worker().await_ready()
    scenario.run_weeks(5)
    assert unmarked(scenario.check())


@pytest.mark.parametrize("here", [True, pytest.param(False, marks=pytest.mark.acceptance)], ids=["here", "by a worker"])
def test_applied_labels_whose_offsets_were_not_committed_are_rebuilt_too(scenario: Scenario, *, here: bool) -> None:
    (worker,) = scenario.fleet.go_live(COMMIT_INTERVAL="600")
    scenario.run_weeks(0, 1, 2, 3, 4)
    worker.signal(signal.SIGKILL)
    scenario.redis.client.flushall()
    if here:
        until(
            lambda: scenario.fleet.cli("features", "rebuild", "--here").returncode == 0,
            "the dead worker left the group",
        )
    scenario.fleet.worker().await_ready()
    scenario.await_whole()
    assert scenario.repaired() == (0, 2 * scenario.decided)
    scenario.run_weeks(5)
    assert unmarked(scenario.check())


def test_a_deployment_that_decided_nothing_has_nothing_to_rebuild(fleet: Fleet) -> None:
    refused = fleet.cli("features", "rebuild", "--here")
    assert refused.returncode == 1
    assert "decided nothing yet" in refused.stderr
