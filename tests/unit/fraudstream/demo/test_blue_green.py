"""The act with a second fleet: what is shown of two hand-overs, and that the checks find what went wrong in them."""

from dataclasses import replace
from typing import Any

import pytest

from fraudstream.demo import fleet_checks
from fraudstream.demo.blue_green import BlueGreen, CutOverResult, CutOverRun
from fraudstream.demo.fleets import TermSummary, silent_text, terms_of
from fraudstream.demo.panel import line, panel
from fraudstream.demo.plan import Action, DemoPlan
from fraudstream.demo.report import report
from fraudstream.demo.scoreboard import Place, Scoreboard
from fraudstream.demo.silent import SilentComparison
from fraudstream.demo.stack import FIRST, GREEN
from fraudstream.demo.summary import problems_of, summarise
from fraudstream.demo.terms import TermRevision
from fraudstream.demo.timeline import news
from fraudstream.demo.view import View
from fraudstream.ops.rollout.deployments.gates import Gate
from fraudstream.ops.rollout.deployments.handover import HandoverReport, PartitionHandover
from models.commands import CommandKind, Event, EventKind
from models.policy import Decision
from models.problems import Problem, ProblemCode
from support.demo_scores import BACK, NEW, OLD, drawn, event, run_of, score, sent, sound_board, view_of

EPOCHS = 2**32
PUBLISHERS = (FIRST, GREEN, FIRST)
REVISIONS = (BACK, 1, BACK)
FIRSTS = {1: 6, 2: 8}
"""The first offset of each term, in both partitions."""
GATES = (Gate("differences", True, "4.00%: 24 of 600 compared differ", "at most 10.00% of at least 500", "look"),)  # noqa: FBT003
UNTIL_SECONDS = "2026-01-01T00:00:0"


def decide_in(board: Scoreboard, place: Place, term: int, **changes: Any) -> None:
    """Decide another payment in a term, by the deployment that publishes in it."""
    name = f"later-{place.partition}-{place.offset}"
    fields: dict[str, Any] = {
        "epoch": term * EPOCHS + 1,
        "deployment": PUBLISHERS[term],
        "revision": REVISIONS[term],
        "scored_at": f"{UNTIL_SECONDS}{term}.{100 + place.offset}Z",
    }
    board.decide(score(name, sent(board, name, place), **(fields | changes)), 1_010)


def two_hand_overs() -> Scoreboard:
    """Make a board on which green publishes offsets 6 and 7 of both partitions, and the first fleet goes on."""
    board = sound_board()
    for stretch in board.terms.stretches.values():
        stretch[0].deployment = FIRST
    for partition in (0, 1):
        for offset, term in ((6, 1), (7, 1), (8, 2)):
            decide_in(board, Place(partition, offset), term)
    return board


def log_of() -> list[Event]:
    """Make the events of both deployments: the first promotion, two hand-overs, and where each began."""
    events = [event(EventKind.ACCEPTED, 1, command=CommandKind.PROMOTE, model=OLD)]
    events.append(event(EventKind.ACCEPTED, 1, deployment=GREEN, command=CommandKind.PROMOTE, model=NEW))
    for term, first in FIRSTS.items():
        own = {"deployment": PUBLISHERS[term], "term": term}
        events.append(event(EventKind.ACCEPTED, REVISIONS[term], command=CommandKind.CUT_OVER, **own))
        events += [
            event(EventKind.HANDOVER, REVISIONS[term], partition=partition, offset=first, **own) for partition in (0, 1)
        ]
    return events


def run_to(to: str, term: int, asked_ms: int) -> CutOverRun:
    """Make a run of `cut-over` that has done what it should."""
    verdict = event(EventKind.ACCEPTED, 1, command=CommandKind.CUT_OVER, deployment=to, term=term)
    partitions = tuple(PartitionHandover(partition=one, first_offset=FIRSTS[term]) for one in (0, 1))
    done = HandoverReport(term=term, deployment=to, before="", accepted_at=verdict.at, partitions=partitions)
    gates = GATES if to == GREEN else ()
    return CutOverRun(
        to, asked_ms, asked_ms + 7_000, CutOverResult(go=True, gates=gates, verdict=verdict, handover=done)
    )


def act() -> BlueGreen:
    """Make the act as it should end."""
    silent = SilentComparison()
    for offset in range(600):
        silent.publish(Place(0, offset), Decision.APPROVE)
        silent.decide_silently(Place(0, offset), Decision.REVIEW if offset < 24 else Decision.APPROVE)
    runs = [run_to(GREEN, 1, 30_000), run_to(FIRST, 2, 50_000)]
    return BlueGreen(silent, log_of(), started_ms=10_000, ready_ms=22_500, hand_overs=runs)


def view_with(board: Scoreboard, state: BlueGreen, **changes: Any) -> View:
    return view_of(board, blue_green=state, **changes)


def test_two_hand_overs_have_no_problems_and_their_figures() -> None:
    summary = summarise(run_of(view_with(two_hand_overs(), act())))
    assert summary.problems == ()
    found = summary.blue_green
    assert found is not None
    assert (found.ready_ms, found.compared, found.differing) == (12_500, 600, 24)
    assert [(one.to, one.took_ms, one.problem) for one in found.hand_overs] == [(GREEN, 7_000, ""), (FIRST, 7_000, "")]
    assert [(one.term, one.deployment, one.decisions) for one in found.terms] == [
        (0, FIRST, 12),
        (1, GREEN, 4),
        (2, FIRST, 2),
    ]
    assert found.terms[1].first_offsets == {0: 6, 1: 6}
    assert found.terms[1].pause_ms == {0: 1_101, 1: 1_101}
    assert (found.terms[0].longest_pause_ms, found.terms[2].longest_pause_ms) == (None, 1_001)
    assert [(one.term, one.revision) for one in summary.revisions] == [(0, 2), (0, 3), (0, 4), (1, 1), (2, 4)]
    assert summary.first_offsets == {0: {2: 0, 3: 2, 4: 4}, 1: {2: 0, 3: 2, 4: 4}}


def test_a_revision_that_is_lower_in_a_new_term_has_not_gone_back_and_one_within_a_term_has() -> None:
    board = two_hand_overs()
    assert board.went_back == []
    assert board.newest == TermRevision(2, BACK)
    decide_in(board, Place(0, 9), 2, revision=BACK - 1)
    decide_in(board, Place(1, 9), 1)
    assert board.went_back == [Place(0, 9), Place(1, 9)]


def test_void_scores_of_a_replaced_fleet_are_counted_by_term_and_no_problem_but_others_are() -> None:
    board = two_hand_overs()
    board.terms.pass_over(1, EPOCHS + 1)
    board.terms.pass_over(EPOCHS, EPOCHS + 1)
    assert board.terms.late == {1: 1}
    assert [one.late for one in terms_of(board, act())] == [0, 1, 0]
    assert problems_of(run_of(view_with(board, act(), void=1))) == ()
    assert problems_of(run_of(view_with(board, act(), void=2))) == ("1 scores were void",)


def test_a_partition_that_returns_to_a_fleet_within_a_term_is_reported() -> None:
    board = two_hand_overs()
    decide_in(board, Place(1, 9), 2, deployment=GREEN)
    (problem,) = problems_of(run_of(view_with(board, act())))
    assert problem == (
        "partition 1: published by demo in term 0, green in term 1, demo in term 2, green in term 2; "
        "the log says demo in term 0, green in term 1, demo in term 2"
    )


def test_a_partition_that_never_changed_its_fleet_is_reported() -> None:
    board = two_hand_overs()
    del board.terms.stretches[0][1:]
    problems = problems_of(run_of(view_with(board, act())))
    assert (
        "partition 0: published by demo in term 0; the log says demo in term 0, green in term 1, demo in term 2"
        in problems
    )
    assert "partition 0: term 1 began at offset None, announced was 6" in problems


def test_a_handover_event_that_differs_from_the_scores_or_is_missing_is_reported() -> None:
    state = act()
    events = [
        replace_offset(one) for one in state.events if (one.kind, one.partition, one.term) != (EventKind.HANDOVER, 1, 2)
    ]
    found = fleet_checks.handovers_unlike_announced(two_hand_overs(), events, (0, 1))
    assert found == (
        "partition 0: term 1 began at offset 6, announced was 5",
        "partition 1: term 2 began at offset 8, announced was None",
    )


def replace_offset(one: Event) -> Event:
    """Let the first hand-over of partition 0 be announced an offset too early."""
    is_first = (one.kind, one.partition, one.term) == (EventKind.HANDOVER, 0, 1)
    return event(one.kind, 1, deployment=GREEN, term=1, partition=0, offset=5) if is_first else one


def test_a_first_offset_of_the_command_that_differs_from_the_scores_is_reported() -> None:
    board = two_hand_overs()
    board.terms.stretches[1][1].first_offset = 7
    (problem,) = fleet_checks.handovers_unlike_reported(board, act())
    assert problem == "partition 1: term 1 began at offset 7, `cut-over` said 6"


NO_GO = CutOverResult(
    go=False,
    gates=(Gate("faults", passed=False, found="3 of 600 decisions", required="none", advice="look"), *GATES),
    verdict=None,
    handover=None,
)
WHY = (Problem(ProblemCode.STALE_TERM, "the command expects term 0"),)
REFUSED = CutOverResult(go=True, gates=GATES, verdict=event(EventKind.REFUSED, 1, problems=WHY), handover=None)


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (CutOverRun(GREEN, 30_000, 31_000, NO_GO), "the hand-over to green failed: no-go: faults: 3 of 600 decisions"),
        (CutOverRun(GREEN, 30_000, 31_000, REFUSED), "the hand-over to green failed: the command expects term 0"),
        (CutOverRun(GREEN, 30_000, 31_000, None, "it ended with 2"), "the hand-over to green failed: it ended with 2"),
        (CutOverRun(GREEN, 30_000), "the hand-over to green was not made"),
    ],
)
def test_a_hand_over_that_was_not_made_is_reported_and_shown(run: CutOverRun, words: str) -> None:
    state = act()
    state.hand_overs = [run]
    view = view_with(two_hand_overs(), state)
    assert fleet_checks.not_handed_over(state) == (words, "the hand-over to demo was not made")
    shown = " ".join(drawn(panel(view), 200).split())
    assert (run.problem or "deployment cut-over green, for") in shown
    summary = summarise(run_of(view))
    assert "to green failed" in drawn(report(run_of(view), summary), 200)


def test_a_second_fleet_that_is_never_ready_is_reported_and_shown() -> None:
    state = BlueGreen(SilentComparison(), log_of()[:1], started_ms=10_000, waits_for="Redis is being filled")
    board = sound_board()
    assert "Redis is being filled, for" in drawn(panel(view_with(board, state, now_ms=11_000)))
    state.problem = "its model was not promoted: no verdict"
    view = view_with(board, state)
    assert f"{GREEN} could not take over: its model was not promoted: no verdict" in problems_of(run_of(view))
    assert "its model was not promoted" in drawn(panel(view))


def test_the_panel_and_the_report_say_who_publishes_since_which_offsets_and_how_decisions_differ() -> None:
    board = two_hand_overs()
    board.terms.pass_over(1, EPOCHS + 1)
    view = view_with(board, act(), void=1)
    shown = drawn(panel(view))
    assert len(shown.splitlines()) < 40
    assert max(map(len, shown.splitlines())) <= 110
    for words in (
        "demo publishes in term 2, green decides silently",
        "0:6 1.1 s  1:6 1.1 s",
        "0:8 1.0 s  1:8 1.0 s",
        "green while silent: 600 compared, 24 (4.0%) decided otherwise: approve → review 24",
        "ready after 12.5 s: its histories are filled from Kafka",
        "go by 1 gates; it publishes in term 1, longest pause 1.1 s",
        "demo takes over again",
    ):
        assert words in shown
    assert "demo publishes in term 2, green decides silently" in line(view)
    assert sum("longest pause" in item for item in news(view)) == 2
    run = run_of(view)
    text = " ".join(drawn(report(run, summarise(run)), 200).split())
    for words in (
        "all checks passed",
        "1 void scores, all of a replaced fleet",
        "to green in term 1, 7.0 s with its 1 gates; differences 4.00%",
        "--budget 10% in place of 1%: its model is meant to decide otherwise",
        "to demo in term 2, 7.0 s with its 0 gates; only its own state counts on the way back",
    ):
        assert words in text


def test_silent_decisions_are_joined_with_published_ones_in_whatever_order_they_are_read() -> None:
    silent = SilentComparison()
    silent.decide_silently(Place(0, 1), Decision.DECLINE)
    silent.publish(Place(0, 2), Decision.APPROVE)
    assert silent_text(BlueGreen(silent, [])) == "nothing compared yet"
    silent.publish(Place(0, 1), Decision.REVIEW)
    silent.decide_silently(Place(0, 2), Decision.APPROVE)
    silent.decide_silently(Place(1, 2), Decision.APPROVE)
    assert (silent.compared, silent.differing) == (2, 1)
    assert silent.changes == {(Decision.REVIEW, Decision.DECLINE): 1}


def test_a_term_without_decisions_has_neither_first_offset_nor_pause() -> None:
    empty = TermSummary(term=1, deployment=GREEN, decisions=0, first_offsets={}, pause_ms={}, late=0)
    board = sound_board()
    assert terms_of(board, act())[1] == empty
    assert board.terms.pause_ms(0, 1) is None


def test_the_plan_has_the_second_fleet_in_place_of_the_canary() -> None:
    planned = [one.action for one in DemoPlan(blue_green=True, chaos=True).actions]
    assert planned == [
        Action.START_GREEN,
        Action.PROMOTE,
        Action.KILL,
        Action.ROLL_BACK,
        Action.CUT_OVER,
        Action.GO_BACK,
    ]
    assert DemoPlan(blue_green=True).extra_seconds > DemoPlan().extra_seconds
    assert Action.START_GREEN not in [one.action for one in DemoPlan().actions]


def test_problems_of_a_view_without_the_act_do_not_ask_for_it() -> None:
    assert problems_of(run_of(replace(view_of(sound_board()), blue_green=None))) == ()
