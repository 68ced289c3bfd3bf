"""Rollouts and freezes: what the judge accepts of them, and what the lineup makes of it."""

from functools import reduce
from typing import Any

import msgspec
import pytest

from guards.ladder import Ladder
from guards.specs import DEFAULT_ROW_TIME, NO_CLIMB, ClimbSpec, GuardKind, default_guards, guards_json
from models.command_decoder import read_command
from models.commands import Command, RequestedArm, UnreadableRecord, encode
from models.judge import Accepted, Fleet, HeldArtifact, Refused, judge
from models.lineup import Lineup, follow
from models.rollouts import Freeze, begun
from models.verdict_events import Origin, verdict_event
from support import control_events

A, B, C = ("a" * 64, "b" * 64, "c" * 64)
LADDER = Ladder.parse("1% 10min, 5% 1h, 100% 2h")
BREACHED = {"guards": {"reviewed": {"breached": True}, "declined": {"breached": False}}}
EVIDENCE: dict[str, Any] = {"guards": {}}


def command(kind: str, revision: int, model: str | None = None, **fields: Any) -> Command:
    force = kind in ("promote", "canary", "split", "rollout", "challenge")
    named = {"command_id": f"c-{revision}-{kind}", "expected_revision": revision, "force": force}
    return control_events.command(kind, model, **(named | fields))


def step(lineup: Lineup, kind: str, model: str | None = None, **fields: Any) -> Lineup:
    """Judge a command, which must be accepted, and fold the verdict as a worker does that reads it from the topic."""
    one = command(kind, lineup.revision, model, **fields)
    target = model or lineup.rollback_target or A
    arms = {name: HeldArtifact(arm.model, "f") for name, arm in (one.arms or {}).items()}
    fleet = Fleet(frozenset({"f"}), frozenset(), HeldArtifact(target, "f"), watch_ms=1_000, arms=arms)
    verdict = judge(lineup, one, fleet, 0)
    assert isinstance(verdict, Accepted), verdict
    event = verdict_event(one, verdict, lineup.revision, Origin(f"e-{lineup.revision}", "w", 0))
    after = follow(lineup, msgspec.json.decode(encode(event), type=type(event)))
    assert after.revision == lineup.revision + 1
    return after


def codes(lineup: Lineup, kind: str, model: str | None = None, **fields: Any) -> list[str]:
    one = command(kind, lineup.revision, model, **fields)
    verdict = judge(lineup, one, Fleet(frozenset({"f"}), frozenset(), HeldArtifact(model or A, "f")), 0)
    assert isinstance(verdict, Refused), verdict
    return [problem.code for problem in verdict.problems]


def started(**fields: Any) -> Lineup:
    return step(step(Lineup("default"), "promote", A), "rollout", B, ladder=LADDER.rungs, **fields)


def test_a_rollout_starts_a_canary_at_its_first_share_with_every_guard_stated() -> None:
    lineup = started(salt="s")
    assert (lineup.live, lineup.canary) == (A, (B, 100, "s"))
    assert lineup.rollout is not None
    assert (lineup.rollout.ladder, lineup.rollout.guards) == (LADDER, default_guards())
    event = lineup.answers["c-1-rollout"]
    assert (event.share_bp, event.salt, event.paused, event.model) == (100, "s", False, B)
    assert event.guards == guards_json(default_guards(), DEFAULT_ROW_TIME, ClimbSpec())
    assert lineup.rollout.climb == ClimbSpec()
    assert started().canary == (B, 100, "c-1-rollout")


def test_a_rollout_asks_for_the_evidence_to_climb_that_its_guards_state_or_for_none() -> None:
    only = {"declined": {"alpha": 0.01, "action": "hold"}}
    for stated, expected in (
        ({}, ClimbSpec((GuardKind.DECLINED,))),
        ({"climb": None}, NO_CLIMB),
        ({"climb": {"kinds": []}}, NO_CLIMB),
        ({"climb": {"kinds": ["declined"], "ratio": 3}}, ClimbSpec((GuardKind.DECLINED,), 3.0)),
    ):
        rollout = started(guards=only | stated).rollout
        assert rollout is not None
        assert rollout.climb == expected


def test_a_rollout_that_an_earlier_version_accepted_asks_for_no_evidence_to_climb() -> None:
    event = started().answers["c-1-rollout"]
    before = msgspec.structs.replace(event, guards=guards_json(default_guards(), DEFAULT_ROW_TIME))
    found = begun(before)
    assert found is not None
    assert found.climb == NO_CLIMB


def test_a_ramp_keeps_the_rollout_and_the_last_rung_makes_it_watch_the_promotion() -> None:
    ramped = step(started(), "canary", B, share_bp=500)
    assert ramped.rollout == started().rollout
    live = step(ramped, "promote", B, watch_seconds=7_200)
    assert live.rollout is not None
    assert (live.live, live.canary, live.challenger, live.rollout.promoted) == (B, None, A, True)
    assert step(live, "roll_back").rollout is None
    assert step(live, "promote", C).rollout is None


@pytest.mark.parametrize("kind", ["canary", "split"])
def test_a_canary_or_a_split_after_a_rollout_is_over_is_none_of_it(kind: str) -> None:
    """A guard would climb the old ladder with the new model."""
    promoted = step(step(started(), "promote", B), "withdraw")
    asked: dict[str, Any] = {"share_bp": 100} if kind == "canary" else {"arms": {"a": RequestedArm(C, 100)}}
    beside = step(promoted, kind, C if kind == "canary" else None, **asked)
    assert (promoted.rollout and promoted.rollout.promoted, beside.climbing, beside.guarding) == (True, None, None)
    assert codes(beside, "pause") == ["no_rollout"]
    assert step(started(), "pause").guarding == step(started(), "pause").climbing is not None


@pytest.mark.parametrize("kind", ["end_canary", "roll_back", "demote"])
def test_what_ends_the_canary_ends_its_rollout(kind: str) -> None:
    after = step(started(), kind)
    assert (after.canary, after.rollout, after.live) == (None, None, A)


def test_what_paused_a_rollout_does_not_hold_it_again_once_an_operator_resumes_it() -> None:
    paused = step(started(), "pause", evidence=BREACHED)
    assert paused.rollout is not None
    assert (paused.rollout.paused, paused.rollout.breached) == (True, {GuardKind.REVIEWED})
    resumed = step(paused, "resume").rollout
    assert resumed is not None
    assert (resumed.paused, resumed.breached, resumed.waived) == (False, frozenset(), {GuardKind.REVIEWED})
    by_hand = step(step(started(), "pause"), "resume").rollout
    assert by_hand is not None
    assert by_hand.waived == frozenset()


def test_a_pause_a_resumption_a_freeze_or_a_thaw_that_changes_nothing_is_refused() -> None:
    live = step(Lineup("default"), "promote", A)
    assert codes(live, "pause") == codes(live, "resume") == ["no_rollout"]
    assert codes(step(live, "canary", B, share_bp=1), "pause") == ["no_rollout"]
    assert codes(started(), "resume") == codes(step(started(), "pause"), "pause") == ["nothing_changes"]
    assert codes(live, "thaw") == codes(step(live, "freeze"), "freeze") == ["nothing_changes"]
    assert step(step(live, "freeze"), "freeze", hands_off=True).frozen == Freeze(hands_off=True)
    assert step(step(live, "freeze"), "thaw").frozen is None


def test_no_rollout_begins_beside_a_canary_or_before_a_model_is_live() -> None:
    assert codes(started(), "rollout", B, ladder=LADDER.rungs) == ["canary_running"]
    assert codes(started(), "rollout", C, ladder=LADDER.rungs) == ["canary_running"]
    assert codes(Lineup("default"), "rollout", B, ladder=LADDER.rungs) == ["nothing_live"]


def test_a_freeze_refuses_what_a_guard_asks_for_and_never_what_a_person_does() -> None:
    frozen, off = step(started(), "freeze"), step(started(), "freeze", hands_off=True)
    for lineup in (frozen, off):
        assert codes(lineup, "canary", B, share_bp=500, evidence=EVIDENCE) == ["frozen"]
        assert codes(lineup, "promote", B, evidence=EVIDENCE) == ["frozen"]
        for person in ({}, {"evidence": {"seen": "the report of Monday"}}):
            assert step(lineup, "canary", B, share_bp=500, **person).canary == (B, 500, "c-1-rollout")
    for ending in ("end_canary", "pause", "roll_back", "demote"):
        assert step(frozen, ending, evidence=EVIDENCE).frozen == Freeze()
        assert codes(off, ending, evidence=EVIDENCE) == ["frozen"]
    assert step(step(frozen, "canary", B, share_bp=500), "canary", B, share_bp=1, evidence=EVIDENCE).frozen == Freeze()


def problems(**changes: Any) -> list[str]:
    fields = msgspec.to_builtins(command("rollout", 0, B, ladder=LADDER.rungs)) | changes
    found = read_command(msgspec.json.encode(fields))
    return [one.detail for one in found.problems] if isinstance(found, UnreadableRecord) else []


def test_a_rollout_is_refused_with_all_that_is_wrong_with_its_ladder_its_guards_and_its_evidence() -> None:
    assert problems() == problems(guards=guards_json(default_guards()), evidence={"why": "x" * 16_000}) == []
    assert problems(ladder=None) == ["ladder: missing, rollout needs it"]
    assert problems(ladder=[{"share_bp": 10_000}]) == [
        "rung 1, 100%: a ladder begins below 100%; `model promote` makes a model live at once"
    ]
    wrong = problems(guards={"declined": {"alpha": 2, "action": "hold"}, "x": {}}, evidence={"why": "x" * 20_000})
    kinds = (
        "reviewed, declined, stood_in, fraud_approved, sample_ratio, scores, unseen, row_time; `climb` is beside them"
    )
    assert wrong == [
        f"guards.x: unknown kind; the kinds are {kinds}",
        "evidence: 20010 bytes as JSON, more than 16384; leave some of it out",
    ]
    assert problems(kind="promote") == ["ladder: promote takes none"]
    assert problems(kind="pause", ladder=None, model=None) == []


def test_a_fold_takes_an_event_of_an_invalid_rollout_for_void() -> None:
    lineup = step(Lineup("default"), "promote", A)
    one = command("rollout", 1, B, ladder=LADDER.rungs)
    verdict = judge(lineup, one, Fleet(frozenset({"f"}), frozenset(), HeldArtifact(B, "f")), 0)
    event = verdict_event(one, verdict, 1, Origin("e", "w", 0))
    for changes in ({"guards": {"x": {}}}, {"guards": None}, {"ladder": ()}, {"share_bp": 200}, {"model": None}):
        assert follow(lineup, msgspec.structs.replace(event, **changes)) is lineup
    assert reduce(follow, [event], lineup).rollout is not None
