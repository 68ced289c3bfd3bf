"""A comparison has what the artifacts decided, also of a decision that a limit overruled afterwards."""

import msgspec
import pytest

from fraudstream.demo.scoreboard import Place
from models.policy import Decision
from shadow.comparison import Result, compare, read_decided
from stream.contract.outputs import Overruled
from support.demo_scores import score


@pytest.mark.parametrize(("by", "became"), [("decline_cap", Decision.REVIEW), ("let_through", Decision.APPROVE)])
@pytest.mark.parametrize(("other", "changed"), [(Decision.DECLINE, False), (Decision.REVIEW, True)])
def test_the_side_that_decided_has_what_its_model_said(
    by: str,
    became: Decision,
    other: Decision,
    changed: bool,  # noqa: FBT001 - a case
) -> None:
    overruled = score("t-1", Place(0, 7), decision=became, overruled=Overruled(by, Decision.DECLINE))
    found = compare(read_decided(msgspec.json.encode(overruled)), "c" * 64, Result(0.9, 800, other, other), 0)
    assert (found.decided.decision, found.challenger.decision) == (Decision.DECLINE, other)
    assert found.decision_changed is changed
