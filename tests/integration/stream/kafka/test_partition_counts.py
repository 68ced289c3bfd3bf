"""Partitions that other tooling adds to topics in use: workers tell of them, and each payment is decided once."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewPartitions

from support.fleet.fleet import Fleet, sources, until
from support.fleet.payments import PARTITIONS, payment
from support.fleet.workers import Worker

pytestmark = pytest.mark.acceptance

MORE = PARTITIONS + 2
OTHERS = ("labels", "scores", "outcomes", "shadow-scores")


def raise_counts(fleet: Fleet, topics: Iterable[str]) -> None:
    admin = AdminClient({"bootstrap.servers": fleet.brokers})
    for done in admin.create_partitions([NewPartitions(f"{fleet.prefix}{one}", MORE) for one in topics]).values():
        done.result(30)


def publish_to_all(fleet: Fleet, numbers: range) -> None:
    """Publish payments to the partitions in turn, each partition with cards of its own."""
    producer = Producer({"bootstrap.servers": fleet.brokers})
    for number in numbers:
        one = payment(number, card_id=f"card-{number % MORE}")
        value = msgspec.json.encode(one)
        producer.produce(f"{fleet.prefix}transactions", value, one["card_id"], number % MORE)
    assert producer.flush(30) == 0


def told(workers: Sequence[Worker]) -> bool:
    """Tell whether a worker that was there before is not ready, and names a topic and both counts."""
    reasons = [reason for worker in workers for reason in worker.readiness()[1]]
    return any("transactions" in one and str(PARTITIONS) in one and str(MORE) in one for one in reasons)


def test_payments_of_partitions_that_were_added_wait_and_are_told_of_until_all_topics_have_them(fleet: Fleet) -> None:
    workers = fleet.go_live(workers=2)
    raise_counts(fleet, ["transactions"])
    publish_to_all(fleet, range(60))
    until(lambda: told(workers), "a worker tells of the partitions without scores")
    publish_to_all(fleet, range(60, 120))
    until(lambda: len(decided_before(fleet)) == 120 * PARTITIONS // MORE, "the partitions that all topics have go on")
    raise_counts(fleet, OTHERS)
    valid = fleet.await_scores(120, seconds=90)
    assert {score.transaction_id for score in valid} == {f"t-{number}" for number in range(120)}
    assert set(sources(valid).values()) == {1}
    for worker in workers:
        worker.await_ready()


def test_histories_are_rebuilt_while_topics_have_different_numbers_of_partitions(fleet: Fleet) -> None:
    (worker,) = fleet.go_live()
    publish_to_all(fleet, range(0, 60 * MORE, MORE))  # the first partition's alone
    fleet.await_scores(60)
    raise_counts(fleet, ["labels"])
    by_worker = rebuild(fleet)
    assert by_worker["applied"] == 60
    assert worker.terminate() == 0
    raise_counts(fleet, ["transactions"])
    publish_to_all(fleet, range(PARTITIONS, 60 * MORE, MORE))  # of an added partition, without scores
    here = rebuild(fleet, "--here")
    assert (here["epoch"], here["applied"]) == (by_worker["epoch"] + 1, 60)
    raise_counts(fleet, OTHERS[1:])
    fleet.worker()
    fleet.await_scores(120, seconds=90)


def rebuild(fleet: Fleet, *words: str) -> dict[str, Any]:
    done = fleet.cli("features", "rebuild", "--json", *words, seconds=60)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def decided_before(fleet: Fleet) -> set[str]:
    """Return the payments that are decided of the partitions that were there from the beginning."""
    return {score.transaction_id for score in fleet.scores()[0] if score.source.partition < PARTITIONS}
