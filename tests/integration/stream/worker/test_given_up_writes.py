"""`scores` refuse writes for longer than workers wait: what was given up never counts behind what replaced it."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from fraudstream_client.outputs import Score
from support.fleet.fleet import Fleet, sources, until
from support.fleet.impatient_worker import COMMAND
from support.fleet.payments import payment, put_model
from support.fleet.workers import Worker
from support.kafka.admin import set_on_topic
from support.kafka.three_brokers import IDS, ThreeBrokers

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(600)]

DEAD = IDS[-1]
PAYMENTS = 200
GIVE_UPS = 5
GIVEN_UP = re.compile(r"partition (\d+): a write under epoch \d+ was given up; next is (\d+)")


def attempts(workers: Sequence[Worker]) -> Counter[int]:
    """Return the highest attempt of each partition."""
    found: Counter[int] = Counter()
    for worker in workers:
        for partition, epoch in GIVEN_UP.findall(worker.log()):
            found[int(partition)] = max(found[int(partition)], int(epoch) % 2**10)
    return found


def descriptors(worker: Worker) -> int:
    return len([*Path(f"/proc/{worker.pid}/fd").iterdir()])


def accept_with(fleet: Fleet, in_sync: int) -> None:
    """Let `scores` take writes only while so many replicas are in sync; two are."""
    set_on_topic(fleet.brokers, f"{fleet.prefix}scores", min_insync_replicas=str(in_sync))


def promote(fleet: Fleet, seed: int) -> None:
    assert fleet.promote(put_model(fleet.models, seed=seed))["kind"] == "accepted"


def by_partition(scores: Sequence[Score]) -> dict[int, list[Score]]:
    found: dict[int, list[Score]] = defaultdict(list)
    for score in scores:
        found[score.source.partition].append(score)
    return found


@pytest.mark.parametrize("rebalance_first", [True, False], ids=["rebalance, recovery", "recovery, rebalance"])
def test_revisions_never_go_back_and_no_demoted_model_decides_after_writes_were_given_up(
    cluster: ThreeBrokers, replicated: Fleet, report: Callable[[str], None], *, rebalance_first: bool
) -> None:
    fleet = replicated
    workers = [fleet.worker(COMMAND) for _ in range(2)]
    until(lambda: all(worker.has_joined for worker in workers), "the group is joined")
    promote(fleet, 0)
    promote(fleet, 1)
    fleet.publish(payment(number) for number in range(PAYMENTS))
    fleet.await_scores(PAYMENTS)
    cluster.nodes[DEAD].kill()
    until(lambda: all(len(one) == 2 for one in cluster.in_sync(f"{fleet.prefix}scores").values()), "two are in sync")
    fleet.publish(payment(number) for number in range(PAYMENTS, 2 * PAYMENTS))
    fleet.await_scores(2 * PAYMENTS)
    before = [descriptors(worker) for worker in workers]

    accept_with(fleet, 3)
    fleet.publish(payment(number) for number in range(2 * PAYMENTS, 3 * PAYMENTS))
    until(lambda: min(attempts(workers).values(), default=0) >= 1, "writes were given up")
    done = fleet.cli("model", "demote", "--reason", "its scores are wrong")
    assert done.returncode == 0, done.stdout + done.stderr
    until(lambda: min(attempts(workers).values()) >= GIVE_UPS, f"{GIVE_UPS} writes of each partition were given up")
    until(
        lambda: max(descriptors(worker) for worker in workers) <= max(before) + 1,
        "each has one producer or none, whenever no scores are read",
    )
    if rebalance_first:
        workers.append(fleet.worker(COMMAND))
        until(lambda: workers[-1].has_joined, "the third joins")
        accept_with(fleet, 2)
        fleet.await_scores(3 * PAYMENTS)
    else:
        accept_with(fleet, 2)
        fleet.await_scores(3 * PAYMENTS)
        workers.append(fleet.worker(COMMAND))
        workers[-1].await_ready()
    fleet.publish(payment(number) for number in range(3 * PAYMENTS, 4 * PAYMENTS))
    valid = fleet.await_scores(4 * PAYMENTS)

    assert set(sources(valid).values()) == {1}
    scores, reader = fleet.scores()
    assert reader.void == 0, "a producer that was given up has written"
    for of_partition in by_partition(scores).values():
        assert all(earlier.revision <= later.revision for earlier, later in pairwise(of_partition))
    late = {payment(number)["transaction_id"] for number in range(2 * PAYMENTS, 4 * PAYMENTS)}
    assert {score.revision for score in scores if score.transaction_id in late} == {3}
    epochs = {score.epoch % 2**10 for score in scores}
    assert max(epochs) >= (0 if rebalance_first else GIVE_UPS)
    until(lambda: [descriptors(worker) for worker in workers[:2]] <= before, "descriptors are as before the outage")
    report(f"attempts {dict(attempts(workers))}, descriptors {before} and {[descriptors(one) for one in workers[:2]]}")
    assert [worker.terminate() for worker in workers] == [0, 0, 0]
