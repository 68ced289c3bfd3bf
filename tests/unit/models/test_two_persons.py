"""Where two persons are required, what raises a model counts only when another person has countersigned it."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from guards.ladder import Ladder
from guards.specs import default_guards
from models.arms import Arm, Canary, Split
from models.commands import Command, CommandKind, Event, EventKind, RequestedArm, encode
from models.event_log import EventFold
from models.judge import Accepted, Answered, Fleet, HeldArtifact, Refused, Verdict, Waiting
from models.lineup import Lineup, follow
from models.persistent import LiveSince
from models.problems import Problem, ProblemCode
from models.rollouts import Rollout
from models.signing import Role, Seal
from models.two_persons import (
    NOBODY,
    Countersigned,
    Rules,
    Sealed,
    follow_countersigned,
    is_for_two,
    judge_sealed,
    needs_second_person,
)
from support.control_events import accepted, command, event

A, B = "a" * 64, "b" * 64
NOW = 1_767_225_600_000
START = Lineup("default", revision=4, live=A, previous=(B,), live_since=LiveSince().with_added(0, B))
FLEET = Fleet(frozenset({"f"}), frozenset(), HeldArtifact(B, "f"))
LADDER = Ladder.parse("1% 1h, 100%")
CLIMBING = replace(START, canary=Canary(B, 100, "s"), rollout=Rollout("c-0", B, LADDER, default_guards()))
ANN, BOB, GUARD = Seal("ann", Role.OPERATOR), Seal("bob", Role.OPERATOR), Seal("guard", Role.GUARD)


def asked(kind: str = "promote", command_id: str = "c-1", **changes: Any) -> Command:
    named = {"command_id": command_id, "expected_revision": 4, "expires_at": "2026-01-01T00:10:00.000Z", "force": True}
    return command(kind, **(named | ({"model": B} if kind == "promote" else {}) | changes))


def verdict(sealed: Sealed, rules: Rules, now_ms: int = NOW) -> Verdict:
    return judge_sealed(START, sealed, FLEET, rules, now_ms)


def codes(found: Verdict) -> list[str]:
    assert isinstance(found, Refused)
    return [problem.code.value for problem in found.problems]


TO_A_TIME = {"to": "2025-12-01T00:00:00.000Z"}


@pytest.mark.parametrize(
    ("command", "for_two"),
    [
        (asked("promote"), True),
        (asked("roll_back", **TO_A_TIME), True),
        (asked("roll_back"), False),
        (asked("demote"), False),
        (asked("challenge", model=B), False),
        (asked("canary", model=B, share_bp=100), False),
    ],
)
def test_only_what_makes_a_model_live_for_all_waits_for_a_second_person(command: Command, for_two: bool) -> None:  # noqa: FBT001
    expected = Waiting if for_two else Accepted
    assert isinstance(verdict(Sealed(command, ANN), Rules(two_persons=True)), expected)
    assert isinstance(verdict(Sealed(command, ANN), Rules()), Accepted)
    assert isinstance(verdict(Sealed(command, ANN), Rules(two_persons=True, countersigned={"c-1": "bob"})), Accepted)


def test_a_rollout_is_for_two_persons() -> None:
    assert is_for_two(CommandKind.ROLLOUT)


@pytest.mark.parametrize(("shares", "for_two"), [((5_000, 4_999), False), ((5_000, 5_000), True)])
def test_a_split_that_leaves_nothing_to_live_is_for_two_persons(shares: tuple[int, int], for_two: bool) -> None:  # noqa: FBT001
    held = {name: HeldArtifact(B, "f") for name in "ab"}
    arms = {name: RequestedArm(B, share) for name, share in zip("ab", shares, strict=True)}
    rules = Rules(two_persons=True)
    found = judge_sealed(START, Sealed(asked("split", arms=arms), ANN), replace(FLEET, arms=held), rules, NOW)
    assert isinstance(found, Waiting if for_two else Accepted)
    assert found.split is not None


@pytest.mark.parametrize(("winner", "for_two"), [("a", True), ("live", False)])
def test_an_arm_that_wins_is_for_two_persons(winner: str, for_two: bool) -> None:  # noqa: FBT001
    running = replace(START, split=Split((Arm("a", B, 100),), "s"), previous=())
    found = judge_sealed(running, Sealed(asked("end_split", winner=winner), ANN), FLEET, Rules(two_persons=True), NOW)
    assert found == (Waiting(B, ()) if for_two else Accepted(5, None))


def test_a_command_that_nobody_countersigned_expires() -> None:
    found = verdict(Sealed(asked(), ANN), Rules(two_persons=True), NOW + 600_000)
    assert codes(found) == ["expired", "not_countersigned"]
    assert isinstance(found, Refused)
    assert "nobody but ann signed it in time" in found.problems[-1].detail
    late = verdict(Sealed(asked(), ANN), Rules(two_persons=True, countersigned={"c-1": "bob"}), NOW + 600_000)
    assert codes(late) == ["expired"]


def test_a_command_that_cannot_be_accepted_waits_for_nobody() -> None:
    stale = msgspec.structs.replace(asked(), expected_revision=3)
    assert codes(verdict(Sealed(stale, ANN), Rules(two_persons=True))) == ["wrong_revision"]


def test_a_seal_with_problems_is_all_that_a_refusal_names() -> None:
    seal = Seal(problems=(Problem(ProblemCode.UNSIGNED, "no"),))
    assert codes(verdict(Sealed(msgspec.structs.replace(asked(), expected_revision=3), seal), Rules())) == ["unsigned"]


def test_a_copy_of_a_command_gets_its_first_answer_whoever_signed_it() -> None:
    answered = follow(START, accepted(5, command_id="c-1", model=B))
    unsigned = Sealed(asked(), Seal(problems=(Problem(ProblemCode.UNSIGNED, "no"),)))
    found = judge_sealed(answered, unsigned, FLEET, Rules(two_persons=True), NOW)
    assert isinstance(found, Answered)
    assert found.answer.kind is EventKind.ACCEPTED


COUNTERSIGN = asked("countersign", "c-2", countersigns="c-1")


def countersigned(
    awaited: Sealed | None, seal: Seal = BOB, known: Countersigned = NOBODY, lineup: Lineup = START
) -> Verdict:
    rules = Rules(two_persons=True, countersigned=known, awaited=awaited)
    return judge_sealed(lineup, Sealed(COUNTERSIGN, seal), FLEET, rules, NOW)


def test_a_countersignature_of_another_person_leaves_the_revision() -> None:
    assert countersigned(Sealed(asked(), ANN)) == Accepted(4, None)


def test_a_countersignature_that_counts_for_nothing_is_refused() -> None:
    assert codes(countersigned(None)) == ["unknown_command"]
    assert codes(countersigned(Sealed(asked(), ANN), ANN)) == ["same_person"]
    assert codes(countersigned(Sealed(asked(), ANN), known={"c-1": "cat"})) == ["not_awaited"]
    assert codes(countersigned(Sealed(asked("withdraw"), ANN))) == ["not_awaited"]
    assert codes(countersigned(Sealed(asked(), GUARD), lineup=CLIMBING)) == ["not_awaited"]
    decided = follow(START, event("refused", 4, "e", command_id="c-1"))
    assert codes(countersigned(Sealed(asked(), ANN), lineup=decided)) == ["already_decided"]
    rules = Rules(awaited=Sealed(asked(), ANN))
    assert codes(verdict(Sealed(COUNTERSIGN, BOB), rules)) == ["not_awaited"]
    assert codes(verdict(Sealed(COUNTERSIGN, BOB), rules, NOW + 600_000)) == ["expired", "not_awaited"]


def test_a_command_needs_a_second_person_until_it_has_one() -> None:
    for known, needs in ((NOBODY, True), ({"c-1": "bob"}, False), ({"c-9": "bob"}, True)):
        rules = Rules(two_persons=True, countersigned=known)
        assert needs_second_person(START, Sealed(asked(), ANN), rules) is needs


@pytest.mark.parametrize(
    ("lineup", "sealed", "needs"),
    [
        (CLIMBING, Sealed(asked(), GUARD), False),
        (CLIMBING, Sealed(asked(), ANN), True),
        (CLIMBING, Sealed(msgspec.structs.replace(asked(), model="c" * 64), GUARD), True),
        (START, Sealed(asked(), GUARD), True),
        (replace(CLIMBING, canary=None), Sealed(asked(), GUARD), True),
    ],
)
def test_a_guard_promotes_alone_only_the_model_of_a_rollout_that_runs(
    lineup: Lineup, sealed: Sealed, needs: Any
) -> None:
    assert needs_second_person(lineup, sealed, Rules(two_persons=True)) is needs


def fold(*events: Event) -> Countersigned:
    log = EventFold("default")
    for one in events:
        log.add(encode(one), one)
    return log.countersigned


def approval(command_id: str, of: str, by: str = "bob", **changes: Any) -> Event:
    return accepted(
        0, "countersign", event_id=f"e-{command_id}", command_id=command_id, countersigns=of, actor=by, **changes
    )


def test_every_worker_knows_who_countersigned_until_the_command_is_answered() -> None:
    assert fold(approval("c-2", "c-1")) == {"c-1": "bob"}
    assert fold(approval("c-2", "c-1"), approval("c-3", "c-1", "cat")) == {"c-1": "bob"}
    assert fold(approval("c-2", "c-1"), accepted(1, command_id="c-1")) == {}
    assert fold(approval("c-2", "c-1"), event("refused", 0, "e", command_id="c-1")) == {}
    assert fold(approval("c-2", "c-1", deployment="other")) == {}


def test_a_void_verdict_is_no_countersignature() -> None:
    assert fold(event("refused", 0, "e", command_id="c-2"), approval("c-2", "c-1")) == {}
    assert fold(accepted(1, command_id="c-1"), approval("c-2", "c-1")) == {}
    assert fold(approval("c-2", "c-1"), accepted(7, command_id="c-1")) == {"c-1": "bob"}


def test_the_same_event_once_more_changes_nothing() -> None:
    twice = approval("c-2", "c-1")
    assert fold(twice, twice) == {"c-1": "bob"}
    assert fold(twice, accepted(1, command_id="c-1"), twice) == {}
    assert follow_countersigned(NOBODY, START, twice) is NOBODY


@pytest.mark.parametrize(
    ("command", "field"),
    [
        (asked("rollout", model=B[:12], ladder=LADDER.rungs), "model"),
        (asked("end_split", winner="b", model=B[:12]), "model"),
        (asked("split", arms={"b": RequestedArm(B[:12], 10_000)}), "arms.b.model"),
    ],
    ids=lambda one: str(getattr(one, "kind", "")),
)
def test_two_persons_approve_whole_digests_alone(command: Command, field: str) -> None:
    found = verdict(Sealed(command, ANN), Rules(two_persons=True))
    assert isinstance(found, Refused)
    (problem,) = found.problems
    assert (problem.code, problem.detail.partition(":")[0]) == (ProblemCode.INVALID_FIELD, field)
    assert problem not in getattr(verdict(Sealed(command, ANN), Rules()), "problems", ())


def test_one_person_may_name_a_model_by_the_beginning_of_its_digest() -> None:
    challenge = asked("challenge", model=B[:12])
    assert isinstance(verdict(Sealed(challenge, ANN), Rules(two_persons=True)), Accepted)
