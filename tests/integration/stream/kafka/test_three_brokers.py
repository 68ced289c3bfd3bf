"""Three brokers, replication 3, two in sync: whatever becomes of brokers under load, each payment has one valid score.

How long partitions are without decisions is reported for each fault.
"""

import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import pytest

from support.acceptance import cases
from support.fleet.fleet import Fleet, sources, until
from support.fleet.load import Load
from support.fleet.payments import PARTITIONS
from support.fleet.workers import Worker
from support.kafka.three_brokers import IDS, ThreeBrokers

pytestmark = pytest.mark.integration

RATE = 200
STEADY_SECONDS = 2.0
"""Of load before a fault."""
ZOMBIE_SECONDS = 5.0
"""Past the session timeouts of brokers and of workers, 3 s."""


class Whole(NamedTuple):
    """What faults are done to."""

    cluster: ThreeBrokers
    fleet: Fleet
    workers: list[Worker]
    load: Load

    def topic(self, name: str) -> str:
        return f"{self.fleet.prefix}{name}"

    def leader(self) -> int:
        return self.cluster.leaders(self.topic("transactions"))[0]

    def kill(self, node: int) -> Mapping[int, float]:
        """Kill a broker and wait for decisions."""
        began = time.monotonic()
        self.cluster.nodes[node].kill()
        return self.load.await_decisions(began)


Times = Mapping[int, float]


def kill_a_leader(whole: Whole) -> Times:
    return whole.kill(whole.leader())


def kill_the_controller(whole: Whole) -> Times:
    return whole.kill(whole.cluster.controller())


def kill_the_coordinator(whole: Whole) -> Times:
    return whole.kill(whole.cluster.coordinator(whole.fleet.environment["GROUP"]))


def kill_two_at_once(whole: Whole) -> Times:
    """Kill two: nothing can be written or elected, until one returns."""
    leader = whole.leader()
    other = next(node for node in IDS if node != leader)
    for node in (leader, other):
        whole.cluster.nodes[node].kill()
    time.sleep(STEADY_SECONDS)
    stalled = time.monotonic()
    time.sleep(STEADY_SECONDS)
    assert whole.load.first_after(stalled) == {}, "something was acknowledged by one broker alone"
    began = time.monotonic()
    whole.cluster.nodes[other].launch()
    return whole.load.await_decisions(began, 90)


def pause_a_leader(whole: Whole) -> Times:
    """Stop a leader until it is replaced; it comes back and believes that it leads."""
    began, node = time.monotonic(), whole.cluster.nodes[whole.leader()]
    node.pause()
    times = whole.load.await_decisions(began)
    time.sleep(max(0.0, began + ZOMBIE_SECONDS - time.monotonic()))
    node.resume()
    return times


def fence_a_worker(whole: Whole) -> Times:
    """Stop a worker until the coordinator has removed it; it comes back and is fenced."""
    began = time.monotonic()
    whole.workers[0].signal(signal.SIGSTOP)
    times = whole.load.await_decisions(began)
    time.sleep(max(0.0, began + ZOMBIE_SECONDS - time.monotonic()))
    whole.workers[0].signal(signal.SIGCONT)
    return times


def roll_all(whole: Whole) -> Times:
    """Restart all brokers in order, one after the other, each after the last is in sync."""
    longest: Counter[int] = Counter()
    for node in whole.cluster.nodes.values():
        began = time.monotonic()
        node.stop()
        longest |= Counter(whole.load.await_decisions(began))
        heal(whole)
    return longest


FAULTS: tuple[Callable[[Whole], Times], ...] = (
    kill_a_leader,
    kill_the_controller,
    kill_the_coordinator,
    kill_two_at_once,
    fence_a_worker,
    roll_all,
)


def heal(whole: Whole) -> None:
    whole.cluster.start()
    whole.cluster.await_in_sync(*map(whole.topic, ("transactions", "scores", "model-events")))


@contextmanager
def under_load(cluster: ThreeBrokers, fleet: Fleet, workers: int = 2) -> Iterator[Whole]:
    """Yield a fleet under load; check in the end that each payment has exactly one valid score."""
    started = fleet.go_live(workers)
    with Load(fleet, RATE) as load:
        whole = Whole(cluster, fleet, started, load)
        yield whole
    valid, reader = fleet.scores()
    assert Counter(score.transaction_id for score in valid) == Counter(load.sent.keys())
    assert set(sources(valid).values()) == {1}
    assert (reader.unreadable, fleet.read("dead-letters")) == (0, [])
    for worker in started:
        assert worker.exit_code is None, worker.log()


SHORT = ("killed", FAULTS[:1])


@pytest.mark.parametrize(
    ("_named", "faults"), cases([SHORT, ("all", FAULTS), ("hung", (pause_a_leader,))], short=[SHORT])
)
def test_faults_of_brokers_under_load_lose_no_payment_and_decide_none_twice(
    cluster: ThreeBrokers,
    replicated: Fleet,
    _named: str,
    faults: tuple[Callable[[Whole], Times], ...],
    report: Callable[[str], None],
) -> None:
    with under_load(cluster, replicated) as whole:
        for fault in faults:
            heal(whole)
            time.sleep(STEADY_SECONDS)
            report(f"{fault.__name__}: first decision after {describe(fault(whole))}")
        time.sleep(STEADY_SECONDS)
    report(f"{len(whole.load.sent)} payments, {replicated.scores()[1].void} void scores")


def describe(times: Times) -> str:
    return ", ".join(f"{seconds:.1f} s" for _, seconds in sorted(times.items())) + " by partition"


ALONE = {
    "transactions": (1, 2, 3, 1),
    "labels": (1, 2, 3, 1),
    "scores": (1, 2, 1, 3),
    **dict.fromkeys(("outcomes", "shadow-scores"), (1, 2, 1, 2)),
    **dict.fromkeys(("model-control", "model-events", "dead-letters"), (1,)),
}
"""The broker of each partition. Without broker 3, transactions of 2 and scores of 3 are away; 0 and 1 are whole."""


@pytest.mark.acceptance
def test_without_one_partitions_leader_the_partitions_of_other_leaders_are_decided(
    cluster: ThreeBrokers, replicated: Fleet, report: Callable[[str], None]
) -> None:
    fleet = replicated
    fleet.environment["TOPIC_PREFIX"] = fleet.prefix = f"{fleet.prefix}alone-"
    for name, leaders in ALONE.items():
        cluster.create(f"{fleet.prefix}{name}", leaders)
    assert fleet.cli("topics", "apply", "--partitions", str(PARTITIONS)).returncode == 0
    with under_load(cluster, fleet, workers=1) as whole:
        time.sleep(STEADY_SECONDS)
        began = time.monotonic()
        cluster.nodes[3].kill()
        time.sleep(ZOMBIE_SECONDS)  # what was fetched before the fault is done by then
        later = time.monotonic()
        times = whole.load.await_decisions(later, 30, within=(0, 1))
        until(lambda: told(whole.workers, 3), "a worker is not ready and names the partition without scores")
        report(f"{later - began:.0f} s after one leader is gone, other partitions decide within {describe(times)}")
        cluster.start()
        report(f"it is back: {describe(whole.load.await_decisions(time.monotonic()))}")


def told(workers: Sequence[Worker], partition: int) -> bool:
    reasons = [reason for worker in workers for reason in worker.readiness()[1]]
    return any(re.search(rf"\bpartitions? \[?{partition}\b", reason) for reason in reasons)
