"""Where a split stands, in words and as facts: its arms, what was counted of each, and what a guard would send."""

import pytest

from fraudstream.ops.rollout.guard.finding import Limits, Sight, finding_on
from fraudstream.ops.rollout.guard.sight import empty_state
from fraudstream.ops.rollout.guard.status import Status, facts, lines
from fraudstream.ops.rollout.guard.watched import past_of
from guards.errors import OtherHashKeyError
from guards.records import GuardedScore, ScorePlace
from guards.report import evidence
from models.commands import AcceptedArm
from stream.settings import Settings
from support.control_events import accepted
from support.hashed_cards import exclusion_key, hashed

A, B = "a" * 64, "b" * 64
NAMES = {A: "cards 1", B: "cards 2"}
ARMS = {"control": AcceptedArm(A, 1_000), "new": AcceptedArm(B, 1_000)}
PAST = past_of("default", [accepted(1, model=A), accepted(2, "split", arms=ARMS, salt="s", exclude=("card-1",))])


def status(**declined: int) -> Status:
    """Return a split in which each of so many cards of each arm was declined once."""
    watched = PAST.watched
    assert watched is not None
    state = empty_state(Settings(), watched)
    scores = [
        GuardedScore(f"t-{arm}-{card}", f"{arm}-{card}", "decline", "model", 2, 0, ScorePlace(card), "default", arm)
        for arm, number in declined.items()
        for card in range(number)
    ]
    state.count(0, scores, len(scores))
    sight = Sight(watched.since_ms, watched.since_ms, evidence(state), 0)
    return Status(PAST, watched, sight, finding_on(PAST, watched, sight, Limits(0, 0)))


def test_a_split_is_said_with_its_arms_and_what_was_counted_of_each() -> None:
    said = [*lines(status(control=2, new=2, live=16), NAMES.__getitem__)]
    assert said[0] == (
        "split: control cards 1 at 10%, new cards 2 at 10%, beside cards 1; since 2026-01-01T00:00:00.000Z"
    )
    (declined,) = [line for line in said if line.strip().startswith("declined")]
    assert "2 of control (10%), E 0." in declined
    assert "16 of live (80%). E = 0." in declined
    found = facts(status(live=1))
    assert (found["watched"], found["model"], found["models"], found["other"]) == ("split", None, [B], A)
    assert found["split"] == {
        "arms": {name: {"model": arm.model, "share_bp": arm.share_bp} for name, arm in ARMS.items()},
        "salt": "s",
        "excluded_cards": 1,
    }
    assert (found["would_send"], found["rollout"], found["phase"]) == (None, None, None)


def test_a_split_that_harms_is_said_with_what_a_guard_sends() -> None:
    harmful = status(control=8, new=60, live=64)
    assert facts(harmful)["would_send"] == "end_split"
    assert "a guard that runs sends now: end_split (breached: declined)" in [*lines(harmful, NAMES.__getitem__)]


def test_where_no_guard_runs_nothing_is_said_to_be_sent() -> None:
    alone = status(control=8, new=60, live=64)._replace(guards=frozenset())
    said = [*lines(alone, NAMES.__getitem__)]
    assert said[0] == "no guard runs: nothing ends this split if an arm does harm"
    assert "a guard would send now: end_split (breached: declined)" in said
    assert facts(alone)["guards"] == []
    guarded = status()._replace(guards=frozenset({"guard-1"}))
    assert facts(guarded)["guards"] == ["guard-1"]
    assert not [line for line in lines(guarded, NAMES.__getitem__) if "no guard" in line]
    unknown = facts(status())["guards"]
    assert unknown is None


def test_without_a_canary_a_split_or_a_promotion_nothing_is_watched() -> None:
    nothing = Status(past_of("default", [accepted(1, model=A)]))
    assert [*lines(nothing, NAMES.__getitem__)] == [
        "nothing is watched at revision 1: no canary or split runs, no promotion is watched"
    ]


def test_nothing_is_counted_where_excluded_cards_are_not_known() -> None:
    cards = hashed("card-1")
    hidden = {"exclude": cards.entries, "exclude_key_check": cards.key_check}
    past = past_of("default", [accepted(1, model=A), accepted(2, "split", arms=ARMS, salt="s", **hidden)])
    assert past.watched is not None
    with pytest.raises(OtherHashKeyError, match="1 excluded cards are hashed with a key, and this process has none"):
        empty_state(Settings(), past.watched)
    with exclusion_key():
        assert empty_state(Settings(), past.watched).arms == ("control", "new", "live")
