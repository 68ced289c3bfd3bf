"""Offsets that somebody else moved pass over nothing: workers read on where they were, or wait until it is accepted."""

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from redis import Redis

from features.declaration import load
from fraudstream_client.outputs import Score
from models.times import format_time
from stream.clock import now_ms
from support.fleet.fleet import Fleet, until
from support.fleet.payments import PARTITIONS, payment, put_model
from support.fleet.workers import Worker
from support.kafka.admin import move_offsets
from support.paths import HOUSE

pytestmark = pytest.mark.usefixtures("apache_kafka")

MODULE = "support.features.quick_prediction_set"
CARDS, COUNT, BAD = 40, 40, 5
TOPICS = ("transactions", "labels", "predictions")


class Story:
    """A fleet whose features read predictions, and what was published to it."""

    def __init__(self, fleet: Fleet, folder: Path) -> None:
        self.fleet = fleet
        self.folder = folder
        self.files = 0

    def begin(self) -> None:
        """Decide payments, apply a label and a prediction of each, and stop the only worker in an orderly way."""
        digest = put_model(self.fleet.models, features=load(MODULE))
        worker = self.fleet.worker()
        until(lambda: worker.has_joined, "the group is joined")
        self.fleet.promote(digest)
        worker.await_ready()
        self.fleet.publish(payments(0))
        self.fleet.await_scores(COUNT)
        self.fleet.publish(map(label_of, payments(0)), topic="labels")
        self.predict()
        until(lambda: self.answered() == {"label": COUNT, "prediction": CARDS}, "everything is answered")
        assert worker.terminate() == 0

    def predict(self) -> None:
        """Publish a prediction for each card."""
        self.files += 1
        file = self.folder / f"{self.files}.parquet"
        columns = {
            "card_id": [f"card-{card}" for card in range(CARDS)],
            "name": ["teacher"] * CARDS,
            "value": [self.files + card / 64 for card in range(CARDS)],
            "computed_at": [format_time(now_ms())] * CARDS,
        }
        pyarrow.parquet.write_table(pa.table(columns), file)
        done = self.fleet.cli("predictions", "publish", str(file), "--json")
        assert done.returncode == 0, done.stdout + done.stderr

    def publish_unread(self) -> None:
        """Publish bad records, labels and predictions that no worker reads before the offsets are moved."""
        self.fleet.publish([(f"card-{number}", b"no payment") for number in range(BAD)])
        self.fleet.publish([label_of(payments(0)[number], fraud=False) for number in range(4)], topic="labels")
        self.predict()

    def move(self, offsets: dict[int, int] | None = None) -> None:
        """Move the offsets of all inputs to their ends, or to these."""
        for topic in TOPICS:
            wanted = self.fleet.ends(topic) if offsets is None else offsets
            move_offsets(self.fleet.brokers, self.fleet.environment["GROUP"], f"{self.fleet.prefix}{topic}", wanted)

    def forget_copies(self) -> None:
        """Delete the copies of the commits."""
        deployment = self.fleet.environment["DEPLOYMENT"]
        client = Redis.from_url(self.fleet.environment["REDIS_URL"])
        assert client.delete(f"fraudstream:{deployment}:epoch:commits")

    def answered(self) -> Counter[str]:
        """Return how many labels and predictions have an outcome, by kind."""
        found = [json.loads(record.value) for record in self.fleet.read("outcomes")]
        places = {(one["kind"], one["source"]["partition"], one["source"]["offset"]) for one in found}
        return Counter(kind for kind, *_ in places)

    def losses(self) -> list[dict[str, Any]]:
        """Return what the command line lists as lost."""
        done = self.fleet.cli("topics", "accept-loss", "--dry-run", "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        found = [json.loads(line) for line in done.stdout.splitlines()]
        return [one for one in found if "topic" in one]


@pytest.fixture
def story(fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Story:
    monkeypatch.setenv("PYTHONPATH", str(HOUSE / "tests"), prepend=os.pathsep)  # workers import the set from there
    fleet.environment["FEATURES"] = MODULE
    return Story(fleet, tmp_path)


def payments(first: int, count: int = COUNT) -> list[dict[str, Any]]:
    return [payment(number, cards=CARDS) for number in range(first, first + count)]


def label_of(one: dict[str, Any], *, fraud: bool = True) -> dict[str, Any]:
    about = {name: one[name] for name in ("transaction_id", "card_id")}
    at = f"2026-01-0{1 + (not fraud)}T00:00:00Z"
    return about | {"fraud": fraud, "labelled_at": at, "reported_by": "analyst"}


def decided(scores: list[Score]) -> Counter[str]:
    return Counter(score.transaction_id for score in scores)


def ids(*some: list[dict[str, Any]]) -> Counter[str]:
    return Counter(one["transaction_id"] for part in some for one in part)


def log_of(fleet: Fleet, number: int) -> str:
    return (fleet.folder / f"worker-{number}.log").read_text(encoding="utf-8")


@pytest.mark.acceptance
def test_where_a_copy_proves_the_place_offsets_that_were_moved_forward_pass_over_nothing(story: Story) -> None:
    fleet = story.fleet
    story.begin()
    story.publish_unread()
    story.move()
    assert story.losses() == []
    worker = fleet.worker()
    worker.await_ready()
    until(lambda: story.answered() == {"label": COUNT + 4, "prediction": 2 * CARDS}, "everything is answered")
    assert len(fleet.await_dead_letters(BAD)) == BAD
    assert "by no worker, and does not count" in log_of(fleet, 1)
    fleet.publish(payments(100))
    assert decided(fleet.await_scores(2 * COUNT)) == ids(payments(0), payments(100))
    assert worker.metric("fraudstream_already_decided_total") == 0, "nothing was read again"
    assert story.losses() == []


@pytest.mark.acceptance
def test_where_no_copy_proves_the_place_partitions_wait_until_the_range_is_accepted(story: Story) -> None:
    fleet = story.fleet
    story.begin()
    before = {topic: fleet.ends(topic) for topic in TOPICS}
    unread = payments(100)
    fleet.publish(unread)
    story.move()
    story.forget_copies()
    expected = {
        (f"{fleet.prefix}{topic}", partition): (first, end, end - first)
        for topic in ("transactions", "labels")
        for partition, end in fleet.ends(topic).items()
        for first in (before[topic][partition] if topic == "transactions" else 0,)
        if end > first
    }
    listed = {
        (one["topic"], one["partition"]): (one["first"], one["up_to"], one["lost_at_most"]) for one in story.losses()
    }
    assert listed == expected
    worker = fleet.worker()
    until(lambda: len(reasons(worker, "by no worker")) == len(expected), "every partition waits")
    for (topic, partition), (first, end, lost) in expected.items():
        text = f"{topic} partition {partition}: its commit was moved to offset {end}, by no worker: at most {lost} "
        assert reasons(worker, f"{text}records from offset {first} to {end - 1} would be passed over unread")
    assert story.losses()
    assert not worker.readiness()[0]
    done = fleet.cli("topics", "accept-loss", "--json", "--reason", "a test moved them")
    assert done.returncode == 0, done.stdout + done.stderr
    worker.await_ready()
    verdicts = [one for one in map(json.loads, done.stdout.splitlines()) if one.get("kind") == "accepted"]
    accepted = {(one["topic"], one["partition"]): (one["first"], one["up_to"]) for one in verdicts}
    assert accepted == {where: (first, end) for where, (first, end, _) in expected.items()}
    later = payments(200)
    fleet.publish(later)
    assert decided(fleet.await_scores(2 * COUNT)) == ids(payments(0), later)
    fleet.publish([*payments(0), *unread])  # those of before are repeated; those that were passed over are decided now
    assert decided(fleet.await_scores(3 * COUNT)) == ids(payments(0), later, unread)
    assert worker.terminate() == 0
    worker = fleet.worker()
    worker.await_ready()
    assert story.losses() == []
    assert decided(fleet.scores()[0]) == ids(payments(0), later, unread)


def reasons(worker: Worker, text: str) -> list[str]:
    return [reason for reason in worker.readiness()[1] if text in reason]


@pytest.mark.acceptance
def test_offsets_that_were_moved_back_hold_nothing_and_nothing_is_decided_twice(story: Story) -> None:
    fleet = story.fleet
    story.begin()
    story.move(dict.fromkeys(range(PARTITIONS), 0))
    worker = fleet.worker()
    worker.await_ready()
    fleet.publish(payments(100))
    assert decided(fleet.await_scores(2 * COUNT)) == ids(payments(0), payments(100))
    assert worker.metric("fraudstream_already_decided_total") == 0
    assert sum(fleet.ends("outcomes").values()) == COUNT + CARDS
    assert worker.terminate() == 0
    story.move(dict.fromkeys(range(PARTITIONS), 0))
    story.forget_copies()
    assert story.losses() == []
    worker = fleet.worker()
    worker.await_ready()
    fleet.publish(payments(200))
    assert decided(fleet.await_scores(3 * COUNT)) == ids(payments(0), payments(100), payments(200))
    assert worker.metric("fraudstream_already_decided_total") == 2 * COUNT, "their histories may lack them"
