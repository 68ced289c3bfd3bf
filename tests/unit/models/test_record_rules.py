"""What is on record against a model refuses the commands that let it decide for more cards, unless they accept it."""

from dataclasses import replace
from datetime import date
from typing import Any

import msgspec
import pytest

from guards.ladder import Ladder
from models.command_decoder import read_command
from models.commands import Command, CommandKind, Event, EventKind, RequestedArm, UnreadableRecord, encode
from models.event_log import EventFold
from models.judge import Accepted, Fleet, HeldArtifact, InputTopic, Refused, judge
from models.limits import Limits
from models.lineup import Lineup
from models.model_record import MOST_BREACHES
from models.problems import Problem, ProblemCode
from models.reviews import FailedReview, ReviewRecord
from models.signing import Role, Seal
from models.times import format_time
from models.two_persons import Rules, Sealed, judge_sealed
from models.verdict_events import Origin, verdict_event
from support.control_events import command

LIVE, BAD, GOOD = "a" * 64, "b" * 64, "c" * 64
NOW = 1_767_225_600_000
HOUR = 3_600_000
LADDER = Ladder.parse("10% 1h, 100%")
ROWS = [{"share_bp": 1_000, "canary": 33, "live": 7}]
DECLINED = {"alpha": 0.01, "factor": 1.0, "action": "roll_back", "bound": 100.0, "e": 512.0, "breached": True}
FINE = DECLINED | {"e": 0.5, "breached": False, "counts": ROWS}
BREACH = {"guards": {"declined": DECLINED | {"counts": ROWS}, "stood_in": FINE}}
CLIMB = {"guards": {"declined": FINE}}
REJECT = {"verdict": "REJECT", "gate": "loss", "challenger": BAD, "live": LIVE, "at": format_time(NOW - HOUR)}
ON_RECORD = [ProblemCode.BREACH_ON_RECORD]


class World:
    """A deployment whose commands are judged one after the other, each a second later, by the log alone."""

    def __init__(self) -> None:
        self.fold = EventFold("default")
        self.held = {digest: HeldArtifact(digest, "f") for digest in (LIVE, BAD, GOOD)}
        self.now = NOW
        self.events: list[Event] = []

    @property
    def lineup(self) -> Lineup:
        return self.fold.lineup

    def command(self, kind: CommandKind, model: str | None, **fields: Any) -> Command:
        named = {"command_id": f"c-{len(self.events)}", "expected_revision": self.lineup.revision, "reason": "why"}
        times = {"issued_at": format_time(self.now), "expires_at": format_time(self.now + 60_000)}
        return command(kind, model, **(named | times | fields))

    def fleet(self, command: Command) -> Fleet:
        held = self.held.get(command.model or "", ())
        arms = {name: self.held[arm.model] for name, arm in (command.arms or {}).items()}
        topic = InputTopic(None, 0, 0)
        return Fleet(frozenset({"f"}), frozenset(), held, input_topic=topic, arms=arms, record=self.fold.record)

    def send(self, kind: CommandKind, model: str | None = None, **fields: Any) -> Event:
        """Have a command judged that does not wait for workers, and fold the answer."""
        command = self.command(kind, model, force=True, **fields)
        read = read_command(encode(command))
        assert read == command
        verdict = judge(self.lineup, command, self.fleet(command), self.now)
        event = verdict_event(command, verdict, self.lineup.revision, Origin(f"e-{len(self.events)}", "w", self.now))
        if event.evidence is not None or event.kind is EventKind.ACCEPTED:  # as the judge's process does
            event = msgspec.structs.replace(event, actor=command.actor, reason=command.reason)
        self.add(event)
        return event

    def add(self, event: Event) -> None:
        self.events.append(event)
        self.fold.add(encode(event), event)
        self.now += 1_000

    def accepted(self, kind: CommandKind, model: str | None = None, **fields: Any) -> Event:
        event = self.send(kind, model, **fields)
        assert event.kind is EventKind.ACCEPTED, event.problems
        return event

    def refused(self, kind: CommandKind, model: str | None = None, **fields: Any) -> list[ProblemCode]:
        event = self.send(kind, model, **fields)
        assert event.kind is EventKind.REFUSED
        return [problem.code for problem in event.problems]

    def ended_canary(self, model: str = BAD, despite: tuple[str, ...] = ()) -> str:
        """Have a guard end a canary of a model; return the id of the event."""
        self.accepted(CommandKind.CANARY, model, share_bp=1_000, despite=despite)
        return self.accepted(CommandKind.END_CANARY, actor="guard@host", evidence=BREACH).event_id


@pytest.fixture
def world() -> World:
    found = World()
    found.accepted(CommandKind.PROMOTE, LIVE)
    return found


START: dict[CommandKind, dict[str, Any]] = {
    CommandKind.PROMOTE: {"model": BAD},
    CommandKind.CANARY: {"model": BAD, "share_bp": 100},
    CommandKind.ROLLOUT: {"model": BAD, "ladder": LADDER.rungs},
    CommandKind.SPLIT: {"arms": {"x": RequestedArm(BAD, 1_000), "y": RequestedArm(GOOD, 1_000)}},
}


@pytest.mark.parametrize("kind", START)
def test_a_model_whose_canary_a_guard_ended_is_not_let_decide_again_unless_that_is_accepted(
    world: World, kind: CommandKind
) -> None:
    first = world.ended_canary()
    last = world.ended_canary(despite=(first,))
    refused = world.send(kind, **START[kind])
    assert [problem.code for problem in refused.problems] == ON_RECORD * 2
    for event_id, problem in zip((last, first), refused.problems, strict=True):
        assert f"event {event_id}: end_canary at 2026-01-01T00:00:0" in problem.detail
        assert "by guard@host: declined: 33 of 40 first declines are the canary's" in problem.detail
        assert "E = 512 against a bound of 100 (alpha 0.01): breached: roll_back" in problem.detail
        assert "not breached" not in problem.detail
        assert f"--despite {last} --reason TEXT" in problem.detail
    accepted = world.accepted(kind, **START[kind], despite=(last,), reason="the labels were wrong")
    assert (accepted.despite, accepted.reason) == ((last,), "the labels were wrong")


def test_whoever_accepts_a_breach_does_not_accept_a_later_one(world: World) -> None:
    first = world.ended_canary()
    world.ended_canary(despite=(first,))
    assert world.refused(CommandKind.PROMOTE, BAD, despite=(first,)) == ON_RECORD


def test_a_breach_is_that_of_a_digest_and_stays_over_other_commands(world: World) -> None:
    world.ended_canary()
    world.accepted(CommandKind.PROMOTE, GOOD)
    world.accepted(CommandKind.CHALLENGE, BAD)
    world.accepted(CommandKind.WITHDRAW)
    assert world.refused(CommandKind.PROMOTE, BAD) == ON_RECORD


def test_an_end_without_a_breach_is_none(world: World) -> None:
    world.accepted(CommandKind.CANARY, BAD, share_bp=100)
    world.accepted(CommandKind.END_CANARY)
    world.accepted(CommandKind.CANARY, BAD, share_bp=100)
    world.accepted(CommandKind.END_CANARY, evidence=CLIMB)
    world.accepted(CommandKind.PROMOTE, BAD)


def test_a_promotion_that_a_guard_rolled_back_is_remembered_and_the_way_back_is_never_refused(world: World) -> None:
    world.accepted(CommandKind.PROMOTE, BAD)
    event_id = world.accepted(CommandKind.ROLL_BACK, evidence=BREACH).event_id
    assert world.refused(CommandKind.PROMOTE, BAD) == ON_RECORD
    world.accepted(CommandKind.PROMOTE, BAD, despite=(event_id,))
    world.accepted(CommandKind.PROMOTE, GOOD)
    assert world.accepted(CommandKind.ROLL_BACK).model == BAD


def test_a_paused_rollout_goes_on_after_its_resumption_and_its_end_is_never_refused(world: World) -> None:
    world.accepted(CommandKind.ROLLOUT, BAD, ladder=LADDER.rungs)
    world.accepted(CommandKind.PAUSE, evidence=BREACH)
    assert world.refused(CommandKind.PROMOTE, BAD) == ON_RECORD
    assert world.refused(CommandKind.CANARY, BAD, share_bp=5_000) == ON_RECORD
    world.accepted(CommandKind.CANARY, BAD, share_bp=500)
    world.accepted(CommandKind.RESUME)
    world.accepted(CommandKind.CANARY, BAD, share_bp=5_000, evidence=CLIMB)
    world.accepted(CommandKind.PROMOTE, BAD, evidence=CLIMB)
    assert world.refused(CommandKind.CANARY, GOOD, share_bp=500, despite=("e-1",)) == [ProblemCode.INVALID_FIELD]


def test_a_guard_climbs_a_ladder_that_was_started_despite_a_breach(world: World) -> None:
    event_id = world.ended_canary()
    world.accepted(CommandKind.ROLLOUT, BAD, ladder=LADDER.rungs, despite=(event_id,))
    world.accepted(CommandKind.PROMOTE, BAD, evidence=CLIMB, actor="guard@host")


def test_evidence_of_guards_lets_nothing_through_but_the_model_of_the_ladder(world: World) -> None:
    world.ended_canary()
    assert world.refused(CommandKind.PROMOTE, BAD, evidence=CLIMB) == ON_RECORD
    assert world.refused(CommandKind.CANARY, BAD, share_bp=100, evidence=CLIMB) == ON_RECORD


def test_a_share_is_raised_on_what_was_accepted_at_the_start_but_a_promotion_asks_again(world: World) -> None:
    event_id = world.ended_canary()
    world.accepted(CommandKind.CANARY, BAD, share_bp=100, despite=(event_id,))
    world.accepted(CommandKind.CANARY, BAD, share_bp=200)
    assert world.refused(CommandKind.PROMOTE, BAD) == ON_RECORD
    world.accepted(CommandKind.END_CANARY)
    assert world.refused(CommandKind.CANARY, BAD, share_bp=100) == ON_RECORD


def test_of_a_split_the_arms_beyond_their_bound_are_remembered_and_live_is_not() -> None:
    arms = {"x": RequestedArm(BAD, 1_000), "y": RequestedArm(GOOD, 1_000), "control": RequestedArm(LIVE, 1_000)}
    rows = [{"arm": name, "share_bp": 1_000, "count": 9, "e": e} for name, e in (("x", 900.0), ("y", 2.0))]
    for evidence, remembered in (
        ({"guards": {"declined": DECLINED | {"arms": rows}}}, {BAD}),
        ({"guards": {"declined": DECLINED | {"arms": "?"}}}, {BAD, GOOD}),
    ):
        found = World()
        found.accepted(CommandKind.PROMOTE, LIVE)
        found.accepted(CommandKind.SPLIT, arms=arms)
        found.accepted(CommandKind.END_SPLIT, winner="live", evidence=evidence)
        assert found.fold.record.breaches.keys() == remembered


def test_an_arm_that_wins_is_a_promotion_and_live_may_always_win(world: World) -> None:
    event_id = world.ended_canary()
    world.accepted(CommandKind.SPLIT, **START[CommandKind.SPLIT], despite=(event_id,))
    assert world.refused(CommandKind.END_SPLIT, winner="x") == ON_RECORD
    assert "live" not in world.fold.record.accepted
    world.accepted(CommandKind.END_SPLIT, winner="live")
    world.accepted(CommandKind.SPLIT, **START[CommandKind.SPLIT], despite=(event_id,))
    world.accepted(CommandKind.END_SPLIT, winner="x", despite=(event_id,))
    assert world.lineup.live == BAD


def test_an_id_that_names_nothing_on_record_is_refused(world: World) -> None:
    event_id = world.ended_canary()
    assert world.refused(CommandKind.PROMOTE, GOOD, despite=(event_id,)) == [ProblemCode.INVALID_FIELD]
    event = world.send(CommandKind.PROMOTE, BAD, despite=(event_id, "e-99"))
    assert [one.detail for one in event.problems] == ["despite: e-99 names nothing that is on record here"]


def test_only_the_latest_breaches_are_kept(world: World) -> None:
    despite: tuple[str, ...] = ()
    for _ in range(MOST_BREACHES + 3):
        despite = (world.ended_canary(despite=despite),)
    assert len(world.fold.record.breaches[BAD]) == MOST_BREACHES
    world.accepted(CommandKind.PROMOTE, BAD, despite=despite)


def test_a_void_or_foreign_event_is_not_remembered(world: World) -> None:
    world.accepted(CommandKind.CANARY, BAD, share_bp=100)
    ended = verdict_event(
        world.command(CommandKind.END_CANARY, None, evidence=BREACH), Accepted(9, None), 2, Origin("e-x", "w", NOW)
    )
    world.add(ended)
    world.add(msgspec.structs.replace(ended, revision=3, deployment="green"))
    assert world.fold.record.breaches == {}


# --- verdicts


@pytest.mark.parametrize("word", ["REJECT", "HOLD"])
def test_a_promotion_on_a_verdict_that_failed_is_refused_and_the_refusal_is_remembered(world: World, word: str) -> None:
    evidence = {"verdict": REJECT | {"verdict": word}}
    event = world.send(CommandKind.PROMOTE, BAD, evidence=evidence)
    assert [one.code for one in event.problems] == [ProblemCode.NOT_PROMOTED]
    assert "--despite verdict:bbbbbbbbbbbb --reason TEXT" in event.problems[0].detail
    assert (event.evidence, event.actor) == (evidence, "ann")
    again = world.send(CommandKind.PROMOTE, BAD)
    assert [one.code for one in again.problems] == [ProblemCode.VERDICT_ON_RECORD]
    assert f"is {word}, decided by its gate loss, on record in event {event.event_id}" in again.problems[0].detail
    for kind in (CommandKind.CANARY, CommandKind.ROLLOUT, CommandKind.SPLIT):
        assert world.refused(kind, **START[kind]) == [ProblemCode.VERDICT_ON_RECORD]
    world.accepted(CommandKind.PROMOTE, BAD, despite=(event.event_id,))


def test_the_verdict_that_a_command_states_is_accepted_by_the_id_in_its_refusal(world: World) -> None:
    world.accepted(CommandKind.LIMITS, promote_needs_verdict=True)
    world.send(CommandKind.PROMOTE, BAD, evidence={"verdict": REJECT})
    world.accepted(CommandKind.PROMOTE, BAD, evidence={"verdict": REJECT}, despite=("verdict:bbbbbbbbbbbb",))


def test_a_later_verdict_that_passes_stands_before_one_that_failed(world: World) -> None:
    world.send(CommandKind.PROMOTE, BAD, evidence={"verdict": REJECT})
    older = REJECT | {"verdict": "PROMOTE", "at": format_time(NOW - 2 * HOUR)}
    assert world.refused(CommandKind.PROMOTE, BAD, evidence={"verdict": older}) == [ProblemCode.VERDICT_ON_RECORD]
    of_another_live = REJECT | {"verdict": "PROMOTE", "live": GOOD, "at": format_time(NOW)}
    assert world.refused(CommandKind.PROMOTE, BAD, evidence={"verdict": of_another_live}) == [
        ProblemCode.VERDICT_ON_RECORD
    ]


def test_a_verdict_that_passes_is_enough_for_the_command_that_states_it_and_for_later_ones(world: World) -> None:
    world.send(CommandKind.PROMOTE, BAD, evidence={"verdict": REJECT})
    passed = REJECT | {"verdict": "PROMOTE", "at": format_time(NOW)}
    world.accepted(CommandKind.ROLLOUT, BAD, ladder=LADDER.rungs, evidence={"verdict": passed})
    world.accepted(CommandKind.END_CANARY)
    world.accepted(CommandKind.CANARY, BAD, share_bp=100)


def test_a_challenger_that_is_withdrawn_on_its_verdict_is_remembered(world: World) -> None:
    world.accepted(CommandKind.CHALLENGE, BAD)
    event = world.accepted(CommandKind.WITHDRAW, evidence={"verdict": REJECT})
    assert world.refused(CommandKind.PROMOTE, BAD) == [ProblemCode.VERDICT_ON_RECORD]
    world.accepted(CommandKind.PROMOTE, BAD, despite=(event.event_id,))


def test_a_verdict_about_another_model_and_one_whose_signature_did_not_suffice_are_not_kept(world: World) -> None:
    other = world.send(CommandKind.PROMOTE, GOOD, evidence={"verdict": REJECT}, despite=("e-77",))
    assert (other.kind, other.evidence) == (EventKind.REFUSED, None)
    command = world.command(CommandKind.PROMOTE, BAD, evidence={"verdict": REJECT})
    for seal, evidence in (
        (Seal(problems=(Problem(ProblemCode.UNSIGNED, "no key"),)), None),
        (Seal("ann", Role.OPERATOR), command.evidence),
    ):
        verdict = judge_sealed(world.lineup, Sealed(command, seal), world.fleet(command), Rules(), NOW)
        assert isinstance(verdict, Refused)
        assert verdict_event(command, verdict, 1, Origin("e", "w", NOW)).evidence == evidence


def test_a_verdict_that_states_a_time_in_the_future_does_not_stand_before_later_ones(world: World) -> None:
    world.send(CommandKind.PROMOTE, BAD, evidence={"verdict": REJECT | {"at": format_time(NOW + 1_000 * HOUR)}})
    world.now += HOUR
    passed = REJECT | {"verdict": "PROMOTE", "at": format_time(world.now)}
    world.accepted(CommandKind.PROMOTE, BAD, evidence={"verdict": passed})


# --- what the artifact and its card state

VERSION, OLDER = "001767225600000-1a2b3c4d", "001767000000000-00000000"
FAILED = FailedReview(OLDER, "2025-12-29T09:20:00.000Z", "mo")


@pytest.mark.parametrize(
    ("changes", "name", "why"),
    [
        (
            {"weaknesses": ("amount gives the label away: accepted", "worse")},
            "training:bbbbbbbbbbbb",
            "its manifest states: amount gives the label away: accepted; worse",
        ),
        (
            {"reviews": ReviewRecord(VERSION, date(2025, 12, 31))},
            f"review:{VERSION}",
            "its review is overdue by 1 day, since 2025-12-31",
        ),
        (
            {"reviews": ReviewRecord(VERSION, date(2026, 5, 1), FAILED)},
            f"review:{OLDER}",
            "it failed a review, recorded at 2025-12-29T09:20:00.000Z by mo",
        ),
        (
            {"reviews": ReviewRecord(VERSION, unreadable="no JSON")},
            f"review:{VERSION}",
            "its card cannot be read, so its reviews are unknown: no JSON",
        ),
    ],
)
@pytest.mark.parametrize("kind", START)
def test_weak_training_and_reviews_refuse_until_they_are_accepted_by_their_id(
    world: World, kind: CommandKind, changes: Any, name: str, why: str
) -> None:
    world.held[BAD] = world.held[BAD]._replace(**changes)
    event = world.send(kind, **START[kind])
    code = ProblemCode.TRAINING_ON_RECORD if name.startswith("training:") else ProblemCode.REVIEW_ON_RECORD
    assert [one.code for one in event.problems] == [code]
    assert why in event.problems[0].detail
    assert f"--despite {name} --reason TEXT" in event.problems[0].detail
    world.accepted(kind, **START[kind], despite=(name,))


def test_the_first_model_is_asked_about_as_well() -> None:
    world = World()
    world.held[LIVE] = world.held[LIVE]._replace(weaknesses=("weak",))
    assert world.refused(CommandKind.PROMOTE, LIVE) == [ProblemCode.TRAINING_ON_RECORD]


def test_a_shadow_and_a_review_in_time_are_never_refused(world: World) -> None:
    event_id = world.ended_canary()
    world.held[BAD] = world.held[BAD]._replace(weaknesses=("weak",))
    world.accepted(CommandKind.CHALLENGE, BAD)
    world.held[GOOD] = world.held[GOOD]._replace(reviews=ReviewRecord(VERSION, date(2026, 1, 1)))
    world.accepted(CommandKind.PROMOTE, GOOD)
    assert world.refused(CommandKind.PROMOTE, BAD) == [*ON_RECORD, ProblemCode.TRAINING_ON_RECORD]
    world.accepted(CommandKind.PROMOTE, BAD, despite=(event_id, "training:bbbbbbbbbbbb"))


# --- the command


def test_only_what_lets_a_model_decide_takes_despite_and_it_needs_a_reason(world: World) -> None:
    for reason in ("", "  "):
        command = world.command(CommandKind.PROMOTE, BAD, despite=("e-1",), reason=reason)
        read = read_command(encode(command))
        assert isinstance(read, UnreadableRecord)
        assert [one.detail for one in read.problems] == ["reason: is empty; a command with `despite` has to say why"]
    rolled = read_command(encode(world.command(CommandKind.ROLL_BACK, None, despite=("e-1",))))
    assert "despite: roll_back takes none" in str(rolled)
    for wrong in ("e-1", ["a b"], ["e"] * 101, [1]):
        fields = msgspec.to_builtins(world.command(CommandKind.PROMOTE, BAD)) | {"despite": wrong}
        assert "despite: expected a list of at most 100 ids" in str(read_command(msgspec.json.encode(fields)))


def test_a_fleet_that_needs_verdicts_accepts_a_failed_one_by_name_and_force_accepts_none(world: World) -> None:
    needs = replace(world.lineup, limits=Limits(promote_needs_verdict=True))
    command = world.command(CommandKind.PROMOTE, BAD, evidence={"verdict": REJECT}, force=True)
    verdict = judge(needs, command, world.fleet(command), NOW)
    assert isinstance(verdict, Refused)
    assert [one.code for one in verdict.problems] == [ProblemCode.NOT_PROMOTED]
