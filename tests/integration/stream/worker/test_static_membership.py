"""Static members of the group: a worker that comes back in time moves no partition; what it costs when it does not."""

import signal
import time
from collections.abc import Callable, Mapping

import pytest

from support.fleet.fleet import Fleet, sources, until
from support.fleet.load import Load
from support.fleet.payments import put_model
from support.fleet.workers import Worker

RATE = 100
STEADY_SECONDS = 2.0


IN_TIME_SECONDS = 45
"""A session timeout in which a worker ends and starts again on any machine, however busy."""
SHORT_SECONDS = 10


def named(name: str, session_seconds: int = SHORT_SECONDS) -> dict[str, str]:
    """Return the settings of a static member, or of a member like all others without a name."""
    return {"SESSION_TIMEOUT": str(session_seconds)} | ({"GROUP_INSTANCE": name} if name else {})


def go_live(fleet: Fleet, *names: str, session_seconds: int = SHORT_SECONDS) -> list[Worker]:
    workers = [fleet.worker(**named(name, session_seconds)) for name in names]
    until(lambda: all(worker.has_joined for worker in workers), "the group is joined")
    fleet.promote(put_model(fleet.models))
    for worker in workers:
        worker.await_ready()
    return workers


def epochs(fleet: Fleet) -> dict[int, set[int]]:
    """Return the epochs of each partition's decisions: one more for each assignment."""
    found: dict[int, set[int]] = {}
    for score in fleet.scores()[0]:
        found.setdefault(score.source.partition, set()).add(score.epoch)
    return found


def assert_decided_once(fleet: Fleet, load: Load) -> None:
    valid = fleet.scores()[0]
    assert {score.transaction_id for score in valid} == load.sent.keys()
    assert set(sources(valid).values()) == {1}


@pytest.mark.acceptance
def test_a_static_member_that_is_restarted_in_time_moves_no_partition_and_answers_commands(
    fleet: Fleet, report: Callable[[str], None]
) -> None:
    first, _ = go_live(fleet, "a", "b", session_seconds=IN_TIME_SECONDS)
    with Load(fleet, RATE) as load:
        load.await_decisions(time.monotonic())
        before = epochs(fleet)
        began = time.monotonic()
        assert first.terminate() == 0
        again = fleet.worker(**named("a", IN_TIME_SECONDS))
        again.await_ready()
        times = load.await_decisions(began)
    assert_decided_once(fleet, load)
    assert sum(epochs(fleet)[partition] == before[partition] for partition in before) == len(before) // 2
    assert fleet.promote(put_model(fleet.models, seed=1))["kind"] == "accepted"
    report(f"restarted after {max(times.values()):.1f} s, other partitions decided within {min(times.values()):.1f} s")


@pytest.mark.acceptance
@pytest.mark.parametrize("names", [("", ""), ("a", "b")], ids=["dynamic", "static"])
def test_partitions_of_a_member_that_does_not_come_back_are_decided_by_others(
    fleet: Fleet, names: tuple[str, str], report: Callable[[str], None]
) -> None:
    workers = go_live(fleet, *names)
    with Load(fleet, RATE) as load:
        for end in (signal.SIGTERM, signal.SIGKILL):
            time.sleep(STEADY_SECONDS)
            times = dark_after(workers[0], end, load)
            report(
                f"{end.name}: longest without decisions {max(times.values()):.1f} s, session timeout {SHORT_SECONDS} s"
            )
            workers[0] = fleet.worker(**named(names[0]))
            workers[0].await_ready()
    assert_decided_once(fleet, load)


def dark_after(worker: Worker, end: signal.Signals, load: Load) -> Mapping[int, float]:
    """End a worker and return after how long each partition is decided."""
    began = time.monotonic()
    worker.signal(end)
    worker.wait()
    return load.await_decisions(began)


@pytest.mark.acceptance
def test_two_workers_with_the_name_of_one_member_take_turns_and_decide_nothing_twice(fleet: Fleet) -> None:
    workers = go_live(fleet, "a", "b")
    with Load(fleet, RATE) as load:
        workers.append(fleet.worker(**named("a")))
        until(lambda: workers[-1].get("/health/live")[0] == 200, "the second worker of that name serves its pages")
        time.sleep(5 * STEADY_SECONDS)
        assert workers[-1].terminate() == 0
        load.await_decisions(time.monotonic())
    assert_decided_once(fleet, load)
    assert [worker.exit_code for worker in workers] == [None, None, 0]
