"""The fold of the event log into a lineup: its rules, and the invariants that hold for any log."""

from dataclasses import replace as replaced
from functools import reduce
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from guards.excluded import ExcludedCards
from guards.ladder import Ladder
from models.arms import Arm, Canary, Split
from models.commands import (
    LEAVES_REVISION,
    NAMES_A_MODEL,
    AcceptedArm,
    CommandKind,
    Event,
    EventKind,
    RequestedArm,
)
from models.decline_cap import DeclineCap
from models.judge import Accepted, Fleet, HeldArtifact, judge
from models.limits import Limits
from models.lineup import Candidates, Lineup, artifact_needed, follow, follow_candidates
from models.times import format_time
from models.verdict_events import Origin, verdict_event
from support import control_events
from support.hashed_cards import hashed

MODELS = tuple(letter * 64 for letter in "abc")
START = Lineup("default")


WATCH_MS = 1_767_225_600_000
UNTIL = "2026-01-01T00:00:00.000Z"


def accepted(
    revision: Any, kind: Any, model: Any = None, command_id: Any = None, watch_until: Any = None, **fields: Any
) -> Any:
    named = {"command_id": command_id or f"c-{revision}", "command": CommandKind(kind), "model": model}
    return control_events.event(
        "accepted", revision, f"e-{revision}-{kind}", **(named | {"watch_until": watch_until} | fields)
    )


def canary(model: Any, share_bp: Any = 100, salt: Any = "s") -> Any:
    """Return what starts a canary, or changes its share."""
    return ("canary", model, None, None, share_bp, salt)


def arms(models: Any, share_bp: int = 1_000) -> Any:
    return {name: AcceptedArm(model, share_bp) for name, model in models.items()}


def follow_split(lineup: Any, models: Any, **fields: Any) -> Any:
    """Start a split whose arms have these models, by name."""
    return follow(lineup, accepted(lineup.revision + 1, "split", arms=arms(models), salt="s", **fields))


def end_split(lineup: Any, winner: str, model: Any = None, **fields: Any) -> Any:
    return follow(lineup, accepted(lineup.revision + 1, "end_split", model, winner=winner, **fields))


def watched(model: Any) -> Any:
    """Return a promotion with a watch."""
    return ("promote", model, None, UNTIL)


def fold(*steps: Any) -> Any:
    events = [
        accepted(number, *step[:4], **dict(zip(("share_bp", "salt"), step[4:], strict=False)))
        for number, step in enumerate(steps, start=1)
    ]
    return reduce(follow, events, START)


def check_invariants(lineup: Any) -> None:
    """Assert what holds for every lineup."""
    named = {lineup.live, lineup.challenger, *lineup.previous} - {None}
    assert not named & lineup.quarantined
    past = [*lineup.previous, lineup.live]
    assert all(left != right for left, right in pairwise(past))
    assert lineup.live is None or lineup.live != lineup.challenger
    assert lineup.serving or not lineup.previous
    assert lineup.watched_until_ms is None or lineup.challenger == lineup.rollback_target is not None
    assert lineup.explicit_challenger in {None, lineup.challenger}
    if lineup.canary is not None:
        assert lineup.live is not None
        assert lineup.canary.model not in {lineup.live, lineup.challenger} | lineup.quarantined
        assert 0 < lineup.canary.share_bp < 10_000
        assert lineup.watched_until_ms is None
        assert lineup.rollout is None or (lineup.rollout.model, lineup.rollout.promoted) == (lineup.canary.model, False)
        assert lineup.deciding == {lineup.live, lineup.canary.model} <= set(lineup.needed)
    elif lineup.split is not None:
        assert lineup.live is not None
        assert not lineup.split.models & ({lineup.challenger} | lineup.quarantined)
        assert 0 <= lineup.split.live_bp < 10_000
        assert (lineup.watched_until_ms, lineup.rollout) == (None, None)
        assert lineup.deciding == {lineup.live, *lineup.split.models} <= set(lineup.needed)
    elif lineup.rollout is not None:
        assert (lineup.rollout.model, lineup.rollout.promoted) == (lineup.live, True)


A, B, C = MODELS


def test_a_roll_back_returns_to_the_model_that_was_live_before() -> None:
    lineup = fold(("promote", A), ("promote", B), ("promote", C), ("roll_back", None))
    assert (lineup.live, lineup.previous, lineup.quarantined) == (B, (A,), frozenset())


def test_a_promoted_challenger_leaves_the_shadow_and_another_stays() -> None:
    lineup = fold(("promote", A), ("challenge", B), ("promote", B))
    assert (lineup.live, lineup.challenger) == (B, None)
    assert fold(("promote", A), ("challenge", B), ("promote", C)).challenger == B
    assert fold(("promote", A), ("challenge", B), ("withdraw", None)).challenger is None


def test_after_a_promotion_the_previous_model_is_challenger_until_the_watch_ends() -> None:
    lineup = fold(("promote", A), watched(B))
    assert (lineup.challenger, lineup.explicit_challenger, lineup.watched_until_ms) == (A, None, WATCH_MS)
    assert lineup.challenger_at(WATCH_MS - 1) == A
    assert lineup.challenger_at(WATCH_MS) is None
    assert fold(watched(A)).challenger is None
    assert fold(("promote", A), ("challenge", B), ("promote", B, None, UNTIL)).challenger == A
    assert fold(("promote", A), watched(B), watched(C)).challenger == B
    assert fold(("promote", A), ("promote", B, None, "2026-99-99T00:00:00.000Z")).challenger is None


def test_an_explicit_challenger_takes_precedence_over_a_watch() -> None:
    lineup = fold(("promote", A), ("challenge", C), watched(B))
    assert (lineup.challenger, lineup.watched_until_ms) == (C, None)
    assert lineup.challenger_at(WATCH_MS) == C
    assert fold(("promote", A), watched(B), ("challenge", A)).challenger_at(WATCH_MS) == A
    assert fold(("promote", A), watched(B), ("challenge", C)).challenger == C


@pytest.mark.parametrize("kind", ["withdraw", "roll_back", "demote"])
def test_a_withdrawal_roll_back_or_demotion_ends_a_watch(kind: Any) -> None:
    lineup = fold(("promote", C), ("promote", A), watched(B), (kind, None))
    assert (lineup.challenger, lineup.watched_until_ms) == (None, None)


def test_the_model_that_failed_is_not_watched_after_a_roll_back() -> None:
    lineup = fold(("promote", A), ("promote", B), ("roll_back", None, None, UNTIL))
    assert (lineup.live, lineup.challenger, lineup.watched_until_ms) == (A, None, None)


def test_a_canary_decides_beside_live_and_keeps_its_salt_when_its_share_changes() -> None:
    lineup = fold(("promote", A), canary(B), canary(B, 2_500))
    assert (lineup.live, lineup.canary) == (A, Canary(B, 2_500, "s"))
    assert lineup.needed == (A, B)
    assert (lineup.compared_at(0), lineup.shadows_at(0)) == (B, {A, B})
    assert fold(("promote", A), canary(B), canary(B, 2_500, "t")).canary == Canary(B, 100, "s")
    assert fold(("promote", A), canary(B), canary(C)).canary == Canary(B, 100, "s")
    assert fold(canary(B)).canary is None
    assert fold(("promote", A), canary(A)).canary is None
    assert fold(("promote", A), canary(B), ("end_canary", None)).canary is None


def test_a_canary_ends_a_watch_and_takes_its_model_out_of_the_shadow_and_of_quarantine() -> None:
    assert fold(("promote", A), watched(B), canary(C)).challenger is None
    assert fold(("promote", A), ("challenge", B), canary(B)).challenger is None
    named = fold(("promote", A), ("challenge", C), canary(B))
    assert (named.challenger, named.compared_at(0), named.shadows_at(0)) == (C, C, {C})
    assert fold(("promote", A), ("promote", B), ("demote", None), canary(B)).quarantined == frozenset()
    assert fold(("promote", A), canary(B), ("challenge", B)).challenger is None


def test_limits_hold_whichever_models_decide_until_they_are_set_again() -> None:
    def limits(cap: float) -> Event:
        return accepted(1, "limits", limits=Limits(cap))

    lineup = follow(START, limits(0.02))
    assert (START.decline_cap, lineup.revision, lineup.decline_cap) == (None, 1, DeclineCap(0.02))
    steps = (("promote", A), ("promote", B), canary(C), ("demote", None), ("roll_back", None), ("challenge", B))
    for number, step in enumerate(steps, start=2):
        fields = dict(zip(("share_bp", "salt"), step[4:], strict=False))
        lineup = follow(lineup, accepted(number, *step[:4], **fields))
        assert (lineup.revision, lineup.decline_cap) == (number, DeclineCap(0.02))
    off = follow(lineup, replace(limits(1), revision=8, command_id="c-8"))
    assert (off.revision, off.limits, off.decline_cap, off.live) == (8, Limits(1.0), None, A)
    assert follow(off, replace(limits(1), limits=None, revision=9, command_id="c-9")).revision == 8


@pytest.mark.parametrize(("kind", "quarantined"), [("roll_back", set()), ("demote", {B}), ("end_canary", set())])
def test_what_goes_back_during_a_canary_ends_it_and_leaves_live_as_it_is(kind: Any, quarantined: Any) -> None:
    lineup = fold(("promote", C), ("promote", A), canary(B), (kind, None))
    assert (lineup.live, lineup.canary, lineup.previous) == (A, None, (C,))
    assert lineup.quarantined == quarantined


def test_only_the_canarys_model_is_promoted_while_it_runs_and_its_predecessor_is_watched() -> None:
    lineup = fold(("promote", A), canary(B), watched(B))
    assert (lineup.live, lineup.canary, lineup.challenger_at(0), lineup.rollback_target) == (B, None, A, A)
    assert fold(("promote", A), canary(B), ("promote", C)).live == A


LIVE_AND_BEFORE = ("promote", C), ("promote", A)


def test_a_split_divides_the_cards_among_its_arms_in_the_order_of_their_names() -> None:
    lineup = follow_split(fold(("promote", A)), {"b": C, "a": B}, exclude=("card-9", "card-1"))
    split = Split((Arm("a", B, 1_000), Arm("b", C, 1_000)), "s", ExcludedCards.of(["card-1", "card-9"], None))
    assert (lineup.live, lineup.split, lineup.arms) == (A, split, split)
    assert (lineup.needed, lineup.deciding) == ((A, B, C), {A, B, C})
    assert (lineup.compared_at(0), lineup.shadows_at(0), lineup.climbing) == (None, frozenset(), None)
    assert fold(("promote", A), canary(B)).arms == Canary(B, 100, "s").split
    hidden = hashed("card-1", "card-9")
    by_hash = follow_split(
        fold(("promote", A)), {"b": C, "a": B}, exclude=hidden.entries, exclude_key_check=hidden.key_check
    )
    assert by_hash.split == split._replace(exclude=hidden), "which key this process has does not matter here"


def test_one_arm_may_have_the_live_model() -> None:
    lineup = follow_split(fold(*LIVE_AND_BEFORE), {"control": A, "new": B})
    assert (lineup.needed, lineup.deciding) == ((A, B, C), {A, B})
    assert end_split(lineup, "control", A).previous == (C,)
    demoted = follow(lineup, accepted(4, "demote"))
    assert (demoted.live, demoted.split, demoted.quarantined) == (A, None, {B})


@pytest.mark.parametrize(
    "fields",
    [
        {"arms": None, "salt": "s"},
        {"arms": {}, "salt": "s"},
        {"arms": arms({"a": B}), "salt": None},
        {"arms": arms({"live": B}), "salt": "s"},
        {"arms": arms({"a": B, "b": C}, 5_001), "salt": "s"},
    ],
)
def test_an_event_that_declares_no_split_is_void(fields: Any) -> None:
    lineup = fold(("promote", A))
    assert follow(lineup, accepted(2, "split", **fields)) is lineup


def test_a_split_a_canary_and_a_rollout_exclude_each_other() -> None:
    live = fold(("promote", A))
    beside = fold(("promote", A), canary(B))
    assert follow_split(START, {"a": B}) is START
    assert follow_split(beside, {"a": C}) is beside
    split = follow_split(live, {"a": B})
    assert follow_split(split, {"a": B}) is split
    for kind in ("canary", "rollout"):
        ladder = Ladder.parse("1% 1h, 100%").rungs if kind == "rollout" else None
        assert follow(split, accepted(3, kind, B, share_bp=100, salt="s", ladder=ladder, guards={})) is split
    for kind in ("end_canary", "pause", "resume"):
        assert follow(split, accepted(3, kind)) is split


def test_a_split_ends_a_watch_and_takes_its_models_out_of_the_shadow_and_of_quarantine() -> None:
    assert follow_split(fold(("promote", A), watched(B)), {"a": C}).challenger is None
    named = fold(("promote", A), ("challenge", B))
    assert follow_split(named, {"a": B}).challenger is None
    kept = follow_split(named, {"a": C})
    assert (kept.challenger, kept.compared_at(0), kept.shadows_at(0)) == (B, B, {B})
    assert follow(kept, accepted(4, "challenge", C)) is kept
    assert follow_split(fold(("promote", A), ("promote", B), ("demote", None)), {"a": B}).quarantined == frozenset()


def test_an_arm_that_wins_is_a_promotion_for_what_was_live_before() -> None:
    lineup = follow_split(fold(*LIVE_AND_BEFORE), {"a": B, "b": C})
    won = end_split(lineup, "a", B, watch_until=UNTIL)
    assert (won.live, won.split, won.previous, won.challenger_at(0)) == (B, None, (C, A), A)
    assert follow(won, accepted(5, "roll_back")).live == A
    assert end_split(lineup, "b", C).live == C
    promoted = follow(lineup, accepted(4, "promote", B))
    assert (promoted.live, promoted.split, promoted.previous) == (B, None, (C, A))


def test_a_split_that_live_wins_leaves_everything_as_it_was() -> None:
    before = fold(*LIVE_AND_BEFORE)
    ended = end_split(follow_split(before, {"a": B}), "live")
    assert (ended.live, ended.split, ended.previous, ended.live_since) == (A, None, (C,), before.live_since)


@pytest.mark.parametrize(("winner", "model"), [("c", None), ("a", C), ("a", None), ("live", B), (None, None)])
def test_an_end_that_names_no_arm_or_another_model_is_void(winner: Any, model: Any) -> None:
    lineup = follow_split(fold(("promote", A)), {"a": B})
    assert end_split(lineup, winner, model) is lineup
    assert end_split(fold(("promote", A)), "live").revision == 1


@pytest.mark.parametrize(("kind", "quarantined"), [("roll_back", set()), ("demote", {B, C})])
def test_what_goes_back_during_a_split_ends_it_and_leaves_live_as_it_is(kind: Any, quarantined: Any) -> None:
    lineup = follow(follow_split(fold(*LIVE_AND_BEFORE), {"a": B, "b": C}), accepted(4, kind))
    assert (lineup.live, lineup.split, lineup.quarantined) == (A, None, quarantined)
    assert lineup.previous == (() if quarantined else (C,))


def test_only_the_model_of_an_arm_is_promoted_during_a_split() -> None:
    lineup = follow_split(fold(("promote", A)), {"a": B})
    for event in (accepted(3, "promote", C), accepted(3, "promote", A), back_to(C, "2026-01-01T00:00:00.000Z", 3)):
        assert follow(lineup, event) is lineup


@st.composite
def logs(draw: st.DrawFn) -> list[Event]:
    """Logs in which most acceptances name the next revision, and some a stale or a future one."""
    lineup, log = START, []
    for _ in range(draw(st.integers(0, 30))):
        step = draw(st.sampled_from([1, 1, 1, 1, 0, 2]))
        kind = draw(st.sampled_from([kind.value for kind in CommandKind]))
        command_id = f"c-{draw(st.integers(0, 99))}"
        model, until = draw(st.none() | st.sampled_from(MODELS)), draw(st.sampled_from([None, UNTIL]))
        share = draw(
            st.fixed_dictionaries({"share_bp": st.none() | st.integers(1, 9_999), "salt": st.sampled_from("st")})
        )
        named = draw(st.dictionaries(st.sampled_from(["a", "b", "live"]), st.sampled_from(MODELS), max_size=2))
        divided = {"arms": arms(named, draw(st.sampled_from([1, 5_000, 5_001]))), "winner": draw(WINNERS)}
        event = accepted(lineup.revision + step, kind, model, command_id, until, **share, **divided)
        log.append(event)
        lineup = follow(lineup, event)
    return log


WINNERS = st.sampled_from(["a", "b", "live", None])


def back_to(model: Any, time: Any, revision: Any) -> Any:
    return accepted(revision, "promote", model, to=time)


def test_a_roll_back_to_a_time_is_told_as_a_promotion_of_what_was_live_then() -> None:
    lineup = fold(("promote", A), ("promote", B), ("promote", C))
    lineup = follow(lineup, back_to(A, "2026-01-01T00:00:00.000Z", 4))
    assert (lineup.live, lineup.previous, lineup.challenger) == (A, (A, B, C), None)
    assert follow(lineup, accepted(5, "roll_back")).live == C
    assert follow(fold(("promote", A), canary(B)), back_to(C, "2026-01-01T00:00:00.000Z", 3)).live == A


@given(logs())
def test_the_model_that_was_live_at_a_time_is_that_of_the_last_change_before_it(events: Any) -> None:
    lineup, changes = START, []
    for second, event in enumerate(events):
        at_ms = WATCH_MS + second * 1_000
        after = follow(lineup, replace(event, at=format_time(at_ms)))
        if after.live != lineup.live:
            changes.append((at_ms, after.live))
        lineup = after
    for time_ms in range(WATCH_MS - 500, WATCH_MS + len(events) * 1_000, 500):
        expected = [live for at_ms, live in changes if at_ms <= time_ms]
        assert lineup.live_since.at(time_ms) == (expected[-1] if expected else None)


def test_a_demoted_model_is_quarantined_and_no_longer_a_previous_model() -> None:
    lineup = fold(("promote", A), ("promote", B), ("promote", A), ("promote", B), ("demote", None))
    assert (lineup.live, lineup.previous, lineup.quarantined) == (A, (), {B})
    assert fold(("promote", A), ("promote", B), ("demote", None), ("promote", B)).quarantined == frozenset()


def test_an_event_with_a_stale_or_future_revision_is_void() -> None:
    lineup = fold(("promote", A))
    assert follow(lineup, accepted(1, "promote", B, "other")) is lineup
    assert follow(lineup, accepted(3, "promote", B, "other")) is lineup


def test_the_first_answer_to_a_command_is_kept() -> None:
    refusal = control_events.event("refused", 0, "e", command_id="c")
    refused = follow(START, refusal)
    assert refused.answers["c"] == refusal
    assert refused.revision == 0
    assert follow(refused, accepted(1, "promote", A, "c")) is refused


@pytest.mark.parametrize("kind", ["ready", "not_ready", "candidate", "cutover", "shadow"])
def test_events_of_other_kinds_or_deployments_change_nothing(kind: Any) -> None:
    other = control_events.event(kind, 1, "e", command_id="c", command=CommandKind.PROMOTE, model=A)
    assert follow(START, other) is START
    assert follow(Lineup("other"), accepted(1, "promote", A)) == Lineup("other")


@given(logs())
def test_the_revision_never_falls_and_rises_one_by_one(events: Any) -> None:
    lineup = START
    for event in events:
        after = follow(lineup, event)
        assert after.revision in {lineup.revision, lineup.revision + 1}
        assert set(lineup.answers) <= set(after.answers)
        check_invariants(after)
        lineup = after


@given(logs())
def test_repeated_events_give_the_same_lineup_and_a_second_read_keeps_all_answers(events: Any) -> None:
    once = reduce(follow, events, START)
    repeated = reduce(follow, [event for event in events for _ in range(2)], START)
    assert once == repeated
    # Read a second time, a void event may have the next revision and count; an answer never changes.
    again = reduce(follow, events, once)
    assert {command_id: again.answers[command_id] for command_id in once.answers} == dict(once.answers)


def command_of(number: Any, kind: Any, model: Any, revision: Any) -> Any:
    return control_events.command(
        kind,
        model if kind in NAMES_A_MODEL else None,
        command_id=f"c-{number}",
        expected_revision=revision,
        share_bp=1 + number if kind is CommandKind.CANARY else None,
        ladder=Ladder.parse("1% 1h, 100%").rungs if kind is CommandKind.ROLLOUT else None,
        arms={"a": RequestedArm(model, 1 + number)} if kind is CommandKind.SPLIT else None,
        winner="ab"[number % 2] if kind is CommandKind.END_SPLIT else None,
        force=True,
    )


def fleet_of(command: Any, target: Any) -> Fleet:
    """Return a fleet that holds what a command needs."""
    held = {name: HeldArtifact(arm.model, "f") for name, arm in (command.arms or {}).items()}
    return Fleet(frozenset({"f"}), frozenset(), HeldArtifact(target, "f") if target else (), arms=held)


COMMAND_FIELDS = st.lists(
    st.tuples(st.sampled_from([*CommandKind]), st.sampled_from(MODELS), st.integers(0, 4)), max_size=12
)


@given(COMMAND_FIELDS, st.data())
def test_two_judges_whose_verdicts_interleave_make_one_sequence_of_revisions(command_fields: Any, data: Any) -> None:
    """Each judge reads the log up to some offset, then writes; readers fold all verdicts in the order of the log."""
    log = []
    commands = [command_of(number, *parts) for number, parts in enumerate(command_fields)]
    for turn in range(2 * len(commands)):
        seen = data.draw(st.integers(max(0, len(log) - 3), len(log)))
        lineup = reduce(follow, log[:seen], START)
        command = replace(commands[turn // 2], expected_revision=lineup.revision)
        target = artifact_needed(lineup, command)
        watch_ms = data.draw(st.sampled_from([0, 1000]))
        fleet = replaced(fleet_of(command, target), watch_ms=watch_ms)
        verdict = judge(lineup, command, fleet, 0)
        log.append(verdict_event(command, verdict, lineup.revision, Origin(f"e-{turn}", f"judge-{turn % 2}", 0)))
    lineup, revisions = START, []
    for event in log:
        after = follow(lineup, event)
        if after.revision != lineup.revision:
            revisions.append(after.revision)
        check_invariants(after)
        lineup = after
    assert revisions == list(range(1, lineup.revision + 1))
    assert set(lineup.answers) <= {command.command_id for command in commands}


@given(COMMAND_FIELDS)
def test_a_command_that_a_single_judge_accepts_is_never_void(command_fields: Any) -> None:
    lineup = START
    for number, parts in enumerate(command_fields):
        kind, model, behind = parts
        command = command_of(number, kind, model, max(0, lineup.revision - behind // 4))
        target = artifact_needed(lineup, command)
        fleet = fleet_of(command, target)
        verdict = judge(lineup, command, fleet, 0)
        after = follow(lineup, verdict_event(command, verdict, lineup.revision, Origin("e", "w", 0)))
        changes = isinstance(verdict, Accepted) and kind not in LEAVES_REVISION
        assert after.revision == lineup.revision + changes
        assert command.command_id in after.answers
        lineup = after


def test_candidates_collect_answers_until_the_judges_verdict() -> None:
    def said(kind: EventKind, worker: str, **fields: Any) -> Event:
        return control_events.event(kind, 0, "e", worker=worker, command_id="c-1", **fields)

    candidates = Candidates("default")
    assert follow_candidates(candidates, said(EventKind.READY, "w1", model=A, probe_hash=C)) == candidates
    candidates = follow_candidates(candidates, said(EventKind.CANDIDATE, "judge", model=A))
    candidates = follow_candidates(candidates, said(EventKind.NOT_READY, "w1", model=A))
    candidates = follow_candidates(candidates, said(EventKind.READY, "w1", model=A, probe_hash=C))
    candidates = follow_candidates(candidates, said(EventKind.READY, "w2", model=B, probe_hash=C))
    assert candidates.pending["c-1"].model == A
    assert {worker: answer.probe_hash for worker, answer in candidates.answers_to("c-1").items()} == {"w1": C}
    assert (candidates.deciders(), candidates.challengers()) == ({"c-1": {A}}, {})
    asked = follow_candidates(candidates, said(EventKind.CANDIDATE, "judge", model=C, command=CommandKind.CHALLENGE))
    assert asked == candidates
    candidates = follow_candidates(candidates, said(EventKind.REFUSED, "judge"))
    assert candidates == Candidates("default")
    assert dict(candidates.answers_to("c-1")) == {}
    candidates = follow_candidates(
        candidates, said(EventKind.CANDIDATE, "judge", model=C, command=CommandKind.CHALLENGE)
    )
    candidates = follow_candidates(candidates, said(EventKind.READY, "w1", model=C, probe_hash=C))
    assert (candidates.challengers(), candidates.deciders()) == ({"c-1": C}, {})
