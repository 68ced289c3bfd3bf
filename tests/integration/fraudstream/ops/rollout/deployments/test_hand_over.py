"""A hand-over under load: each partition changes its fleet at one offset, and everything is decided once."""

import signal
import time
from pathlib import Path

import pytest

from models.commands import Event, EventKind
from models.terms import term_of
from support.acceptance import sized
from support.fleet import sleeping_worker
from support.fleet.deployments import (
    assert_announced,
    assert_published_once,
    cut_over,
    go_live_when_warm,
    hand_over,
    silent_scores,
)
from support.fleet.fleet import Fleet, until
from support.fleet.load import Load
from support.fleet.payments import PARTITIONS, put_model
from support.fleet.workers import Worker


def codes(verdict: Event | None) -> set[str]:
    assert verdict is not None
    assert verdict.kind is EventKind.REFUSED
    return {problem.code.value for problem in verdict.problems}


def test_two_hand_overs_under_load_and_after_each_everything_is_decided_once(fleet: Fleet, green: Fleet) -> None:
    fleet.go_live()
    blue_name, green_name = fleet.environment["DEPLOYMENT"], green.environment["DEPLOYMENT"]
    with Load(fleet, 150):
        go_live_when_warm(green, seed=1)
        assert codes(cut_over(green, evidence={"go": False})) == {"no_go"}
        assert codes(cut_over(green, expected_revision=4)) == {"stale_term"}
        assert codes(cut_over(fleet, force=True)) == {"nothing_changes"}
        first = hand_over(green)
        assert (first.term, first.deployment) == (1, green_name)
        await_all_decided_in(fleet, 1)
        second = hand_over(fleet)
        assert (second.term, second.deployment) == (2, blue_name)
        await_all_decided_in(fleet, 2)
    firsts = assert_published_once(fleet, [blue_name, green_name, blue_name]).firsts
    assert all(set(of_terms) == {0, 1, 2} for of_terms in firsts.values())
    assert_announced(green, firsts)
    until(lambda: bool(silent_scores(fleet)), "blue went on silently while green published")


def await_all_decided_in(fleet: Fleet, term: int) -> None:
    """Wait until each partition has a valid score of a term.

    A payment that is sent after a hand-over was accepted may still be decided in the term before.
    """

    def deciding() -> set[int]:
        return {one.source.partition for one in fleet.scores()[0] if term_of(one.epoch) == term}

    until(lambda: deciding() == set(range(PARTITIONS)), f"each partition is decided in term {term}")


@pytest.mark.acceptance
def test_a_worker_that_slept_through_two_hand_overs_writes_void_scores_and_notices_itself(
    fleet: Fleet, green: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flag = tmp_path / "sleep"
    monkeypatch.setenv(sleeping_worker.VARIABLE, str(flag))
    sleeper = a_worker_that_may_sleep(fleet)
    blue_name, green_name = fleet.environment["DEPLOYMENT"], green.environment["DEPLOYMENT"]
    with Load(fleet, 100) as load:
        go_live_when_warm(green, seed=1)
        flag.touch()
        until(lambda: not flag.exists(), "the only worker of blue sleeps with a batch in its hands")
        slept = time.monotonic()
        hand_over(green)
        load.await_decisions(slept)
        (other := fleet.worker()).await_ready()
        hand_over(fleet)
        load.await_decisions(time.monotonic())
        time.sleep(max(0.0, slept + sized(8, 60) - time.monotonic()))
        assert fleet.scores()[1].void == 0
        sleeper.signal(signal.SIGCONT)
        until(lambda: fleet.scores()[1].void > 0, "it writes what it had decided")
        until(lambda: counted_void(sleeper) + counted_void(other) > 0, "its fleet notices that and counts it")
        sleeper.await_ready()
        load.await_decisions(time.monotonic())
    found = assert_published_once(fleet, [blue_name, green_name, blue_name])
    assert found.void > 0


def a_worker_that_may_sleep(fleet: Fleet) -> Worker:
    digest, sleeper = put_model(fleet.models), fleet.worker(sleeping_worker.COMMAND)
    until(lambda: sleeper.has_joined, "the group is joined")
    fleet.promote(digest)
    sleeper.await_ready()
    return sleeper


def counted_void(worker: Worker) -> float:
    lines = worker.get("/metrics")[1].splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("fraudstream_void_scores_total"))
