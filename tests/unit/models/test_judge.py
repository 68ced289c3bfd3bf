from dataclasses import replace
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace as replace_struct

from guards.excluded import ExcludedCards
from models.arms import Arm, Canary, Split
from models.command_decoder import argument_problems, read_command
from models.commands import (
    CAPABILITIES,
    AcceptedArm,
    Capability,
    CommandKind,
    EventKind,
    RequestedArm,
    encode,
    read_event,
)
from models.judge import Accepted, Answered, Fleet, HeldArtifact, Refused, Waiting, judge
from models.let_through import LetThrough, LetThroughWish
from models.limits import Limits
from models.lineup import Answer, Lineup, artifact_needed
from models.persistent import LiveSince
from models.problems import Problem, ProblemCode
from models.rollouts import Freeze
from models.times import format_time
from models.verdict_events import Origin, verdict_event
from support import control_events
from support.hashed_cards import OTHER_KEY, check_by_the_contract, hashed

A, B, C = ("a" * 64, "b" * 64, "c" * 64)
ISSUED, EXPIRES = 1_767_225_600_000, 1_767_225_660_000
LIVE = Lineup("default", revision=4, live=A, challenger=C, previous=(B,), quarantined=frozenset({"d" * 64}))


def command(kind: Any = "promote", model: Any = B, revision: Any = 4, **changes: Any) -> Any:
    return control_events.command(kind, model, expected_revision=revision, **changes)


def fleet(digest: Any = B, *, members: Any = ("w1", "w2"), fingerprint: Any = "f", **answers: Any) -> Any:
    return Fleet(
        fingerprints=frozenset({"f"}),
        members=frozenset(members),
        artifact=HeldArtifact(digest, fingerprint) if digest else (),
        answers={
            worker: Answer(answer) if isinstance(answer, str) else Answer(None, answer)
            for worker, answer in answers.items()
        },
    )


def codes(verdict: Any) -> Any:
    assert isinstance(verdict, Refused)
    return [problem.code for problem in verdict.problems]


def test_a_promotion_waits_until_every_member_is_ready() -> None:
    assert judge(LIVE, command(), fleet(), ISSUED) == Waiting(B, ("w1", "w2"))
    assert judge(LIVE, command(), fleet(w1="h"), ISSUED) == Waiting(B, ("w2",))
    assert judge(LIVE, command(), fleet(w1="h", w2="h"), ISSUED) == Accepted(5, B)


def test_a_promotion_in_a_group_without_members_waits() -> None:
    assert judge(LIVE, command(), fleet(members=()), ISSUED) == Waiting(B, ())


def test_a_worker_that_left_the_group_is_ignored() -> None:
    assert judge(LIVE, command(), fleet(members=("w1",), w1="h", w2="other"), ISSUED) == Accepted(5, B)


@pytest.mark.parametrize(("field", "text"), [("actor", "ann\nbob"), ("reason", "fine\x1b[2J"), ("reason", "\u202e")])
def test_a_text_that_could_write_over_other_lines_is_refused_and_its_command_can_be_read(field: str, text: str) -> None:
    asked = replace_struct(command(force=True), **{field: text})
    verdict = judge(LIVE, asked, fleet(), ISSUED)
    assert codes(verdict) == [ProblemCode.INVALID_FIELD]
    (problem,) = verdict.problems  # type: ignore[union-attr]
    place = next(at for at, one in enumerate(text, 1) if not one.isprintable())
    assert problem.detail == f"{field}: character {place}, U+{ord(text[place - 1]):04X}, is no glyph; leave it out"
    assert read_command(encode(asked)) == asked, "those of earlier versions stay readable"
    assert [one.detail for one in argument_problems({field: text})] == [problem.detail]


def test_force_skips_the_wait() -> None:
    assert judge(LIVE, command(force=True), fleet(), ISSUED) == Accepted(5, B)


def test_a_promotion_is_refused_with_each_workers_problems_once_all_have_answered() -> None:
    damaged = (Problem(ProblemCode.DAMAGED_ARTIFACT, "cut short"),)
    assert judge(LIVE, command(), fleet(w1=damaged), ISSUED) == Waiting(B, ("w2",))
    verdict = judge(LIVE, command(), fleet(w1=damaged, w2=()), ISSUED)
    assert isinstance(verdict, Refused)
    assert [problem.detail for problem in verdict.problems] == ["w1: damaged_artifact: cut short", "w2: gave no reason"]


def test_differing_probe_hashes_are_refused() -> None:
    assert codes(judge(LIVE, command(), fleet(w1="h1", w2="h2"), ISSUED)) == [ProblemCode.PROBE_MISMATCH]


def test_a_command_expires_at_its_time_and_the_refusal_names_workers_without_an_answer() -> None:
    verdict = judge(LIVE, command(), fleet(w1="h"), EXPIRES)
    assert codes(verdict) == [ProblemCode.EXPIRED]
    assert isinstance(verdict, Refused)
    assert "no answer from w2" in verdict.problems[0].detail
    assert isinstance(judge(LIVE, command(), fleet(w1="h"), EXPIRES - 1), Waiting)
    assert codes(judge(LIVE, command("withdraw", None), fleet(None), EXPIRES)) == [ProblemCode.EXPIRED]


def test_all_problems_are_returned_at_once() -> None:
    verdict = judge(LIVE, command(model="d" * 64, revision=3), fleet("d" * 64, fingerprint="other"), EXPIRES)
    assert codes(verdict) == [
        ProblemCode.WRONG_REVISION,
        ProblemCode.QUARANTINED,
        ProblemCode.WRONG_FINGERPRINT,
        ProblemCode.EXPIRED,
    ]


@pytest.mark.parametrize(
    ("wish", "seen", "code"),
    [
        (command(revision=5), fleet(), ProblemCode.WRONG_REVISION),
        (command(model=A), fleet(A), ProblemCode.ALREADY_LIVE),
        (command("challenge", A), fleet(A), ProblemCode.ALREADY_LIVE),
        (command("challenge", C), fleet(C), ProblemCode.ALREADY_CHALLENGER),
        (command(), fleet(None), ProblemCode.UNKNOWN_MODEL),
        (command("challenge", "d" * 64), fleet("d" * 64), ProblemCode.QUARANTINED),
        (command("roll_back", None), fleet(fingerprint="other"), ProblemCode.WRONG_FINGERPRINT),
    ],
)
def test_an_impossible_command_is_refused_with_the_code_of_its_problem(wish: Any, seen: Any, code: Any) -> None:
    assert codes(judge(LIVE, wish, seen, ISSUED)) == [code]


def test_a_missing_live_or_previous_model_or_challenger_is_reported() -> None:
    first = Lineup("default", revision=4, live=A)
    assert codes(judge(first, command("roll_back", None), fleet(None), ISSUED)) == [ProblemCode.NOTHING_TO_ROLL_BACK]
    assert codes(judge(first, command("withdraw", None), fleet(None), ISSUED)) == [ProblemCode.NO_CHALLENGER]
    nothing = Lineup("default")
    assert codes(judge(nothing, command("demote", None, 0), fleet(None), ISSUED)) == [
        ProblemCode.NOTHING_LIVE,
        ProblemCode.NOTHING_TO_ROLL_BACK,
    ]


@pytest.mark.parametrize("kind", ["roll_back", "demote"])
def test_a_roll_back_or_demotion_does_not_wait_for_members(kind: Any) -> None:
    assert judge(LIVE, command(kind, None), fleet(B), ISSUED) == Accepted(5, B)


def test_force_lifts_a_quarantine() -> None:
    digest = "d" * 64
    assert judge(LIVE, command(model=digest, force=True), fleet(digest), ISSUED) == Accepted(5, digest)


def test_a_repeated_command_gets_its_first_answer_again() -> None:
    origin = Origin("e-1", "w1", ISSUED)
    first = verdict_event(command(), Accepted(5, B), 4, origin)
    assert (first.kind, first.revision, first.model) == (EventKind.ACCEPTED, 5, B)
    verdict = judge(Lineup("default", answers={"c-1": first}), command(revision=9), fleet(), EXPIRES)
    assert verdict == Answered(first)
    assert verdict_event(command(), verdict, 9, Origin("e-2", "w2", EXPIRES)) == first


@pytest.mark.parametrize(
    ("lineup", "changes", "until"),
    [
        (Lineup("default", revision=4, live=A), {}, ISSUED + 5_000),
        (Lineup("default", revision=4, live=A), {"watch_seconds": 60}, ISSUED + 60_000),
        (Lineup("default", revision=4, live=A), {"watch_seconds": 0}, None),
        (Lineup("default", revision=4, live=A, challenger=B), {}, ISSUED + 5_000),
        (Lineup("default", revision=4, live=A, challenger=C, previous=(C,), watched_until_ms=1), {}, ISSUED + 5_000),
        (LIVE, {}, None),
        (Lineup("default", revision=4), {}, None),
    ],
)
def test_a_promotion_is_watched_unless_another_challenger_is_there(lineup: Any, changes: Any, until: Any) -> None:
    seen = fleet(B, w1="h", w2="h")
    verdict = judge(lineup, command(**changes), replace(seen, watch_ms=5_000), ISSUED)
    assert verdict == Accepted(5, B, until)
    event = verdict_event(command(), verdict, 4, Origin("e-1", "w1", ISSUED))
    assert event.watch_until == (None if until is None else format_time(until))


def test_a_finished_watch_leaves_nothing_to_withdraw_and_a_watched_model_may_become_challenger() -> None:
    watched = Lineup("default", revision=4, live=A, challenger=B, previous=(B,), watched_until_ms=ISSUED + 1)
    assert judge(watched, command("withdraw", None), fleet(None), ISSUED) == Accepted(5, None)
    assert codes(judge(watched, command("withdraw", None), fleet(None), ISSUED + 1)) == [ProblemCode.NO_CHALLENGER]
    assert judge(watched, command("challenge"), fleet(w1="h", w2="h"), ISSUED) == Accepted(5, B)


@pytest.mark.parametrize("kind", ["roll_back", "demote"])
def test_the_way_back_needs_no_repository_but_is_refused_to_a_model_that_could_not_be_loaded(kind: Any) -> None:
    away = (Problem(ProblemCode.REPOSITORY_UNAVAILABLE, "no answer"),)
    damaged = (Problem(ProblemCode.DAMAGED_ARTIFACT, "cut short"),)
    back = command(kind, None)
    loading = fleet(None)
    assert judge(LIVE, back, loading, ISSUED) == Accepted(5, B)
    assert judge(LIVE, back, replace(loading, artifact=away), ISSUED) == Accepted(5, B)
    assert judge(LIVE, back, replace(loading, artifact=damaged), ISSUED) == Refused(damaged, B)
    assert judge(LIVE, command(), replace(loading, artifact=away), ISSUED) == Refused(away)


# --- limits


def test_limits_are_accepted_at_once_whoever_is_live_and_the_event_has_all_of_them() -> None:
    for lineup in (LIVE, Lineup("default", 4), CANARY):
        sent = command("limits", None, decline_cap=0.02)
        verdict = judge(lineup, sent, fleet(None, members=()), ISSUED)
        assert verdict == Accepted(5, None, limits=Limits(0.02))
        event = verdict_event(sent, verdict, 4, Origin("e", "w1", ISSUED))
        assert (event.command, event.limits, event.model) == (CommandKind.LIMITS, Limits(0.02), None)
        assert msgspec.json.decode(encode(event))["limits"] == {"decline_cap": 0.02}
    late = judge(LIVE, command("limits", None, 3, decline_cap=1.0), fleet(None), ISSUED)
    assert codes(late) == [ProblemCode.WRONG_REVISION]


ASKED = LetThroughWish(50, {"EUR": 50_000})


def test_a_let_through_is_salted_with_its_command_and_its_caps_are_divided_by_the_partitions_of_that_moment() -> None:
    sent, twelve = command("limits", None, let_through=ASKED), replace(fleet(None), partitions=12)
    verdict = judge(LIVE, sent, twelve, ISSUED)
    expected = LetThrough(50, {"EUR": 50_000}, sent.command_id, 12)
    assert verdict == Accepted(5, None, limits=Limits(None, expected))
    event = verdict_event(sent, verdict, 4, Origin("e", "w1", ISSUED))
    assert read_event(encode(event)) == event
    assert msgspec.json.decode(encode(event))["limits"] == {"let_through": msgspec.to_builtins(expected)}
    salted = judge(LIVE, command("limits", None, let_through=replace_struct(ASKED, salt="s")), twelve, ISSUED)
    assert isinstance(salted, Accepted)
    assert salted.limits == Limits(None, replace_struct(expected, salt="s"))


def test_a_command_leaves_the_limits_that_it_does_not_name() -> None:
    rule = LetThrough(50, {"EUR": 50_000}, "s", 4)
    lineup = replace(LIVE, limits=Limits(0.02, rule))

    def after(**named: Any) -> Limits | None:
        verdict = judge(lineup, command("limits", None, **named), replace(fleet(None), partitions=2), ISSUED)
        assert isinstance(verdict, Accepted)
        return verdict.limits

    assert after(decline_cap=0.05) == Limits(0.05, rule)
    assert after(let_through=LetThroughWish(0)) == Limits(0.02)
    other = LetThroughWish(1, {"USD": 9}, "t")
    assert after(let_through=other) == Limits(0.02, LetThrough(1, {"USD": 9}, "t", 2))
    assert after(decline_cap=1.0, let_through=other) == Limits(1.0, LetThrough(1, {"USD": 9}, "t", 2))


def test_a_let_through_without_a_cap_or_with_one_that_leaves_a_partition_nothing_is_refused() -> None:
    for wish, detail in (
        (LetThroughWish(50), "let_through.caps: missing; without a cap in money nothing is let through"),
        (LetThroughWish(50, {"EUR": 11}), "let_through.caps.EUR: 11 in minor units is less than one for each of 12"),
    ):
        sent = command("limits", None, let_through=wish)
        verdict = judge(LIVE, sent, replace(fleet(None), partitions=12), ISSUED)
        assert isinstance(verdict, Refused)
        (problem,) = verdict.problems
        assert problem.code is ProblemCode.INVALID_FIELD
        assert problem.detail.startswith(detail)


# --- canary

CANARY = replace(LIVE, canary=Canary(B, 100, "s"), previous=(), challenger=None)


def test_a_canary_waits_for_the_members_and_is_salted_with_its_command() -> None:
    start = command("canary", share_bp=100)
    assert judge(LIVE, start, fleet(w1="h"), ISSUED) == Waiting(B, ("w2",))
    assert judge(LIVE, start, fleet(w1="h", w2="h"), ISSUED) == Accepted(5, B, share_bp=100, salt="c-1")
    salted = command("canary", share_bp=100, salt="r-1")
    verdict = judge(LIVE, salted, fleet(w1="h", w2="h"), ISSUED)
    event = verdict_event(salted, verdict, 4, Origin("e", "w1", ISSUED))
    assert (event.model, event.share_bp, event.salt, event.revision) == (B, 100, "r-1", 5)


def test_a_ramp_keeps_the_salt() -> None:
    ready = fleet(w1="h", w2="h")
    accepted = Accepted(5, B, share_bp=500, salt="s")
    assert judge(CANARY, command("canary", share_bp=500), ready, ISSUED) == accepted
    assert judge(CANARY, command("canary", share_bp=500, salt="s"), ready, ISSUED) == accepted
    assert codes(judge(CANARY, command("canary", share_bp=500, salt="t"), ready, ISSUED)) == [ProblemCode.INVALID_FIELD]
    assert codes(judge(CANARY, command("canary", share_bp=100), ready, ISSUED)) == [ProblemCode.CANARY_RUNNING]


@pytest.mark.parametrize(
    ("kind", "model", "code"),
    [
        ("canary", C, ProblemCode.CANARY_RUNNING),
        ("canary", A, ProblemCode.ALREADY_LIVE),
        ("promote", C, ProblemCode.CANARY_RUNNING),
        ("promote", A, ProblemCode.ALREADY_LIVE),
        ("challenge", B, ProblemCode.CANARY_RUNNING),
    ],
)
def test_beside_a_canary_no_other_model_may_decide(kind: Any, model: Any, code: Any) -> None:
    share = {"share_bp": 200} if kind == "canary" else {}
    verdict = judge(CANARY, command(kind, model, **share), fleet(model, w1="h", w2="h"), ISSUED)
    assert codes(verdict) == [code]


def test_a_canarys_model_may_be_promoted_and_another_challenged() -> None:
    assert judge(CANARY, command("promote", B), fleet(B, w1="h", w2="h"), ISSUED) == Accepted(5, B)
    assert judge(CANARY, command("challenge", C), fleet(C, w1="h", w2="h"), ISSUED) == Accepted(5, C)


@pytest.mark.parametrize("kind", ["roll_back", "demote", "end_canary"])
def test_a_canary_is_ended_at_once_without_a_model_before_or_a_repository(kind: Any) -> None:
    assert judge(CANARY, command(kind, None), fleet(None), ISSUED) == Accepted(5, None)


def test_there_is_no_canary_without_live_none_to_end_and_none_of_a_quarantined_model() -> None:
    nothing, ready = Lineup("default", revision=4), fleet(w1="h", w2="h")
    assert codes(judge(nothing, command("canary", share_bp=1), ready, ISSUED)) == [ProblemCode.NOTHING_LIVE]
    assert codes(judge(LIVE, command("end_canary", None), fleet(None), ISSUED)) == [ProblemCode.NO_CANARY]
    demoted = command("canary", "d" * 64, share_bp=1)
    assert codes(judge(LIVE, demoted, fleet("d" * 64, w1="h", w2="h"), ISSUED)) == [ProblemCode.QUARANTINED]


# --- split

RUNNING = Split((Arm("a", B, 1_000), Arm("b", C, 500)), "s")
SPLIT = replace(LIVE, split=RUNNING, challenger=None)
HELD = {"a": HeldArtifact(B, "f"), "b": HeldArtifact(C, "f")}
TWO_ARMS = {"b": RequestedArm("cccccccc", 500), "a": RequestedArm(B, 1_000)}


def start(arms: Any = TWO_ARMS, **changes: Any) -> Any:
    return command("split", None, arms=arms, **changes)


def holding(held: Any = HELD, **answers: Any) -> Fleet:
    return replace(fleet(None, **answers), arms=held)


def test_a_split_waits_for_the_members_with_all_its_models_and_is_salted_with_its_command() -> None:
    split = Split(RUNNING.arms, "c-1")
    waiting = judge(LIVE, start(), holding(w1="h"), ISSUED)
    assert waiting == Waiting(None, ("w2",), split)
    verdict = judge(LIVE, start(exclude=("card-2", "card-1")), holding(w1="h", w2="h"), ISSUED)
    excluding = split._replace(exclude=ExcludedCards.of(["card-1", "card-2"], None))
    assert verdict == Accepted(5, None, salt="c-1", split=excluding)
    salted = judge(LIVE, start(salt="r-1"), holding(w1="h", w2="h"), ISSUED)
    assert salted == Accepted(5, None, salt="r-1", split=Split(RUNNING.arms, "r-1"))
    origin = Origin("e", "w1", ISSUED)
    asked, event = verdict_event(start(), waiting, 4, origin), verdict_event(start(), verdict, 4, origin)
    full = {"a": AcceptedArm(B, 1_000), "b": AcceptedArm(C, 500)}
    assert (asked.kind, asked.model, asked.arms) == (EventKind.CANDIDATE, None, full)
    assert (event.model, event.arms, event.salt, event.exclude) == (None, full, "c-1", ("card-1", "card-2"))
    assert read_event(encode(event)) == event


def test_everything_that_prevents_a_split_is_named_at_once_with_its_arm() -> None:
    held = {"a": HeldArtifact("d" * 64, "other"), "b": (Problem(ProblemCode.AMBIGUOUS_MODEL, "2 begin with c"),)}
    verdict = judge(CANARY, start(TWO_ARMS | {"c": RequestedArm("e" * 64, 1)}, revision=3), holding(held), ISSUED)
    assert isinstance(verdict, Refused)
    assert [(problem.code, problem.detail.partition(":")[0]) for problem in verdict.problems] == [
        (ProblemCode.WRONG_REVISION, "the command expects revision 3, the current one is 4"),
        (
            ProblemCode.CANARY_RUNNING,
            f"{B} is the canary, at 1%; end it first, by `fraudstream model end-canary`",
        ),
        (ProblemCode.QUARANTINED, "arm a"),
        (ProblemCode.WRONG_FINGERPRINT, "arm a"),
        (ProblemCode.AMBIGUOUS_MODEL, "arm b"),
        (ProblemCode.UNKNOWN_MODEL, "arm c"),
    ]
    nothing = judge(Lineup("default", 4), start(), holding(w1="h", w2="h"), ISSUED)
    assert codes(nothing) == [ProblemCode.NOTHING_LIVE]


HIDDEN = hashed("card-1", "card-2")
CHECK = check_by_the_contract()


def hiding(**changes: Any) -> Any:
    return start(exclude=HIDDEN.entries, exclude_key_check=HIDDEN.key_check, **changes)


def announced(*names: str, key_check: Any = CHECK) -> Fleet:
    """Return a fleet of two ready members, some of which have announced what they can do."""
    seen = replace(holding(w1="h", w2="h"), exclude_key_check=key_check)
    return replace(seen, can={"w2": (), "w9": CAPABILITIES} | dict.fromkeys(names, CAPABILITIES))


def test_hashed_cards_are_excluded_with_the_check_value_of_their_key_on_the_record() -> None:
    seen = announced("w1", "w2")
    waiting = judge(LIVE, hiding(), replace(seen, answers={}), ISSUED)
    verdict = judge(LIVE, hiding(), seen, ISSUED)
    assert verdict == Accepted(5, None, salt="c-1", split=Split(RUNNING.arms, "c-1", HIDDEN))
    for given in (waiting, verdict):
        event = verdict_event(hiding(), given, 4, Origin("e", "w1", ISSUED))
        assert (event.exclude, event.exclude_key_check) == (HIDDEN.entries, CHECK)
        assert read_event(encode(event)) == event


@pytest.mark.parametrize(
    ("names", "named"), [((), "exclude: w1, w2 have not announced"), (("w1",), "exclude: w2 have not announced")]
)
@pytest.mark.parametrize("force", [False, True])
def test_hashed_cards_are_refused_while_a_member_has_not_announced_that_it_knows_them(
    names: tuple[str, ...], named: str, *, force: bool
) -> None:
    """It would be of an earlier version, which excludes nobody by them."""
    verdict = judge(LIVE, hiding(force=force), announced(*names), ISSUED)
    assert isinstance(verdict, Refused)
    assert codes(verdict) == [ProblemCode.OLDER_WORKERS]
    assert verdict.problems[0].detail.startswith(named)
    assert f"({Capability.HASHED_EXCLUDE})" in verdict.problems[0].detail
    assert isinstance(judge(LIVE, start(force=force), announced(*names), ISSUED), Accepted), "nobody is excluded"


@pytest.mark.parametrize(
    ("asked", "own", "detail"),
    [
        (
            start(exclude=("card-1",)),
            CHECK,
            "exclude: ids of cards, which the topics keep for ever, where",
        ),
        (hiding(), None, "exclude: hashed, and the workers have no hash key"),
        (hiding(), check_by_the_contract(OTHER_KEY), "exclude: hashed with another key than that of the workers"),
    ],
    ids=["ids", "no key", "another key"],
)
def test_cards_that_are_not_named_by_the_deployments_key_are_refused(asked: Any, own: Any, detail: str) -> None:
    verdict = judge(LIVE, asked, announced("w1", "w2", key_check=own), ISSUED)
    assert isinstance(verdict, Refused)
    assert codes(verdict) == [ProblemCode.OTHER_HASH_KEY]
    assert verdict.problems[0].detail.startswith(detail)
    assert "FRAUDSTREAM_HASH_KEY_FILE" in verdict.problems[0].detail


@pytest.mark.parametrize(
    ("kind", "model", "code"),
    [
        ("canary", B, ProblemCode.SPLIT_RUNNING),
        ("canary", "e" * 64, ProblemCode.SPLIT_RUNNING),
        ("rollout", B, ProblemCode.SPLIT_RUNNING),
        ("promote", "e" * 64, ProblemCode.SPLIT_RUNNING),
        ("promote", A, ProblemCode.ALREADY_LIVE),
        ("challenge", B, ProblemCode.SPLIT_RUNNING),
        ("challenge", A, ProblemCode.ALREADY_LIVE),
    ],
)
def test_beside_a_split_no_other_model_may_decide(kind: Any, model: Any, code: Any) -> None:
    fields = {"share_bp": 200} if kind == "canary" else {}
    verdict = judge(SPLIT, command(kind, model, **fields), fleet(model, w1="h", w2="h"), ISSUED)
    assert codes(verdict) == [code]
    if code is ProblemCode.SPLIT_RUNNING:
        assert "a split runs (a at 10%, b at 5%)" in verdict.problems[0].detail  # type: ignore[union-attr]


def test_a_second_split_and_the_end_of_a_canary_are_refused_with_what_to_do() -> None:
    again = judge(SPLIT, start(), holding(w1="h", w2="h"), ISSUED)
    assert codes(again) == [ProblemCode.SPLIT_RUNNING]
    ended = judge(SPLIT, command("end_canary", None), fleet(None), ISSUED)
    assert (codes(ended), ended.problems[0].detail) == (  # type: ignore[union-attr]
        [ProblemCode.NO_CANARY],
        "no canary runs; a split does: `fraudstream model end-split --winner live` ends it",
    )
    none = judge(CANARY, command("end_split", None, winner="live"), fleet(None), ISSUED)
    assert (codes(none), none.problems[0].detail) == (  # type: ignore[union-attr]
        [ProblemCode.NO_SPLIT],
        "no split runs; a canary does: `fraudstream model end-canary` ends it",
    )


def test_the_model_of_an_arm_may_be_promoted_and_one_of_none_challenged() -> None:
    assert judge(SPLIT, command("promote", B), fleet(B, w1="h", w2="h"), ISSUED) == Accepted(5, B)
    assert judge(SPLIT, command("challenge", "e" * 64), fleet("e" * 64, w1="h", w2="h"), ISSUED) == Accepted(
        5, "e" * 64
    )


def test_a_winner_is_accepted_at_once_and_watched_like_a_promotion() -> None:
    seen = replace(fleet(None, members=()), watch_ms=5_000)
    won = command("end_split", None, winner="a")
    verdict = judge(SPLIT, won, seen, ISSUED)
    assert verdict == Accepted(5, B, ISSUED + 5_000)
    event = verdict_event(won, verdict, 4, Origin("e", "w1", ISSUED))
    assert (event.command, event.winner, event.model) == (CommandKind.END_SPLIT, "a", B)
    assert judge(SPLIT, command("end_split", None, winner="live"), seen, ISSUED) == Accepted(5, None)
    named = replace(SPLIT, challenger="e" * 64)
    assert judge(named, won, seen, ISSUED) == Accepted(5, B)
    control = replace(SPLIT, split=Split((Arm("a", A, 1_000),), "s"))
    assert judge(control, won, seen, ISSUED) == Accepted(5, A)


def test_a_winner_that_is_no_arm_is_refused_with_the_names_of_the_arms() -> None:
    verdict = judge(SPLIT, command("end_split", None, winner="c"), fleet(None), ISSUED)
    assert (codes(verdict), verdict.problems[0].detail) == (  # type: ignore[union-attr]
        [ProblemCode.INVALID_FIELD],
        "winner: no arm is called 'c'; the arms are a, b and live",
    )


@pytest.mark.parametrize("kind", ["roll_back", "demote"])
def test_a_split_is_ended_at_once_without_a_model_before_or_a_repository(kind: Any) -> None:
    assert judge(replace(SPLIT, previous=()), command(kind, None), fleet(None), ISSUED) == Accepted(5, None)


def test_a_freeze_lets_a_guard_end_a_split_but_lets_no_arm_win() -> None:
    frozen, evidence = replace(SPLIT, frozen=Freeze()), {"guards": {}}
    ended = command("end_split", None, winner="live", evidence=evidence)
    assert judge(frozen, ended, fleet(None), ISSUED) == Accepted(5, None)
    won = judge(frozen, command("end_split", None, winner="a", evidence=evidence), fleet(None), ISSUED)
    assert codes(won) == [ProblemCode.FROZEN]
    hands_off = replace(SPLIT, frozen=Freeze(hands_off=True))
    assert codes(judge(hands_off, ended, fleet(None), ISSUED)) == [ProblemCode.FROZEN]


# --- back to a time

EARLIER = "2025-12-31T00:00:00.000Z"
PAST = replace(LIVE, live_since=LiveSince().with_added(ISSUED - 2 * 86_400_000, B).with_added(ISSUED - 1, A))


def test_a_roll_back_to_a_time_waits_for_the_members_like_a_promotion() -> None:
    back = command("roll_back", None, to=EARLIER)
    assert artifact_needed(PAST, back) == B
    assert judge(PAST, back, fleet(B, w1="h"), ISSUED) == Waiting(B, ("w2",))
    verdict = judge(PAST, back, fleet(B, w1="h", w2="h"), ISSUED)
    assert verdict == Accepted(5, B)
    event = verdict_event(back, verdict, 4, Origin("e", "w1", ISSUED))
    assert (event.command, event.model, event.to) == (CommandKind.PROMOTE, B, EARLIER)
    waits = verdict_event(back, Waiting(B, ("w2",)), 4, Origin("e", "w1", ISSUED))
    assert waits.command is CommandKind.PROMOTE


@pytest.mark.parametrize(
    ("time", "lineup", "code"),
    [
        ("2026-01-01T00:00:00.000Z", PAST, ProblemCode.ALREADY_LIVE),
        ("2025-01-01T00:00:00.000Z", PAST, ProblemCode.NOTHING_TO_ROLL_BACK),
        ("2026-01-01T00:00:00.001Z", PAST, ProblemCode.INVALID_FIELD),
        (EARLIER, replace(PAST, quarantined=frozenset({B}), previous=()), ProblemCode.QUARANTINED),
        (EARLIER, replace(PAST, canary=Canary(C, 100, "s"), challenger=None), ProblemCode.CANARY_RUNNING),
        (EARLIER, replace(PAST, split=Split((Arm("a", C, 1),), "s"), challenger=None), ProblemCode.SPLIT_RUNNING),
    ],
)
def test_a_roll_back_to_a_time_is_refused_with_the_reason(time: Any, lineup: Any, code: Any) -> None:
    back = command("roll_back", None, to=time)
    needed = artifact_needed(lineup, back)
    assert code in codes(judge(lineup, back, fleet(needed, w1="h", w2="h"), ISSUED))
