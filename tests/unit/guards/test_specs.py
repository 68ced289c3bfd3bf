"""The guards of a rollout: the division of alpha, plain JSON and back, and what is refused."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guards.errors import GuardSpecError
from guards.specs import (
    ACTIONS,
    PARTS_OF_ALPHA,
    Action,
    GuardKind,
    GuardSpec,
    default_guards,
    guards_json,
    read_guards,
    total_alpha,
)

SPECS = st.builds(GuardSpec, st.floats(1e-6, 0.04), st.sampled_from(Action), st.floats(1, 10))


def test_alpha_is_divided_among_all_guards_and_nothing_is_left() -> None:
    assert set(PARTS_OF_ALPHA) == set(ACTIONS) == set(GuardKind) - {GuardKind.ROW_TIME}
    guards = default_guards()
    bad = (GuardKind.REVIEWED, GuardKind.DECLINED, GuardKind.STOOD_IN, GuardKind.FRAUD_APPROVED)
    assert [guards[kind].alpha for kind in bad] == pytest.approx([0.01] * 4)
    assert [guards[kind].alpha for kind in guards if kind not in bad] == pytest.approx([0.004, 0.003, 0.003])
    assert total_alpha(default_guards(0.1)) == pytest.approx(0.1)
    assert guards[GuardKind.DECLINED] == GuardSpec(0.01, Action.ROLL_BACK)
    assert guards[GuardKind.DECLINED].bound() == 100
    assert guards[GuardKind.DECLINED].bound(2) == 200


@given(
    st.dictionaries(
        st.sampled_from([kind for kind in PARTS_OF_ALPHA if kind not in (GuardKind.SAMPLE_RATIO, GuardKind.UNSEEN)]),
        SPECS,
        min_size=1,
    )
)
def test_guards_are_read_back_from_their_json(guards: dict[GuardKind, GuardSpec]) -> None:
    assert read_guards(guards_json(guards)) == guards


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "guards: expected an object such as"),
        ({}, "guards: none that counts events; a rollout needs at least one"),
        ({"declines": {}}, "guards.declines: unknown kind; the kinds are reviewed, declined, stood_in"),
        ({"declined": {"alpha": 0.01}}, "guards.declined: Object missing required field `action`"),
        ({"declined": {"alpha": "x", "action": "hold"}}, "guards.declined: Expected `float`, got `str` - at `$.alpha`"),
        ({"declined": {"alpha": 0.01, "action": "stop"}}, "guards.declined: Invalid enum value 'stop' - at `$.action`"),
        (
            {"declined": {"alpha": 0.01, "action": "hold", "f": 2}},
            "guards.declined.f: unknown field; a guard has alpha",
        ),
        ({"declined": {"alpha": 0, "action": "hold"}}, "guards.declined.alpha: 0 is not above 0 and at most 0.2"),
        ({"declined": {"alpha": 0.3, "action": "hold"}}, "guards.declined.alpha: 0.3 is not above 0 and at most 0.2"),
        ({"declined": {"alpha": float("nan"), "action": "hold"}}, "guards.declined.alpha: nan is not above 0"),
        (
            {"declined": {"alpha": 0.1, "action": "hold", "factor": 0.5}},
            "guards.declined.factor: 0.5 is not from 1 to 10",
        ),
        (
            {"sample_ratio": {"alpha": 0.1, "action": "hold", "factor": 2}},
            "2, but sample_ratio has no such tolerance; leave it out",
        ),
        (
            {kind: {"alpha": 0.15, "action": "hold"} for kind in ("declined", "reviewed")},
            "their alphas add up to 0.3, which is above 0.2; lower them",
        ),
    ],
)
def test_wrong_guards_are_refused_with_what_is_wrong(value: Any, message: str) -> None:
    with pytest.raises(GuardSpecError, match=re.escape(message)):
        read_guards(value)


def test_all_that_is_wrong_is_said_at_once() -> None:
    value = {"decline": {}, "reviewed": {"alpha": 1}, "declined": {"alpha": 0.01, "action": "hold"}}
    with pytest.raises(GuardSpecError, match=r"guards\.decline: .*; guards\.reviewed: "):
        read_guards(value)
