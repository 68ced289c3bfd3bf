"""A guard that lowers a canary's share answers a breach, and ends no pause; one that raises it does neither."""

from typing import Any

import pytest

from fraudstream.ops.watch.incidents.commands import command_log
from guards.specs import GuardKind
from support.control_events import accepted

A, B = "a" * 64, "b" * 64
BREACHED = {"guards": {"declined": {"breached": True, "action": "roll_back"}}}
TOO_FEW = {"guards": {"declined": {"breached": True, "action": "roll_back", "follows": "hold"}}}


@pytest.mark.parametrize(
    ("share_bp", "evidence", "retreats"),
    [(100, BREACHED, True), (100, TOO_FEW, False), (900, BREACHED, False), (100, None, False)],
)
def test_a_lower_share_on_too_many_declines_opens_an_incident_and_ends_no_pause(
    share_bp: int, evidence: Any, *, retreats: bool
) -> None:
    events = [
        accepted(1, model=A),
        accepted(2, "canary", B, share_bp=500, salt="s"),
        accepted(3, "canary", B, share_bp=share_bp, salt="s", evidence=evidence),
    ]
    last = command_log("default", events).commands[-1]
    assert last.breached == ((GuardKind.DECLINED,) if retreats else ())
    assert last.ends_a_pause is not retreats
