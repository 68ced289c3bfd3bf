"""Two deployments on the same topics: one publishes, the other decides silently, and neither harms the other."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.range import RangePartitionAssignor

from support.fleet.deployments import diff, go_live_when_warm, other_deployment, silent_scores
from support.fleet.fleet import Fleet, until
from support.fleet.payments import PARTITIONS, label_of, payment
from support.fleet.workers import Worker
from support.kafka.admin import remove_before
from support.kafka.cluster import Cluster
from support.training_files import write


@pytest.fixture
def green(fleet: Fleet, start_worker: Callable[..., Worker]) -> Fleet:
    """Another deployment on the topics of `fleet`."""
    return other_deployment(fleet, start_worker)


def payments(first: int, count: int) -> list[dict[str, Any]]:
    return [payment(number, cards=30) for number in range(first, first + count)]


def test_a_second_deployment_decides_silently_and_the_same(
    standing: Fleet, start_worker: Callable[..., Worker]
) -> None:
    beside = other_deployment(standing, start_worker)
    before, after = payments(0, 60), payments(100, 100)
    standing.publish(before)
    standing.publish([label_of(before[0])], topic="labels")
    standing.await_decisions(ids_of(before))
    assert beside.cli("topics", "apply", "--partitions", str(PARTITIONS)).returncode == 0
    (other,) = go_live_when_warm(beside)
    standing.publish([*after, after[0] | {"amount_minor": -1}])
    published = standing.await_decisions(ids_of(after))
    silent = f"scores-{beside.environment['DEPLOYMENT']}"
    until(lambda: sum(standing.ends(silent).values()) >= len(after), "all later payments are decided silently")
    assert {score.deployment for score in published.values()} == {standing.environment["DEPLOYMENT"]}
    decided = {score.transaction_id: score for score in silent_scores(beside)}
    assert decided.keys() == published.keys()
    assert {score.deployment for score in decided.values()} == {beside.environment["DEPLOYMENT"]}
    assert {name: one.features for name, one in decided.items()} == {n: one.features for n, one in published.items()}
    assert standing.workers[0].readiness() == (True, [])
    assert other.readiness() == (True, [])
    letters = [dict(letter.headers) for letter in standing.await_dead_letters(1)]
    assert {headers["deployment"].decode() for headers in letters} >= {standing.environment["DEPLOYMENT"]}


@pytest.mark.acceptance
def test_a_silent_deployment_applies_a_backfill_and_decides_the_same_behind_it(
    fleet: Fleet, green: Fleet, tmp_path: Path
) -> None:
    fleet.go_live()
    assert green.cli("topics", "apply", "--partitions", str(PARTITIONS)).returncode == 0
    past, after = payments(0, 200), payments(200, 100)
    done = fleet.cli("backfill", str(a_file(tmp_path / "past.csv", past)))
    assert done.returncode == 0, done.stderr
    go_live_when_warm(green)
    done = fleet.cli("publish", str(a_file(tmp_path / "after.csv", after)))
    assert done.returncode == 0, done.stderr
    published = fleet.await_scores(len(after))
    await_silent_scores(green, len(after))
    decided = {score.transaction_id: score.features for score in silent_scores(green)}
    assert decided == {score.transaction_id: score.features for score in published}
    assert decided.keys() == {one["transaction_id"] for one in after}
    assert min((features or {})["card_count_30d"] or 0 for features in decided.values()) > 1


@pytest.mark.acceptance
def test_the_decisions_of_a_silent_deployment_and_of_the_publishing_one_are_made_again_each_from_its_own_histories(
    fleet: Fleet, green: Fleet
) -> None:
    fleet.go_live()
    before, after = payments(0, 80), payments(100, 120)
    fleet.publish(before)
    fleet.publish([label_of(one) for one in before[:20]], topic="labels")
    fleet.await_scores(len(before))
    assert green.cli("topics", "apply", "--partitions", str(PARTITIONS)).returncode == 0
    go_live_when_warm(green)
    fleet.publish(after[:60])
    fleet.publish([label_of(one) for one in after[:20]], topic="labels")
    fleet.publish(after[60:])
    fleet.await_scores(len(before) + len(after))
    await_silent_scores(green, len(after))
    found = diff(fleet)
    assert found["deployment"] == fleet.environment["DEPLOYMENT"]
    assert (found["compared"], found["unexplained"], found["silent"]) == (len(before) + len(after), 0, 0)
    found = diff(green)
    assert found["deployment"] == green.environment["DEPLOYMENT"]
    assert (found["compared"], found["unexplained"], found["silent"]) == (len(after), 0, len(after))
    assert (found["undecided"], found["elsewhere"], found["equal"]) == (0, 0, len(after)), found
    replay_silently(fleet, green, after[-1]["transaction_id"])


def replay_silently(fleet: Fleet, green: Fleet, transaction_id: str) -> None:
    """Replay a decision that both deployments made: each replays its own."""
    for one, is_published in ((fleet, True), (green, False)):
        done = one.cli("replay", transaction_id, "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        found = json.loads(done.stdout)
        assert (found["deployment"], found["published"]) == (one.environment["DEPLOYMENT"], is_published)
        assert found["equal"]
        assert bool(found["note"]) is not is_published


def a_file(path: Path, some: list[dict[str, Any]]) -> Path:
    return write(path, {name: [one[name] for one in some] for name in some[0]})


@pytest.mark.acceptance
def test_a_silent_deployment_loses_unread_payments_by_retention_and_goes_on_when_exactly_that_is_accepted(
    fleet: Fleet, green: Fleet, kafka: Cluster
) -> None:
    if kafka.kind == "embedded":
        pytest.skip("the embedded broker removes no records")
    before, unread, last = payments(0, 30), payments(100, 60), payments(200, 30)
    read, begin = lose_silently(fleet, green, before, unread)
    assert fleet.cli("topics", "accept-loss", "--dry-run").stdout.startswith("no partition has lost anything")
    other = green.worker()
    until(lambda: "were removed before they were read" in str(other.readiness()[1]), "it tells of its loss")
    accepted = green.cli("topics", "accept-loss", "--json", "--reason", "a test removed them")
    assert accepted.returncode == 0, accepted.stdout + accepted.stderr
    lines = [json.loads(line) for line in accepted.stdout.splitlines()]
    lost = {one["partition"]: one["lost_at_most"] for one in lines if "lost_at_most" in one}
    assert lost == {partition: end - read[partition] for partition, end in begin.items()}
    assert {one["partition"]: one["up_to"] for one in lines if one.get("kind") == "accepted"} == begin
    other.await_ready()
    fleet.publish(last)
    await_silent_scores(green, len(before) + len(last))
    decided = Counter(score.transaction_id for score in silent_scores(green))
    assert decided == Counter(one["transaction_id"] for one in (*before, *last))
    every = len(before) + len(unread) + len(last)
    assert len(fleet.await_scores(every)) == every


def lose_silently(
    fleet: Fleet, green: Fleet, read: list[Any], unread: list[Any]
) -> tuple[dict[int, int], dict[int, int]]:
    """Let `green` decide some payments silently; have others removed while it is away, which `fleet` has decided.

    Returns the offsets up to which `green` has read, and the first that are left, by partition.
    """
    fleet.go_live()
    assert green.cli("topics", "apply", "--partitions", str(PARTITIONS)).returncode == 0
    (worker,) = go_live_when_warm(green)
    fleet.publish(read)
    await_silent_scores(green, len(read))
    assert worker.terminate() == 0
    ends = fleet.ends("transactions")
    fleet.publish(unread)
    fleet.await_scores(len(read) + len(unread))
    begin = fleet.ends("transactions")
    remove_before(fleet.brokers, f"{fleet.prefix}transactions", begin)
    return ends, begin


def await_silent_scores(green: Fleet, count: int) -> None:
    until(lambda: len(silent_scores(green)) == count, f"{count} payments are decided silently")


def test_a_worker_of_another_deployment_is_refused_in_the_group_by_name(
    standing: Fleet, start_worker: Callable[..., Worker]
) -> None:
    beside = other_deployment(standing, start_worker, "stranger")
    stranger = beside.worker(GROUP=standing.environment["GROUP"])
    until(lambda: "FRAUDSTREAM_GROUP" in str(stranger.readiness()[1]), "the stranger says why it does not join")
    reasons = str(stranger.readiness()[1])
    assert f"deployment {standing.environment['DEPLOYMENT']}" in reasons
    twin = beside.worker(DEPLOYMENT=standing.environment["DEPLOYMENT"], GROUP=f"{standing.prefix}twins")
    until(lambda: "end them first" in str(twin.readiness()[1]), "a second group of the deployment does not start")
    later = payments(1_000, 100)
    standing.publish(later)
    standing.await_decisions(ids_of(later))
    assert standing.workers[0].readiness() == (True, [])
    assert (stranger.exit_code, twin.exit_code) == (None, None)


def test_a_member_that_is_no_worker_is_told_of(standing: Fleet, kafka: Cluster) -> None:
    (blue,) = standing.workers

    async def intrude() -> None:
        consumer = AIOKafkaConsumer(
            f"{standing.prefix}transactions",
            bootstrap_servers=kafka.brokers,
            group_id=standing.environment["GROUP"],
            client_id="a-dashboard",
            partition_assignment_strategy=[RangePartitionAssignor],
        )
        await consumer.start()
        try:
            await asyncio.to_thread(until, lambda: "a-dashboard" in str(blue.readiness()[1]), "it is told of")
        finally:
            await consumer.stop()

    asyncio.run(intrude())
    blue.await_ready(30)
    later = payments(2_000, 40)
    standing.publish(later)
    standing.await_decisions(ids_of(later))
    decided = Counter(score.transaction_id for score in standing.scores()[0])
    assert {decided[name] for name in ids_of(later)} == {1}


def ids_of(some: list[dict[str, Any]]) -> list[str]:
    return [one["transaction_id"] for one in some]
