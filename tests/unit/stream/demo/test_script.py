"""The script: what happens when, and what a killed worker changes about it."""

from itertools import pairwise

import pytest

from stream.demo.script import Act, Script


def test_what_happens_is_in_order_and_within_the_live_stream() -> None:
    script = Script(seconds=100, chaos=True)
    assert [scene.act for scene in script.acts] == [Act.PROMOTE, Act.KILL, Act.ROLL_BACK]
    times = [0.0, *(scene.seconds for scene in script.acts), script.seconds]
    assert all(before < after for before, after in pairwise(times))


def test_without_chaos_nobody_is_killed() -> None:
    assert [scene.act for scene in Script().acts] == [Act.PROMOTE, Act.ROLL_BACK]


def test_a_killed_worker_is_given_up_soon() -> None:
    assert Script(chaos=True).session_seconds < Script().session_seconds


@pytest.mark.parametrize("act", list(Act))
def test_each_act_says_itself_in_a_line_of_the_story(act: Act) -> None:
    assert 0 < len(act.value) <= 28
