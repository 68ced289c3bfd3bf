"""The acts with a second fleet: what is shown of two hand-overs, and that the checks find what went wrong in them."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from fraudstream.demo import fleets
from fraudstream.demo.blue_green import BlueGreen, CutOver
from fraudstream.demo.fleets import TermSummary, silent_text, terms_of
from fraudstream.demo.panel import line, panel
from fraudstream.demo.plan import Action, DemoPlan
from fraudstream.demo.report import report
from fraudstream.demo.scoreboard import Place, Scoreboard, TermRevision
from fraudstream.demo.shell import CommandRun
from fraudstream.demo.stack import FIRST, GREEN
from fraudstream.demo.summary import problems_of, summarise
from fraudstream.demo.timeline import news
from fraudstream.demo.view import View
from fraudstream.ops.rollout.deployments.gates import Gate
from fraudstream.ops.rollout.deployments.handover import HandoverReport, PartitionHandover
from models.commands import CommandKind, Event, EventKind
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
    board.publishers[0][FIRST] = board.publishers[0].pop("")
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


COMPARISON = {"compared": 600, "changed": 24}


def printed(to: str, term: int, **changes: Any) -> dict[str, Any]:
    """Make what `cut-over --json` prints when it has done what it should."""
    evidence = {"comparison": COMPARISON} if to == GREEN else None
    verdict = event(EventKind.ACCEPTED, 1, command=CommandKind.CUT_OVER, deployment=to, term=term, evidence=evidence)
    partitions = tuple(
        PartitionHandover(partition=one, first_offset=FIRSTS[term], announced=FIRSTS[term], pause_ms=1_000 + term)
        for one in (0, 1)
    )
    done = HandoverReport(term=term, deployment=to, before="", accepted_at=verdict.at, partitions=partitions)
    facts = {"go": True, "gates": GATES if to == GREEN else (), "verdict": verdict, "handover": done}
    return dict(msgspec.json.decode(msgspec.json.encode(facts | changes)))


def run_to(to: str, asked_ms: int, facts: dict[str, Any], exit_code: int = 0, error: str = "") -> CutOver:
    """Make a run of `cut-over` that lasted seven seconds."""
    command = ("deployment", "cut-over", to)
    return CutOver(to, CommandRun(command, asked_ms, asked_ms + 7_000, exit_code, facts, error))


def act() -> BlueGreen:
    """Make the act as it should end."""
    cuts = [run_to(GREEN, 30_000, printed(GREEN, 1)), run_to(FIRST, 50_000, printed(FIRST, 2))]
    return BlueGreen(log_of(), started_ms=10_000, ready_ms=22_500, hand_overs=cuts)


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
    assert found.terms[1].pause_ms == {0: 1_001, 1: 1_001}
    assert (found.terms[0].longest_pause_ms, found.terms[2].longest_pause_ms) == (None, 1_002)
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
    board.pass_over(1, EPOCHS + 1)
    board.pass_over(EPOCHS, EPOCHS + 1)
    assert board.late == {1: 1}
    assert [one.late for one in terms_of(board, act())] == [0, 1, 0]
    assert problems_of(run_of(view_with(board, act(), void=1))) == ()
    assert problems_of(run_of(view_with(board, act(), void=2))) == ("1 scores were void",)


def test_a_payment_that_the_replaced_fleet_decides_within_a_term_is_reported() -> None:
    board = two_hand_overs()
    decide_in(board, Place(1, 9), 2, deployment=GREEN)
    (problem,) = problems_of(run_of(view_with(board, act())))
    assert problem == "term 2: decided by demo and green; the log says demo"


def test_a_partition_that_returns_to_an_earlier_term_is_reported() -> None:
    board = two_hand_overs()
    decide_in(board, Place(1, 9), 1)
    (problem,) = problems_of(run_of(view_with(board, act())))
    assert problem == "1 transactions decided by a revision older than the one before: 1:9"


def test_a_partition_that_never_changed_its_fleet_is_reported() -> None:
    board = two_hand_overs()
    board.first_offsets[0] = {key: first for key, first in board.first_offsets[0].items() if key.term == 0}
    assert problems_of(run_of(view_with(board, act()))) == (
        "partition 0: term 1 began at offset None; `cut-over` says 6, announced was 6",
        "partition 0: term 2 began at offset None; `cut-over` says 8, announced was 8",
    )


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"announced": 5}, "`cut-over` says 6, announced was 5"),
        ({"first_offset": 7}, "`cut-over` says 7, announced was 6"),
    ],
)
def test_a_first_offset_that_differs_from_the_scores_is_reported(changed: dict[str, Any], words: str) -> None:
    state = act()
    state.hand_overs[0].run.facts["handover"]["partitions"][0] |= changed
    (problem,) = fleets.handovers_unlike_scores(two_hand_overs(), state, (0, 1))
    assert problem == f"partition 0: term 1 began at offset 6; {words}"


def test_an_announcement_that_came_late_counts_and_one_that_never_came_is_reported() -> None:
    state = act()
    state.hand_overs[0].run.facts["handover"]["partitions"][0]["announced"] = None
    assert fleets.handovers_unlike_scores(two_hand_overs(), state, (0, 1)) == ()
    state.events[:] = [one for one in state.events if one.kind is not EventKind.HANDOVER]
    (problem,) = fleets.handovers_unlike_scores(two_hand_overs(), state, (0, 1))
    assert problem == "partition 0: term 1 began at offset 6; `cut-over` says 6, announced was None"


NO_GATE = Gate("faults", passed=False, found="3 of 600 decisions", required="none", advice="look")
WHY = (Problem(ProblemCode.STALE_TERM, "the command expects term 0"),)
NO_GO = printed(GREEN, 1, go=False, gates=(NO_GATE, *GATES), verdict=None, handover=None)
REFUSED = printed(GREEN, 1, verdict=event(EventKind.REFUSED, 1, problems=WHY), handover=None)
UNFINISHED = printed(
    GREEN,
    1,
    handover=HandoverReport(
        term=1, deployment=GREEN, before="", accepted_at="", partitions=(PartitionHandover(partition=0, undecided=3),)
    ),
)


@pytest.mark.parametrize(
    ("cut", "words"),
    [
        (run_to(GREEN, 30_000, NO_GO, 1), "the hand-over to green failed: no-go: faults: 3 of 600 decisions"),
        (run_to(GREEN, 30_000, REFUSED, 1), "the hand-over to green failed: the command expects term 0"),
        (
            run_to(GREEN, 30_000, UNFINISHED, 1),
            "the hand-over to green failed: a partition with payments has no decision of the new term",
        ),
        (run_to(GREEN, 30_000, {}, 2), "the hand-over to green failed: it ended with 2"),
        (CutOver(GREEN, CommandRun(("deployment", "cut-over", GREEN), 30_000)), "the hand-over to green was not made"),
    ],
)
def test_a_hand_over_that_was_not_made_is_reported_and_shown(cut: CutOver, words: str) -> None:
    state = act()
    state.hand_overs = [cut]
    view = view_with(two_hand_overs(), state, now_ms=40_000)
    assert fleets.not_handed_over(state) == (words, "the hand-over to demo was not made")
    shown = " ".join(drawn(panel(view), 200).split())
    assert (cut.problem or "it runs for 10.0 s now") in shown
    summary = summarise(run_of(view))
    assert "to green failed" in drawn(report(run_of(view), summary), 200)


def test_a_second_fleet_that_is_never_ready_is_reported_and_shown() -> None:
    state = BlueGreen(log_of()[:1], started_ms=10_000, waits_for="Redis is being filled")
    board = sound_board()
    assert "Redis is being filled, for" in drawn(panel(view_with(board, state, now_ms=11_000)))
    state.problem = "its model was not promoted: no verdict"
    view = view_with(board, state)
    assert f"{GREEN} could not take over: its model was not promoted: no verdict" in problems_of(run_of(view))
    assert "its model was not promoted" in drawn(panel(view))


def test_the_panel_and_the_report_say_who_publishes_since_which_offsets_and_how_decisions_differ() -> None:
    board = two_hand_overs()
    board.pass_over(1, EPOCHS + 1)
    view = view_with(board, act(), void=1)
    shown = drawn(panel(view))
    assert len(shown.splitlines()) < 40
    assert max(map(len, shown.splitlines())) <= 110
    for words in (
        "demo publishes in term 2, green decides silently",
        "0:6 1.0 s  1:6 1.0 s",
        "0:8 1.0 s  1:8 1.0 s",
        "green while silent: 600 compared, 24 (4.0%) decided otherwise",
        "$ fraudstream deployment cut-over green",
        "ready after 12.5 s: its histories are filled from Kafka",
        "go by 1 gates; term 1, longest pause 1.0 s",
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


def test_differences_are_known_once_the_hand_over_has_compared() -> None:
    assert silent_text(BlueGreen([])) == "compared with the published decisions by the hand-over"
    assert silent_text(act()) == "600 compared, 24 (4.0%) decided otherwise"


def test_a_term_without_decisions_has_neither_first_offset_nor_pause() -> None:
    empty = TermSummary(term=1, deployment=GREEN, decisions=0, first_offsets={}, pause_ms={}, late=0)
    assert terms_of(sound_board(), BlueGreen(log_of()))[1] == empty


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
