"""Redis loses histories: the loss is detected, and workers rebuild them from Kafka while they go on working.

The simulated stream has few cards and merchants and 15 minutes between payments, so that it is longer than all windows
and delays; every payment is labelled a week later.
"""

import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.history import records
from stream.contract.outputs import Score
from support.fleet.fleet import Fleet, new_fleet, sources, until
from support.fleet.payments import START_MS
from support.fleet.workers import Worker
from support.handbook import Recount, label, transaction, weeks
from support.kafka.cluster import Cluster
from support.redis.own import OwnRedis
from support.redis.proxy import RedisProxy

GAP_MS = 900_000
A_WEEK = 7 * 24 * 4
CARDS, MERCHANTS = 60, 12
Rows = list[dict[str, Any]]


def payments(count: int) -> Rows:
    random = np.random.default_rng(7)
    return [
        {
            "transaction_id": f"t-{number}",
            "card_id": f"card-{random.integers(CARDS)}",
            "merchant_id": f"merchant-{random.integers(MERCHANTS)}",
            "occurred_at": START_MS + number * GAP_MS,
            "amount_minor": int(random.integers(100, 50_000)),
            "currency": "EUR",
            "fraud": bool(random.random() < 0.1),
        }
        for number in range(count)
    ]


class Scenario:
    """Runs a stream with its labels through a fleet, week by week."""

    def __init__(self, fleet: Fleet, redis: OwnRedis, weeks_long: int = 7) -> None:
        self.fleet = fleet
        self.redis = redis
        self.weeks = list(weeks(payments(weeks_long * A_WEEK)))
        self.decided = self.labelled = 0

    def publish(self, week: int) -> None:
        """Publish a week's payments."""
        self.fleet.publish(transaction(row) for row in self.weeks[week])
        self.decided += len(self.weeks[week])

    def publish_slowly(self, week: int) -> threading.Thread:
        """Publish a week's payments over some seconds, in a thread."""
        self.decided += len(self.weeks[week])

        def publish() -> None:
            for start in range(0, len(self.weeks[week]), 20):
                self.fleet.publish(transaction(row) for row in self.weeks[week][start : start + 20])
                time.sleep(0.05)

        publishing = threading.Thread(target=publish)
        publishing.start()
        return publishing

    def settle(self, week: int) -> None:
        """Wait for a week's decisions, then publish its labels and wait until they are applied."""
        self.fleet.await_scores(self.decided)
        self.fleet.publish((label(row) for row in self.weeks[week]), topic="labels")
        self.labelled += len(self.weeks[week])
        self.fleet.await_outcomes(self.labelled)

    def run_weeks(self, *which: int) -> None:
        """Publish these weeks and wait until they are decided and labelled."""
        for week in which:
            self.publish(week)
            self.settle(week)

    # --- state in Redis

    @property
    def epoch(self) -> int:
        """The current history epoch; 0 while its key is missing."""
        return int(self.redis.client.get(self._key()) or 0)

    @property
    def is_whole(self) -> bool:
        """Whether all histories are recorded as whole in the current epoch."""
        whole = self.redis.client.get(self._key(":whole")) or b""
        return whole.split(b" ")[0] == (self.redis.client.get(self._key()) or b"none")

    def parts_done(self) -> list[bool]:
        """Return for each reported part whether all of it is applied again."""
        (key,) = self.redis.client.keys(self._key(f":rebuilding:{self.epoch} *")) or [b"none"]
        parts = [tuple(map(int, value.split()[1:3])) for value in self.redis.client.hvals(key)]
        return [reached >= end for reached, end in parts]

    def marked(self, redis: OwnRedis) -> int:
        """Return the sum of the offsets of a server's checkpoints in the current epoch."""
        marks = redis.client.hgetall(self._key(f":marks:{self.epoch}"))
        return sum(int(offset) for part, offset in marks.items() if b":" in part)

    def repaired(self) -> tuple[int, int]:
        """Return how many records the last repair skipped, and how many it applied again."""
        (key,) = self.redis.client.keys(self._key(f":rebuilding:{self.epoch} *"))
        parts = [tuple(map(int, value.split()[:3])) for value in self.redis.client.hvals(key)]
        return sum(first for first, _, _ in parts), sum(end - first for first, _, end in parts)

    def _key(self, rest: str = "") -> str:
        return f"fraudstream:{self.fleet.environment['DEPLOYMENT']}:epoch{rest}"

    def key_of(self, card_id: str) -> str:
        """Return the key of a card's history."""
        entity = records.card_hash(card_id) & records.HASH_MASK
        return f"fraudstream:{self.fleet.environment['DEPLOYMENT']}:c:{entity:016x}"

    def await_detected(self, before: int, seconds: float = 1.0) -> None:
        """Wait until the epoch rises above `before`; fail if that takes too long."""
        until_s = time.monotonic() + seconds
        while self.epoch <= before:
            assert time.monotonic() < until_s, f"the loss was not detected within {seconds} s"
            time.sleep(0.01)

    def await_whole(self, seconds: float = 40.0) -> None:
        """Wait until the histories are whole."""
        until(lambda: self.is_whole, "the histories are whole", seconds)

    # --- results

    def rows(self) -> Rows:
        """Return the rows that were published, in order."""
        return [row for week in self.weeks for row in week][: self.decided]

    def check(self) -> list[Score]:
        """Check that each payment has one valid score, and that the features of unmarked ones equal a recount."""
        valid = self.fleet.await_scores(self.decided)
        assert set(sources(valid).values()) == {1}
        assert self.fleet.read("dead-letters") == []
        by_id, recount, wrong = {score.transaction_id: score for score in valid}, Recount(), []
        assert len(by_id) == self.decided
        for row in self.rows():
            expected, score = recount.features(row), by_id[row["transaction_id"]]
            if not score.degraded:
                assert score.features is not None
                wrong += [
                    (score.transaction_id, name, score.features[name], value)
                    for name, value in expected.items()
                    if not same(score.features[name], value)
                ]
        assert wrong == []
        return valid


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


def same(computed: float | None, expected: float | None) -> bool:
    if computed is None or expected is None:
        return computed is expected
    return math.isclose(computed, expected, rel_tol=1e-12, abs_tol=1e-12)


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
    assert "rebuilt from Kafka" in str(worker.await_not_ready())
    scenario.run_weeks(5)
    scenario.await_whole()
    worker.await_ready()
    assert unmarked(scenario.check())


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


@pytest.mark.parametrize("remembered", [True, False])
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


def test_a_repair_is_finished_after_partitions_move_to_a_new_worker(slow: Slow) -> None:
    scenario, front = slow
    scenario.fleet.go_live()
    scenario.run_weeks(0, 1, 2, 3, 4)
    start_slow_repair(scenario, front)
    second = scenario.fleet.worker()
    until(lambda: "joined" not in str(second.readiness()[1]), "the second worker has joined")
    assert not scenario.is_whole
    front.delay_s = 0.0
    scenario.await_whole()
    second.await_ready()
    scenario.run_weeks(5, 6)
    assert unmarked(scenario.check())


def test_the_remaining_worker_finishes_the_repair_of_a_killed_one(slow: Slow) -> None:
    scenario, front = slow
    first, _ = scenario.fleet.go_live(workers=2)
    scenario.run_weeks(0, 1, 2, 3, 4)
    start_slow_repair(scenario, front)
    first.signal(signal.SIGKILL)
    assert not scenario.is_whole
    front.delay_s = 0.0
    scenario.await_whole()
    scenario.run_weeks(5, 6)
    assert unmarked(scenario.check())


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


@pytest.mark.parametrize("here", [True, False], ids=["here", "by a worker"])
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
