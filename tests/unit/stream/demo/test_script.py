"""The plan: what happens when, and what a killed worker changes about it."""

from itertools import pairwise

import pytest

from stream.demo.plan import Action, DemoPlan


def test_what_happens_is_in_order_and_within_the_live_stream() -> None:
    plan = DemoPlan(seconds=100, chaos=True)
    assert [planned.action for planned in plan.actions] == [Action.PROMOTE, Action.KILL, Action.ROLL_BACK]
    times = [0.0, *(planned.seconds for planned in plan.actions), plan.seconds]
    assert all(before < after for before, after in pairwise(times))


def test_without_chaos_nobody_is_killed() -> None:
    assert [planned.action for planned in DemoPlan().actions] == [Action.PROMOTE, Action.ROLL_BACK]


def test_a_killed_worker_is_given_up_soon() -> None:
    assert DemoPlan(chaos=True).session_seconds < DemoPlan().session_seconds


@pytest.mark.parametrize("act", list(Action))
def test_each_act_says_itself_in_a_line_of_the_story(act: Action) -> None:
    assert 0 < len(act.value) <= 28
