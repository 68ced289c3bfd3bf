"""The plan of a demo run: its actions, their order, and what `chaos` changes."""

from itertools import pairwise

import pytest

from fraudstream.demo.plan import Action, DemoPlan


def test_actions_are_in_order_and_within_the_live_stream() -> None:
    plan = DemoPlan(seconds=100, chaos=True)
    assert [planned.action for planned in plan.actions] == [
        Action.PROMOTE,
        Action.KILL,
        Action.ROLL_BACK,
        Action.CANARY,
    ]
    times = [0.0, *(planned.seconds for planned in plan.actions), plan.seconds]
    assert all(before < after for before, after in pairwise(times))


def test_without_chaos_no_worker_is_killed() -> None:
    assert [planned.action for planned in DemoPlan().actions] == [
        Action.PROMOTE,
        Action.ROLL_BACK,
        Action.CANARY,
    ]


def test_chaos_shortens_the_session_timeout() -> None:
    assert DemoPlan(chaos=True).session_seconds < DemoPlan().session_seconds


@pytest.mark.parametrize("act", list(Action))
def test_the_text_of_each_action_fits_its_line(act: Action) -> None:
    assert 0 < len(act.value) <= 28
