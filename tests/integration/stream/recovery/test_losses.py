"""What Kafka no longer has of the input is said, counted, and passed over only when an operator accepts it."""

import json
from collections import Counter
from typing import Any

import pytest

from fraudstream_client.outputs import Score
from support.fleet.fleet import Fleet, until
from support.fleet.payments import PARTITIONS, label_of, partition_of, payment
from support.fleet.workers import Worker
from support.kafka.admin import make_anew, remove_before

pytestmark = pytest.mark.usefixtures("apache_kafka")

WHY = ("--reason", "a test removed them")


def payments(first: int, count: int) -> list[dict[str, Any]]:
    return [payment(number, cards=40) for number in range(first, first + count)]


def ids(some: list[dict[str, Any]]) -> set[str]:
    return {one["transaction_id"] for one in some}


def decided(scores: list[Score]) -> Counter[str]:
    return Counter(score.transaction_id for score in scores)


def accept(fleet: Fleet, *arguments: str) -> list[dict[str, Any]]:
    """Accept all losses, and return what the command printed."""
    done = fleet.cli("topics", "accept-loss", "--json", *WHY, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def await_reason(worker: Worker, text: str) -> list[str]:
    until(lambda: any(text in reason for reason in worker.readiness()[1]), f"the reason {text!r}")
    return worker.readiness()[1]


def test_records_that_retention_removed_unread_hold_their_partitions_until_the_loss_is_accepted(fleet: Fleet) -> None:
    first, unread, later, last = (payments(*part) for part in ((0, 40), (100, 60), (200, 40), (300, 20)))
    removed, lost = lose(fleet, first, unread)
    fleet.publish(later)
    worker = fleet.worker()
    reasons = str(await_reason(worker, "were removed before they were read"))
    for partition, count in lost.items():
        assert f"{fleet.prefix}transactions partition {partition}: at most {count} records from offset" in reasons
    whole = [one for one in (*unread, *later) if partition_of(one["card_id"]) == 0]
    fleet.await_scores(len(first) + len(whole))
    until(lambda: worker.metric("fraudstream_lost_unread_total") == sum(lost.values()), "the loss is counted")
    shown = accept(fleet, "--dry-run")
    assert {one["partition"]: one["lost_at_most"] for one in shown} == lost
    assert not worker.readiness()[0]
    verdicts = [one for one in accept(fleet) if one.get("kind") == "accepted"]
    assert {one["partition"]: (one["log"], one["up_to"]) for one in verdicts} == {
        partition: (0, end) for partition, end in removed.items()
    }
    worker.await_ready()
    fleet.publish(last)
    expected = ids(first) | ids(whole) | ids(later) | ids(last)
    assert decided(fleet.await_scores(len(expected))) == Counter(expected)
    assert fleet.cli("topics", "accept-loss", *WHY).stdout.startswith("no partition has lost anything")


def lose(fleet: Fleet, read: list[Any], unread: list[Any]) -> tuple[dict[int, int], dict[int, int]]:
    """Decide some payments; have others removed while no worker runs, except from partition 0.

    Returns the first offset that is left, and how many are lost, by partition.
    """
    (worker,) = fleet.go_live()
    fleet.publish(read)
    fleet.await_scores(len(read))
    assert worker.terminate() == 0
    ends = fleet.ends("transactions")
    fleet.publish(unread)
    removed = {partition: end for partition, end in fleet.ends("transactions").items() if partition != 0}
    remove_before(fleet.brokers, f"{fleet.prefix}transactions", removed)
    lost = {partition: end - ends[partition] for partition, end in removed.items()}
    assert all(lost.values())
    return removed, lost


def test_a_topic_made_anew_while_it_is_read_holds_until_accepted_and_then_every_payment_is_decided(
    fleet: Fleet,
) -> None:
    (worker,) = fleet.go_live()
    first, second, third = (payments(*part) for part in ((0, 60), (100, 20), (200, 20)))
    fleet.publish(first)
    fleet.await_scores(len(first))
    make_anew(fleet.brokers, f"{fleet.prefix}transactions", PARTITIONS)
    fleet.publish(second)
    await_reason(worker, "accept-loss")
    accept(fleet)
    worker.await_ready()
    scores = fleet.await_scores(len(first) + len(second))
    fleet.publish(third)
    scores = fleet.await_scores(len(first) + len(second) + len(third))
    assert decided(scores) == Counter(ids(first) | ids(second) | ids(third))
    logs = {score.transaction_id: score.source.log for score in scores}
    assert {logs[name] for name in ids(first)} == {0}
    assert {logs[name] for name in ids(second) | ids(third)} == {1}
    assert worker.exit_code is None


@pytest.mark.acceptance
def test_a_topic_filled_anew_beyond_the_old_offsets_is_recognised_and_not_taken_for_decided(fleet: Fleet) -> None:
    first, second, third = (payments(*part) for part in ((0, 20), (100, 60), (200, 20)))
    replace_input(fleet, first, second)
    worker = fleet.worker()
    await_reason(worker, "transactions partition 0")
    until(lambda: len(worker.readiness()[1]) == 2 * PARTITIONS, "every partition of transactions and labels waits")
    reasons = worker.readiness()[1]
    other = ("made anew", "is another one", "it ends at")
    assert [one for one in reasons if not any(text in one for text in other)] == []
    assert len(fleet.scores()[0]) == len(first)
    accept(fleet)
    worker.await_ready()
    fleet.await_scores(len(first) + len(second))
    fleet.await_outcomes(len(second), seconds=30)
    assert worker.terminate() == 0
    worker = fleet.worker()
    worker.await_ready()
    fleet.publish(third)
    scores = fleet.await_scores(len(first) + len(second) + len(third))
    assert decided(scores) == Counter(ids(first) | ids(second) | ids(third))


def replace_input(fleet: Fleet, read: list[Any], others: list[Any]) -> None:
    """Decide some payments and apply labels; make both topics anew while no worker runs, with others."""
    (worker,) = fleet.go_live()
    fleet.publish(read)
    fleet.publish([label_of(one) for one in read], topic="labels")
    fleet.await_outcomes(len(read))
    assert worker.terminate() == 0
    for topic in ("transactions", "labels"):
        make_anew(fleet.brokers, f"{fleet.prefix}{topic}", PARTITIONS)
    fleet.publish(others)
    fleet.publish([label_of(one) for one in others], topic="labels")
