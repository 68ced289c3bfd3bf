"""Redis loses histories: it is noticed within a second, and they are put together again from Kafka while work goes on.

The stream is one of ours: few cards and merchants, a quarter of an hour between payments, so that it reaches behind all
windows and delays; every payment is labelled a week later.
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


class Story:
    """A stream that goes through a fleet, week by week, with its labels."""

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
        """Publish a week's payments over some seconds, while the caller goes on."""
        self.decided += len(self.weeks[week])

        def publish() -> None:
            for start in range(0, len(self.weeks[week]), 20):
                self.fleet.publish(transaction(row) for row in self.weeks[week][start : start + 20])
                time.sleep(0.05)

        publishing = threading.Thread(target=publish)
        publishing.start()
        return publishing

    def settle(self, week: int) -> None:
        """Wait for a week's decisions, and have its labels applied."""
        self.fleet.await_scores(self.decided)
        self.fleet.publish((label(row) for row in self.weeks[week]), topic="labels")
        self.labelled += len(self.weeks[week])
        self.fleet.await_records("outcomes", self.labelled)

    def tell(self, *which: int) -> None:
        """Let weeks go by."""
        for week in which:
            self.publish(week)
            self.settle(week)

    # --- what Redis says

    @property
    def epoch(self) -> int:
        """The epoch that holds; 0 while it is gone."""
        return int(self.redis.client.get(self._key()) or 0)

    @property
    def is_whole(self) -> bool:
        """Whether all histories are known to be there."""
        whole = self.redis.client.get(self._key(":whole")) or b""
        return whole.split(b" ")[0] == (self.redis.client.get(self._key()) or b"none")

    def parts_done(self) -> list[bool]:
        """Tell of each part that was reported on whether all of it is applied again."""
        (key,) = self.redis.client.keys(self._key(f":rebuilding:{self.epoch} *")) or [b"none"]
        parts = [tuple(map(int, value.split()[1:3])) for value in self.redis.client.hvals(key)]
        return [reached >= end for reached, end in parts]

    def marked(self, redis: OwnRedis) -> int:
        """Return how many offsets a server's marks add up to, under the epoch that holds."""
        marks = redis.client.hgetall(self._key(f":marks:{self.epoch}"))
        return sum(int(offset) for part, offset in marks.items() if b":" in part)

    def repaired(self) -> tuple[int, int]:
        """Return how many records the last repair left alone, and how many it applied again."""
        (key,) = self.redis.client.keys(self._key(f":rebuilding:{self.epoch} *"))
        parts = [tuple(map(int, value.split()[:3])) for value in self.redis.client.hvals(key)]
        return sum(first for first, _, _ in parts), sum(end - first for first, _, end in parts)

    def _key(self, rest: str = "") -> str:
        return f"fraudstream:{self.fleet.environment['DEPLOYMENT']}:epoch{rest}"

    def key_of(self, card_id: str) -> str:
        """Return where a card's history is."""
        entity = records.card_hash(card_id) & records.HASH_MASK
        return f"fraudstream:{self.fleet.environment['DEPLOYMENT']}:c:{entity:016x}"

    def await_noticed(self, before: int, seconds: float = 1.0) -> None:
        """Fail if a loss is not noticed in time, under the epoch `before`."""
        until_s = time.monotonic() + seconds
        while self.epoch <= before:
            assert time.monotonic() < until_s, f"not noticed within {seconds} s"
            time.sleep(0.01)

    def await_whole(self, seconds: float = 40.0) -> None:
        """Wait until the histories are whole."""
        until(lambda: self.is_whole, "the histories are whole", seconds)

    # --- what came of it

    def rows(self) -> Rows:
        """Return what was published, in order."""
        return [row for week in self.weeks for row in week][: self.decided]

    def check(self) -> list[Score]:
        """Check that each payment has one valid score and that those not marked see all that came before."""
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


Slow = tuple[Story, RedisProxy]


@pytest.fixture
def story(apart: Fleet, own_redis: OwnRedis) -> Story:
    return Story(apart, own_redis)


@pytest.fixture
def another(tmp_path: Path) -> Iterator[Callable[..., OwnRedis]]:
    """A function that starts one server more."""
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
) -> Iterator[tuple[Story, RedisProxy]]:
    """A story whose Redis can be made slow, so that something can happen in the middle of a repair."""
    with RedisProxy(own_redis.url) as front:
        yield Story(new_fleet(kafka.brokers, front.url, topic_prefix, tmp_path, start_worker), own_redis), front


def same(computed: float | None, expected: float | None) -> bool:
    if computed is None or expected is None:
        return computed is expected
    return math.isclose(computed, expected, rel_tol=1e-12, abs_tol=1e-12)


def unmarked(scores: Sequence[Score]) -> bool:
    return all(not score.degraded for score in scores)


def test_an_emptied_redis_is_repaired_under_load_and_no_decision_shows_it(story: Story) -> None:
    story.fleet.go_live(workers=2)
    story.tell(0, 1, 2, 3)
    before = story.epoch
    publishing = story.publish_slowly(4)
    until(lambda: len(story.fleet.scores()[0]) > 4.2 * A_WEEK, "the load is being decided")
    story.redis.client.flushall()
    story.await_noticed(before)
    publishing.join()
    story.await_whole()
    story.settle(4)
    story.tell(5, 6)
    valid = story.check()
    assert unmarked(valid)
    assert {score.positions.history_epoch for score in valid} == {before, before + 1}


def test_a_redis_that_comes_back_empty_is_repaired_and_decisions_wait_for_it(
    story: Story, another: Callable[..., OwnRedis]
) -> None:
    forgetful = story.redis = another(forgetful=True)
    story.fleet.environment["REDIS_URL"] = forgetful.url
    (worker,) = story.fleet.go_live()
    story.tell(0, 1, 2, 3, 4)
    before = story.epoch
    forgetful.kill()
    forgetful.start()
    story.await_noticed(before)  # though nothing is asked: nothing comes in
    assert "rebuilt from Kafka" in str(worker.await_not_ready())
    story.tell(5)
    story.await_whole()
    worker.await_ready()
    assert unmarked(story.check())


def test_a_replica_that_lacks_the_end_is_repaired(slow: Slow, another: Callable[..., OwnRedis]) -> None:
    story, front = slow
    story.fleet.go_live(workers=2)
    replica = another()
    story.tell(0, 1, 2)
    replica.client.replicaof("127.0.0.1", story.redis.port)
    until(lambda: replica.client.info("replication").get("master_link_status") == "up", "the replica follows")
    story.tell(3)
    until(lambda: story.marked(replica) == 2 * story.decided, "the replica knows what is applied")
    replica.client.replicaof("NO", "ONE")  # from here on it lacks what comes
    story.tell(4)
    before = story.epoch
    story.redis.kill()
    story.redis = replica
    front.switch(replica.url)
    story.await_noticed(before)
    story.await_whole()
    assert story.repaired() == (8 * A_WEEK, 2 * A_WEEK)  # the fifth week's, and its labels
    story.tell(5, 6)
    assert unmarked(story.check())


def test_a_restart_with_all_that_was_written_down_leaves_little_to_repair(story: Story) -> None:
    story.fleet.go_live()
    story.tell(0, 1, 2, 3)
    until(lambda: story.marked(story.redis) == 2 * story.decided, "what is applied is marked")
    before = story.epoch
    story.redis.kill()
    story.redis.start()
    story.await_noticed(before)
    story.await_whole()
    assert story.repaired() == (8 * A_WEEK, 0)
    story.tell(4)
    assert unmarked(story.check())


@pytest.mark.parametrize("remembered", [True, False])
def test_histories_that_somebody_deletes_are_repaired(story: Story, *, remembered: bool) -> None:
    (worker,) = story.fleet.go_live()
    story.tell(0, 1, 2, 3, 4)
    if not remembered:
        assert worker.terminate() == 0
        story.fleet.worker().await_ready()
    before = story.epoch
    merchants = story.redis.client.keys(story.key_of("").replace(":c:", ":m:")[:-16] + "*")
    story.redis.client.delete(story.key_of("card-7"), story.key_of("card-8"), *merchants[:3])
    story.await_noticed(before)
    story.await_whole()
    assert story.repaired() == (0, 10 * A_WEEK)  # whatever was marked
    story.tell(5, 6)
    assert unmarked(story.check())


def test_a_remembered_history_is_missed_where_redis_tells_of_no_deletion(story: Story) -> None:
    story.redis.client.config_set("notify-keyspace-events", "")
    story.fleet.go_live()
    story.tell(0, 1, 2, 3, 4)
    before = story.epoch
    story.redis.client.delete(story.key_of("card-7"))
    story.publish(5)
    story.await_noticed(before, seconds=10)  # with the next payment of that card
    story.await_whole()
    story.settle(5)
    assert unmarked(story.check())


def test_a_partition_that_moves_in_the_middle_of_a_repair_is_repaired_by_its_new_owner(
    slow: Slow,
) -> None:
    story, front = slow
    story.fleet.go_live()
    story.tell(0, 1, 2, 3, 4)
    lose_slowly(story, front)
    second = story.fleet.worker()
    until(lambda: "joined" not in str(second.readiness()[1]), "the second worker has joined")
    assert not story.is_whole
    front.delay_s = 0.0
    story.await_whole()
    second.await_ready()
    story.tell(5, 6)
    assert unmarked(story.check())


def test_a_worker_that_is_killed_in_the_middle_of_a_repair_leaves_it_to_the_others(
    slow: Slow,
) -> None:
    story, front = slow
    first, _ = story.fleet.go_live(workers=2)
    story.tell(0, 1, 2, 3, 4)
    lose_slowly(story, front)
    first.signal(signal.SIGKILL)
    assert not story.is_whole
    front.delay_s = 0.0
    story.await_whole()
    story.tell(5, 6)
    assert unmarked(story.check())


def test_a_redis_that_is_emptied_again_in_the_middle_of_a_repair_is_repaired_anew(
    slow: Slow,
) -> None:
    story, front = slow
    story.fleet.go_live(workers=2)
    story.tell(0, 1, 2, 3, 4)
    before = lose_slowly(story, front)
    story.redis.client.flushall()
    story.await_noticed(before + 1, seconds=5)
    front.delay_s = 0.0
    story.await_whole()
    story.tell(5, 6)
    assert unmarked(story.check())


def lose_slowly(story: Story, front: RedisProxy) -> int:
    """Empty Redis and wait until a part of it, and no more, is repaired; return the epoch before."""
    before = story.epoch
    front.delay_s = 0.3
    story.redis.client.flushall()
    until(lambda: any(story.parts_done()), "a part is done")
    assert not story.is_whole
    return before


def test_where_that_is_wanted_decisions_go_on_meanwhile_and_say_so(slow: Slow) -> None:
    story, front = slow
    story.fleet.go_live(workers=2, REDIS_DOWN="degrade")
    story.tell(0, 1, 2, 3)
    before = lose_slowly(story, front)
    story.publish(4)
    marked = story.fleet.await_scores(story.decided)[-10:]
    assert not story.is_whole
    front.delay_s = 0.0
    story.await_whole()
    story.settle(4)
    story.tell(5, 6)
    valid = story.check()
    assert {score.degraded for score in marked} == {("history_incomplete",)}
    numbers = [int(score.transaction_id[2:]) for score in valid if score.degraded]
    assert set(range(4 * A_WEEK, 5 * A_WEEK)) >= set(numbers)
    assert {score.positions.history_epoch for score in valid if not score.degraded} == {before, before + 1}


def test_a_redis_that_was_emptied_while_no_worker_ran_is_repaired_at_the_next_start(story: Story) -> None:
    (worker,) = story.fleet.go_live()
    story.tell(0, 1, 2, 3, 4)
    assert worker.terminate() == 0
    story.redis.client.flushall()
    worker = story.fleet.worker()
    story.tell(5)
    story.await_whole()
    assert worker.terminate() == 0
    story.fleet.worker().await_ready()
    story.tell(6)
    assert unmarked(story.check())


def test_a_rebuild_by_hand_is_done_by_the_workers_and_changes_nothing(story: Story) -> None:
    story.fleet.go_live(workers=2)
    story.tell(0, 1, 2, 3, 4)
    before = story.epoch
    done = story.fleet.cli("features", "rebuild", "--reason", "a test", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["epoch"], told["applied"]) == (before + 1, 2 * story.decided)
    refused = story.fleet.cli("features", "rebuild", "--here")
    assert refused.returncode == 1
    assert "2 workers run" in refused.stderr
    assert story.epoch == before + 1
    story.tell(5)
    assert unmarked(story.check())


def test_without_workers_a_rebuild_says_what_to_do_and_can_be_done_here(story: Story) -> None:
    (worker,) = story.fleet.go_live()
    story.tell(0, 1, 2, 3, 4)
    assert worker.terminate() == 0
    story.redis.client.flushall()
    refused = story.fleet.cli("features", "rebuild")
    assert refused.returncode == 1
    assert "no worker has started" in refused.stderr
    assert "--here" in refused.stderr
    assert not story.is_whole
    done = story.fleet.cli("features", "rebuild", "--here")
    assert done.returncode == 0, done.stderr
    assert f"{2 * story.decided:,} records applied" in done.stdout
    assert story.is_whole
    story.fleet.worker().await_ready()
    story.tell(5)
    assert unmarked(story.check())


@pytest.mark.parametrize("here", [True, False], ids=["here", "by a worker"])
def test_labels_that_were_told_of_and_not_committed_are_put_together_too(story: Story, *, here: bool) -> None:
    (worker,) = story.fleet.go_live(COMMIT_INTERVAL="600")
    story.tell(0, 1, 2, 3, 4)
    worker.signal(signal.SIGKILL)
    story.redis.client.flushall()
    if here:
        until(
            lambda: story.fleet.cli("features", "rebuild", "--here").returncode == 0, "the dead worker left the group"
        )
    story.fleet.worker().await_ready()
    story.await_whole()
    assert story.repaired() == (0, 2 * story.decided)
    story.tell(5)
    assert unmarked(story.check())


def test_a_deployment_that_decided_nothing_has_nothing_to_rebuild(fleet: Fleet) -> None:
    refused = fleet.cli("features", "rebuild", "--here")
    assert refused.returncode == 1
    assert "decided nothing yet" in refused.stderr
