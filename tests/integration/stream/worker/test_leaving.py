"""Workers that are stopped leave their group at once: nobody waits for the end of their sessions."""

import signal
import time
from collections.abc import Callable

import pytest

from support.fleet.fleet import Fleet, sources
from support.fleet.load import Load

RATE = 100
SESSION_SECONDS = 60
SOON_SECONDS = 20
"""Long enough for a full machine, and far less than a session."""


@pytest.mark.parametrize("leaving", [1, 2], ids=["one", "two at the same time"])
def test_what_stopped_workers_owned_is_decided_by_another_long_before_their_sessions_end(
    fleet: Fleet, leaving: int, report: Callable[[str], None]
) -> None:
    workers = fleet.go_live(workers=leaving + 1, SESSION_TIMEOUT=str(SESSION_SECONDS))
    with Load(fleet, RATE) as load:
        load.await_decisions(time.monotonic())
        began = time.monotonic()
        for one in workers[:leaving]:
            one.signal(signal.SIGTERM)
        times = load.await_decisions(began)
        codes = [one.wait() for one in workers[:leaving]]
    report(f"{leaving} of {leaving + 1} stopped: all partitions are decided after {max(times.values()):.1f} s")
    assert (codes, max(times.values()) < SOON_SECONDS) == ([0] * leaving, True)
    valid = fleet.scores()[0]
    assert {score.transaction_id for score in valid} == load.sent.keys()
    assert set(sources(valid).values()) == {1}


@pytest.mark.acceptance
def test_who_leaves_in_a_rebalance_that_waits_for_a_dead_member_is_not_counted_on(
    fleet: Fleet, report: Callable[[str], None]
) -> None:
    session = 20
    dead, leaving = fleet.go_live(workers=2, SESSION_TIMEOUT=str(session))
    with Load(fleet, RATE) as load:
        load.await_decisions(time.monotonic())
        began = time.monotonic()
        dead.signal(signal.SIGKILL)
        fleet.worker(SESSION_TIMEOUT=str(session))  # it joins, and the group waits for the dead one
        time.sleep(session / 2)
        leaving.signal(signal.SIGTERM)
        code = leaving.wait()
        after = time.monotonic()
        left = after - began
        decided = left + max(load.await_decisions(after).values())
    report(f"left after {left:.1f} s; of a session of {session} s, all partitions are decided after {decided:.1f} s")
    assert code == 0
    assert left < session
    assert decided < 1.5 * session
