"""A feature set that looks further back joins the old one: workers are rolled one by one under load, and histories are
put together for it beside the decisions, which neither wait for that nor show it.

The stream is one of ours: few cards and merchants, half an hour between payments, so that what the old set no longer
looks at was trimmed before. Each card has a device of its own. Every payment is labelled a week later, by event time.
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
from models.problems import ProblemCode
from stream.contract.outputs import Score
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
"""Weeks before anything happens, and payments after the promotion."""
CARDS, MERCHANTS = 40, 8
EVERY = sized(5, 1)
"""So many decisions lie between two whose features are recounted."""
AT_ONCE, PAUSE_S = 5, 0.2
"""The load."""
SLOW_S = 0.3
"""What a call takes while a repair is to take long."""
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


class Story:
    """A stream with its labels, and what Redis says of the histories."""

    def __init__(self, fleet: Fleet, redis: OwnRedis) -> None:
        self.fleet = fleet
        self.redis = redis
        self.told = 0

    def tell(self, count: int) -> None:
        """Publish the next payments, and their labels, which are known a week later."""
        rows = [payment(self.told + number) for number in range(count)]
        self.fleet.publish(transaction(row) for row in rows)
        self.fleet.publish((label(row) for row in rows), topic="labels")
        self.told += count

    @contextmanager
    def load(self) -> Iterator[None]:
        """Let payments come in until the block ends."""
        ended = threading.Event()

        def come_in() -> None:
            while not ended.wait(PAUSE_S):
                self.tell(AT_ONCE)

        coming = threading.Thread(target=come_in)
        coming.start()
        try:
            yield
        finally:
            ended.set()
            coming.join()

    def settle(self) -> list[Score]:
        """Return the valid scores of everything that was told."""
        self.fleet.await_records("outcomes", self.told)
        return self.fleet.await_scores(self.told)

    def tell_the_past(self) -> None:
        """Have all happen that is before, until the old set's past is trimmed away."""
        for _ in range(WEEKS):
            self.tell(A_WEEK)
            self.fleet.await_records("scores", self.told)  # or partitions would be further apart than a label delay
        while not (any(self.bases("c")) and any(self.bases("m"))):
            assert self.told < 2 * WEEKS * A_WEEK, "nothing is trimmed"
            self.tell(A_WEEK // 2)
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
        """Check each decision against a recount by the set of the model that made it; the last ones are the new one's.

        They are all there, once, unmarked, under one epoch.
        """
        valid = self.settle()
        assert set(sources(valid).values()) == {1}
        assert len(valid) == self.told
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
def story(apart: Fleet, own_redis: OwnRedis, monkeypatch: pytest.MonkeyPatch) -> Story:
    monkeypatch.setenv("PYTHONPATH", str(HOUSE / "tests"))  # where workers find the new set
    return Story(apart, own_redis)


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
    """Send a command that is refused, and return what the workers said that could not do it."""
    done = fleet.cli("model", command, digest, "--reason", "test", "--json")
    assert done.returncode == 1, done.stdout
    verdict = json.loads(done.stdout)
    assert {problem["code"] for problem in verdict["problems"]} == {ProblemCode.NOT_READY}
    assert "features_warming: its features look back further" in verdict["problems"][0]["detail"]
    return [one for one in fleet.events("not_ready") if one["command_id"] == verdict["command_id"]]


def slowest_ms(scores: list[Score], since: int) -> int:
    return max(score.latency_ms for score in scores if int(score.transaction_id[2:]) >= since)


@pytest.mark.full_size
def test_a_set_that_looks_further_back_is_warmed_by_all_workers_while_they_are_rolled_one_by_one(story: Story) -> None:
    fleet = story.fleet
    first, second = fleet.go_live(workers=2)
    old = live_digest(fleet)
    story.tell_the_past()
    before = story.told
    with story.load():
        rolled(fleet, first)
        until(story.is_covered, "the worker that has only the old set takes part")
        rolled(fleet, second)
        new = put_model(fleet.models, seed=1, features=NEW)
        fleet.promote(new)
        at = story.told
        until(lambda: story.told > at + LATER, "the new model decides")
    assert slowest_ms(story.settle(), before) < ROLLING_MS
    story.check(old, new, LATER // 2)


@pytest.mark.full_size
def test_decisions_go_on_until_it_is_warmed_and_its_models_are_accepted_then(
    story: Story, kafka: Cluster, topic_prefix: str, tmp_path: Path, start_worker: Callable[..., Worker]
) -> None:
    with RedisProxy(story.redis.url) as front:
        fleet = story.fleet = new_fleet(kafka.brokers, front.url, topic_prefix, tmp_path, start_worker)
        (worker,) = fleet.go_live()
        old = live_digest(fleet)
        story.tell_the_past()
        front.delay_s = SLOW_S
        worker = rolled(fleet, worker)
        new = put_model(fleet.models, seed=1, features=NEW)
        before = story.told
        with story.load():
            for command in ("promote", "challenge"):
                (said,) = refused(fleet, command, new)
                assert said["problems"][0]["code"] == ProblemCode.FEATURES_WARMING
                assert "card 67 days" in said["problems"][0]["detail"]
            until(lambda: len(fleet.scores()[0]) > before, "decisions go on")
            assert worker.readiness() == (True, [])
            assert not story.is_covered()
        front.delay_s = 0.0
        fleet.await_records("scores", story.told)
        goes_on_until_the_new_model_decides(story, new)
        story.check(old, new, LATER // 2)


def goes_on_until_the_new_model_decides(story: Story, new: str) -> None:
    """Let payments come in, none of which takes longer for what happens: the end of the warming, and the promotion."""
    fleet, since = story.fleet, story.told
    with story.load():
        until(story.is_covered, "histories are whole for both sets")
        until(lambda: fleet.cli("model", "challenge", new, "--reason", "test").returncode == 0, "it may be compared")
        fleet.promote(new)
        at = story.told
        until(lambda: story.told > at + LATER, "the new model decides")
    assert slowest_ms(story.settle(), since) < ORDINARY_MS
