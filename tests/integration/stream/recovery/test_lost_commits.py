"""Where Kafka has a commit no more, its copy in Redis counts if it is proven; else all scores are read."""

import json
import re
import time
from collections import Counter
from typing import Any

import msgspec
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from redis import Redis

from support.fleet.fleet import Fleet, until
from support.fleet.payments import PARTITIONS, label_of, payment
from support.fleet.workers import Worker
from support.kafka.admin import make_anew

pytestmark = pytest.mark.usefixtures("apache_kafka")

COUNT = 40
VOID = 100_000
"""So many void scores that reading them is seen."""


def payments(first: int, count: int = COUNT) -> list[dict[str, Any]]:
    return [payment(number, cards=COUNT) for number in range(first, first + count)]


def decide_and_stop(fleet: Fleet) -> None:
    """Decide some payments, and stop the only worker in an orderly way."""
    (worker,) = fleet.go_live()
    fleet.publish(payments(0))
    fleet.await_scores(COUNT)
    assert worker.terminate() == 0


def delete_group(fleet: Fleet) -> None:
    group = fleet.environment["GROUP"]
    admin = AdminClient({"bootstrap.servers": fleet.brokers})
    admin.delete_consumer_groups([group])[group].result(30)


def assert_each_is_decided_once(fleet: Fleet, *some: list[dict[str, Any]]) -> None:
    expected = {one["transaction_id"] for part in some for one in part}
    valid = fleet.await_scores(len(expected))
    assert Counter(score.transaction_id for score in valid) == Counter(expected)


def already_decided(worker: Worker) -> float:
    lines = worker.get("/metrics")[1].splitlines()
    return sum(float(one.rpartition(" ")[2]) for one in lines if one.startswith("fraudstream_already_decided_total"))


def log_of(fleet: Fleet, worker_number: int) -> str:
    return (fleet.folder / f"worker-{worker_number}.log").read_text(encoding="utf-8")


def copies(fleet: Fleet) -> tuple["Redis", str]:
    """Return a client, and the key of the copies."""
    client = Redis.from_url(fleet.environment["REDIS_URL"], decode_responses=True)
    return client, f"fraudstream:{fleet.environment['DEPLOYMENT']}:epoch:commits"


def test_a_deleted_group_goes_on_by_the_copies_of_its_commits_and_reads_nothing_from_the_beginning(
    fleet: Fleet,
) -> None:
    decide_and_stop(fleet)
    delete_group(fleet)
    worker = fleet.worker()
    worker.await_ready()
    log = log_of(fleet, 1)
    used = [one for one in log.splitlines() if "the group's commit is gone; its copy in Redis is read from" in one]
    assert len(used) == PARTITIONS, log
    assert "no use of its copy" not in log
    fleet.publish(payments(100))
    assert_each_is_decided_once(fleet, payments(0), payments(100))
    assert already_decided(worker) == 0
    assert fleet.scores()[1].void == 0


@pytest.mark.acceptance
def test_where_no_copy_is_proven_all_scores_are_read_and_readiness_says_how_far(fleet: Fleet) -> None:
    decide_and_stop(fleet)
    write_void_scores(fleet, VOID)
    end = fleet.ends("scores")[0]
    delete_group(fleet)
    client, key = copies(fleet)
    notes = client.hgetall(key)
    wrong = json.loads(notes["transactions:0"])
    position = json.loads(wrong[2])
    position[1] += 1_000  # beyond the last decision: all payments up to there would count as decided
    client.hset(key, "transactions:0", json.dumps([*wrong[:2], json.dumps(position), *wrong[3:]]))
    client.hdel(key, *(field for field in notes if field != "transactions:0"))
    worker = fleet.worker()
    assert await_progress(worker) == end
    worker.await_ready()
    log = log_of(fleet, 1)
    assert "is not the one that it describes" in log
    assert log.count("no use of its copy: there is none") >= PARTITIONS - 1
    fleet.publish(payments(100))
    assert_each_is_decided_once(fleet, payments(0), payments(100))
    assert fleet.scores()[1].void == VOID


def write_void_scores(fleet: Fleet, count: int) -> None:
    """Write scores to the first partition as a replaced worker would: of an epoch below the owner's."""
    last = next(score for score in reversed(fleet.scores()[0]) if score.source.partition == 0)
    value = msgspec.json.encode(msgspec.structs.replace(last, epoch=0))
    producer = Producer({"bootstrap.servers": fleet.brokers, "linger.ms": 50, "queue.buffering.max.messages": count})
    for _ in range(count):
        producer.produce(f"{fleet.prefix}scores", value, partition=0)
    assert producer.flush(60) == 0


def await_progress(worker: Worker, seconds: float = 60.0) -> int:
    """Wait until a worker says how far it has read the scores of the first partition, and return their end."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for reason in worker.readiness()[1]:
            if found := re.search(r"last decisions of partitions .*partition 0 at offset (\d+) of (\d+)", reason):
                return int(found[2])
        time.sleep(0.02)
    raise AssertionError(f"no progress was told: {worker.readiness()}")


def test_labels_made_anew_while_no_worker_ran_are_told_of_until_the_loss_is_accepted(fleet: Fleet) -> None:
    (worker,) = fleet.go_live()
    fleet.publish(payments(0))
    fleet.await_scores(COUNT)
    fleet.publish(map(label_of, payments(0)), topic="labels")
    fleet.await_outcomes(COUNT)
    assert worker.terminate() == 0
    topic = f"{fleet.prefix}labels"
    read = {partition for partition, end in fleet.ends("labels").items() if end}
    make_anew(fleet.brokers, topic, PARTITIONS)
    fleet.publish(payments(100))
    fleet.publish(map(label_of, payments(100)), topic="labels")
    worker = fleet.worker()
    assert_each_is_decided_once(fleet, payments(0), payments(100))
    made_anew = "its topic was deleted and made anew"
    until(lambda: told(worker, f"{topic} partition", made_anew) == len(read), "every partition tells of its loss")
    accepted = fleet.cli("topics", "accept-loss", "--json", "--reason", "a test made them anew")
    assert accepted.returncode == 0, accepted.stdout + accepted.stderr
    verdicts = [json.loads(line) for line in accepted.stdout.splitlines()]
    found = {(one["topic"], one["partition"], one["log"]) for one in verdicts if one.get("kind") == "accepted"}
    assert found == {(topic, partition, 1) for partition in read}
    worker.await_ready()
    until(lambda: len(answered(fleet)) == 2 * COUNT, "the labels of both logs have outcomes")


def answered(fleet: Fleet) -> set[tuple[int, int, int]]:
    """Return log, partition and offset of each label that has an outcome."""
    found = [json.loads(record.value)["source"] for record in fleet.read("outcomes")]
    return {(one.get("log", 0), one["partition"], one["offset"]) for one in found}


def told(worker: Worker, *texts: str) -> int:
    """Return how many reasons of a worker contain all the texts."""
    return sum(all(text in reason for text in texts) for reason in worker.readiness()[1])
