"""Histories are rebuilt for a feature set that looks further back; decisions neither wait for that nor are marked.

The simulated stream has few cards and merchants and half an hour between payments, so that records that the old set no
longer sees were trimmed before. Each card has its own device; every payment is labelled a week later, by event time.
"""

import json
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.declaration import load
from features.redis.retention import Coverage, EpochCoverage
from features.vector.sets import FeatureSets
from fraudstream_client.outputs import Score
from models.problems import ProblemCode
from support.acceptance import sized
from support.fleet.fleet import Fleet, new_fleet, sources, until
from support.fleet.payments import START_MS, put_model
from support.fleet.recounted_payments import differing, recounted
from support.fleet.workers import Worker
from support.handbook import label, transaction
from support.kafka.cluster import Cluster
from support.paths import HOUSE
from support.redis.own import OwnRedis
from support.redis.proxy import RedisProxy

OLD, MODULE = load(None), "support.features.further_back_set"
NEW = load(MODULE)
BOTH = Coverage.of(FeatureSets((OLD, NEW)).horizons_ms)
SETS = {"FEATURES": f"features.default_set,{MODULE}"}
GAP_MS = 1_800_000
A_WEEK = 7 * 48
WEEKS, LATER = 12, 300
"""Weeks of payments before the rolling restart, and payments after the promotion."""
CARDS, MERCHANTS = 40, 8
EVERY = sized(5, 1)
"""Every so many decisions, the features of one are recounted."""
AT_ONCE, PAUSE_S = 5, 0.2
"""The load: payments at once, and the pause between."""
SLOW_S = 0.3
"""Delay of each Redis call, so that a repair takes long."""
ORDINARY_MS, ROLLING_MS = 1_500, 15_000
"""The longest that a decision takes on a busy machine, and while a worker leaves or joins the group."""


def payment(number: int) -> dict[str, Any]:
    random = np.random.default_rng(number)
    card = random.integers(CARDS)
    return {
        "transaction_id": f"t-{number}",
        "card_id": f"card-{card}",
        "device_id": f"phone-{card}",
        "merchant_id": f"merchant-{random.integers(MERCHANTS)}",
        "occurred_at": START_MS + number * GAP_MS,
        "amount_minor": int(random.integers(100, 50_000)),
        "currency": "EUR",
        "fraud": bool(random.random() < 0.1),
    }


class Scenario:
    """Publishes a stream with its labels, and reads the state of the histories from Redis."""

    def __init__(self, fleet: Fleet, redis: OwnRedis) -> None:
        self.fleet = fleet
        self.redis = redis
        self.published = 0

    def publish_next(self, count: int) -> None:
        """Publish the next payments and their labels, which are known a week later."""
        rows = [payment(self.published + number) for number in range(count)]
        self.fleet.publish(transaction(row) for row in rows)
        self.fleet.publish((label(row) for row in rows), topic="labels")
        self.published += count

    @contextmanager
    def load(self) -> Iterator[None]:
        """Publish payments until the block ends."""
        ended = threading.Event()

        def publish_until_ended() -> None:
            while not ended.wait(PAUSE_S):
                self.publish_next(AT_ONCE)

        publishing = threading.Thread(target=publish_until_ended)
        publishing.start()
        try:
            yield
        finally:
            ended.set()
            publishing.join()

    def settle(self) -> list[Score]:
        """Wait until everything published is decided and labelled; return the valid scores."""
        self.fleet.await_outcomes(self.published)
        return self.fleet.await_scores(self.published)

    def publish_past(self) -> None:
        """Publish payments until records that the old set no longer sees are trimmed."""
        for _ in range(WEEKS):
            self.publish_next(A_WEEK)
            self.fleet.await_records("scores", self.published)  # keeps partitions within a label delay of each other
        while not (any(self.bases("c")) and any(self.bases("m"))):
            assert self.published < 2 * WEEKS * A_WEEK, "nothing is trimmed"
            self.publish_next(A_WEEK // 2)
            self.settle()
            time.sleep(1.0)  # workers trim once a second

    def bases(self, letter: str) -> list[int]:
        """Return how many records were trimmed from each history of a kind."""
        values = self.redis.client.mget(self.redis.client.keys(self.key(f"{letter}:*")))
        return [struct.unpack_from("<Q", value)[0] for value in values]

    @property
    def epoch(self) -> int:
        return int(self.redis.client.get(self.key("epoch")))

    def is_covered(self) -> bool:
        """Tell whether histories are whole for both sets."""
        return self.redis.client.get(self.key("epoch:whole")) == EpochCoverage(self.epoch, BOTH).text.encode()

    def key(self, rest: str) -> str:
        return f"fraudstream:{self.fleet.environment['DEPLOYMENT']}:{rest}"

    def check(self, old: str, new: str, later: int) -> None:
        """Check that each payment is decided once, unmarked, under one history epoch, with features equal to a recount.

        The recount uses the deciding model's feature set; the new model must have made at least `later` decisions.
        """
        valid = self.settle()
        assert set(sources(valid).values()) == {1}
        assert len(valid) == self.published
        assert {score.degraded for score in valid} == {()}
        assert {score.positions.history_epoch for score in valid} == {self.epoch}
        assert self.fleet.read("dead-letters") == []
        by_model: dict[str, list[Score]] = {old: [], new: []}
        for score in valid:
            assert score.model is not None
            by_model[score.model.digest].append(score)
        assert len(by_model[new]) >= later
        for digest, features in ((old, OLD), (new, NEW)):
            checked = by_model[digest][::EVERY]
            wanted = {score.transaction_id for score in checked}
            assert differing(checked, recounted(self.fleet, features, wanted), features) == []


@pytest.fixture
def scenario(apart: Fleet, own_redis: OwnRedis, monkeypatch: pytest.MonkeyPatch) -> Scenario:
    monkeypatch.setenv("PYTHONPATH", str(HOUSE / "tests"))  # workers import the new set from there
    return Scenario(apart, own_redis)


def live_digest(fleet: Fleet) -> str:
    digest: str = fleet.events("accepted")[-1]["model"]
    return digest


def rolled(fleet: Fleet, worker: Worker) -> Worker:
    """Restart a worker with both sets."""
    assert worker.terminate() == 0
    following = fleet.worker(**SETS)
    following.await_ready()
    return following


def refused(fleet: Fleet, command: str, digest: str) -> list[dict[str, Any]]:
    """Send a command that must be refused, and return the workers' `not_ready` events."""
    done = fleet.cli("model", command, digest, "--reason", "test", "--json")
    assert done.returncode == 1, done.stdout
    verdict = json.loads(done.stdout)
    assert {problem["code"] for problem in verdict["problems"]} == {ProblemCode.NOT_READY}
    assert "features_warming: its features look back further" in verdict["problems"][0]["detail"]
    return [one for one in fleet.events("not_ready") if one["command_id"] == verdict["command_id"]]


def slowest_ms(scores: list[Score], since: int) -> int:
    return max(score.latency_ms for score in scores if int(score.transaction_id[2:]) >= since)


@pytest.mark.acceptance
@pytest.mark.full_size
@pytest.mark.timeout(1_200)
def test_old_and_new_workers_warm_up_a_longer_horizon_during_a_rolling_restart(scenario: Scenario) -> None:
    fleet = scenario.fleet
    first, second = fleet.go_live(workers=2)
    old = live_digest(fleet)
    scenario.publish_past()
    before = scenario.published
    with scenario.load():
        rolled(fleet, first)
        until(scenario.is_covered, "the worker that has only the old set takes part")
        rolled(fleet, second)
        new = put_model(fleet.models, seed=1, features=NEW)
        fleet.promote(new)
        at = scenario.published
        until(lambda: scenario.published > at + LATER, "the new model decides")
    assert slowest_ms(scenario.settle(), before) < ROLLING_MS
    scenario.check(old, new, LATER // 2)


@pytest.mark.acceptance
@pytest.mark.full_size
@pytest.mark.timeout(1_200)
def test_decisions_continue_during_a_warm_up_and_its_models_are_accepted_only_afterwards(
    scenario: Scenario, kafka: Cluster, topic_prefix: str, tmp_path: Path, start_worker: Callable[..., Worker]
) -> None:
    with RedisProxy(scenario.redis.url) as front:
        fleet = scenario.fleet = new_fleet(kafka, front.url, topic_prefix, tmp_path, start_worker)
        (worker,) = fleet.go_live()
        old = live_digest(fleet)
        scenario.publish_past()
        front.delay_s = SLOW_S
        worker = rolled(fleet, worker)
        new = put_model(fleet.models, seed=1, features=NEW)
        before = scenario.published
        with scenario.load():
            for command in ("promote", "challenge"):
                (event,) = refused(fleet, command, new)
                assert event["problems"][0]["code"] == ProblemCode.FEATURES_WARMING
                assert "card 67 days" in event["problems"][0]["detail"]
            until(lambda: len(fleet.scores()[0]) > before, "decisions go on")
            until(lambda: worker.readiness() == (True, []), "the worker is ready; a slow Redis may time out meanwhile")
            assert not scenario.is_covered()
        front.delay_s = 0.0
        fleet.await_records("scores", scenario.published)
        publish_until_the_new_model_decides(scenario, new)
        scenario.check(old, new, LATER // 2)


def publish_until_the_new_model_decides(scenario: Scenario, new: str) -> None:
    """Publish payments while the warm-up ends and the new model is promoted; none of them may take longer for that."""
    fleet, since = scenario.fleet, scenario.published
    with scenario.load():
        until(scenario.is_covered, "histories are whole for both sets")
        until(lambda: fleet.cli("model", "challenge", new, "--reason", "test").returncode == 0, "it may be compared")
        fleet.promote(new)
        at = scenario.published
        until(lambda: scenario.published > at + LATER, "the new model decides")
    assert slowest_ms(scenario.settle(), since) < ORDINARY_MS
