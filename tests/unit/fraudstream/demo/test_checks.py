"""Each check of a run reports nothing for a sound run, and reports the fault that it is for."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from fraudstream.demo import checks
from fraudstream.demo.comparisons import RevisionComparisons
from fraudstream.demo.scoreboard import Delay, GroundTruth, Outage, Place, Scoreboard
from fraudstream.demo.shell import CommandRun
from fraudstream.demo.summary import problems_of, summarise
from fraudstream.demo.world.rows import Pattern
from models.commands import EventKind
from support.demo_scores import (
    BACK,
    PROMOTED,
    audit_of,
    commands_of,
    event,
    in_first_term,
    run_of,
    score,
    sent,
    sound_board,
    view_of,
)


def test_a_sound_run_has_no_problems() -> None:
    summary = summarise(run_of(view_of(sound_board())))
    assert (summary.ok, summary.problems) == (True, ())
    assert (summary.published, summary.decided) == (12, 12)
    assert (summary.promotion_ms, summary.rollback_ms) == (100, 20)
    assert summary.first_offsets == {0: {2: 0, 3: 2, 4: 4}, 1: {2: 0, 3: 2, 4: 4}}
    assert [(one.revision, one.compared, one.coverage) for one in summary.shadow] == [(2, 4, 1.0), (3, 4, 1.0)]
    assert [command.kind for command in summary.commands] == ["promote", "challenge", "promote", "roll_back"]
    assert summary.chaos is None


def lose(board: Scoreboard) -> None:
    sent(board, "lost", Place(0, 6))


def unasked(board: Scoreboard) -> None:
    board.decide(score("ghost", Place(0, 6), revision=BACK), 1_010)


def go_back(board: Scoreboard) -> None:
    board.decide(score("t12", sent(board, "t12", Place(0, 6)), revision=PROMOTED), 1_010)


def keep_back(board: Scoreboard) -> None:
    board.due("never", GroundTruth(Pattern.GENUINE, live=True, due_ms=1_000))


def refuse(board: Scoreboard) -> None:
    board.dead_letter("wrong_key")


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lose, "1 transactions without a decision when the waiting ended: lost at 0:6"),
        (unasked, "1 transactions decided and never published: ghost"),
        (go_back, "1 transactions decided by a revision older than the one before: 0:6"),
        (keep_back, "1 transactions never acknowledged by the broker: never"),
        (refuse, "1 dead letters with wrong_key"),
    ],
)
def test_each_planted_fault_is_reported(harm: Callable[[Scoreboard], None], words: str) -> None:
    board = sound_board()
    harm(board)
    assert words in problems_of(run_of(view_of(board)))


def test_void_and_unreadable_scores_are_reported() -> None:
    assert problems_of(run_of(view_of(sound_board(), void=3))) == ("3 scores were void",)
    assert checks.void_scores(0, 2) == ("2 scores were unreadable",)


def test_a_partition_in_which_the_new_revision_decided_nothing_is_reported() -> None:
    board = sound_board()
    del board.first_offsets[1][in_first_term(BACK)]
    assert problems_of(run_of(view_of(board))) == ("partition 1: revision 4 decided nothing there",)


def test_a_cutover_event_whose_offset_differs_from_the_scores_is_reported() -> None:
    board = sound_board()
    events = [event(EventKind.CUTOVER, 3, partition=0, offset=2), event(EventKind.CUTOVER, 3, partition=1, offset=3)]
    (problem,) = checks.cutovers_unlike_announced(board, events, 3)
    assert problem == "partition 1: revision 3 began at offset 2, announced was 3"


@pytest.mark.parametrize(
    ("audit", "problem"),
    [
        (audit_of(11), "11 offsets decided, of 12 published"),
        (audit_of(13), "13 offsets decided, of 12 published"),
        (audit_of(12, offsets={"decided": 12, "undecided": 3}), "3 offsets undecided"),
        (audit_of(12, fault_counts={"without_verdict": 2, "decided_and_refused": 0}), "2 offsets without verdict"),
        (CommandRun(("topics", "audit"), 0, 1, 1, {}, "Kafka is away"), "Kafka is away"),
    ],
)
def test_what_the_audit_of_the_topics_finds_is_reported(audit: CommandRun, problem: str) -> None:
    (found,) = problems_of(run_of(view_of(sound_board()), audit=audit))
    assert found.startswith("`fraudstream topics audit`")
    assert found.endswith(problem)


PROMOTE = ("model", "promote", "bbbbbbbb")
REFUSED = {"kind": "refused", "problems": [{"code": "unknown_model", "detail": "there is no such model"}]}


@pytest.mark.parametrize(
    ("run", "problem"),
    [
        (CommandRun(PROMOTE, 0), "`fraudstream model promote bbbbbbbb` did not end"),
        (CommandRun(PROMOTE, 0, 9, 1, REFUSED), "`fraudstream model promote bbbbbbbb`: there is no such model"),
        (CommandRun(PROMOTE, 0, 9, 1, {}, "no verdict"), "`fraudstream model promote bbbbbbbb`: no verdict"),
        (CommandRun(PROMOTE, 0, 9, -9), "`fraudstream model promote bbbbbbbb`: it ended with -9"),
    ],
)
def test_a_command_that_was_refused_or_failed_is_reported(run: CommandRun, problem: str) -> None:
    sound = CommandRun(PROMOTE, 0, 9, 0, {"kind": "accepted"})
    assert problems_of(run_of(view_of(sound_board(), runs=(sound, run)))) == (problem,)


def test_revisions_without_comparisons_are_reported() -> None:
    board = sound_board()
    blind = view_of(board, comparisons=RevisionComparisons(board.truths))
    assert problems_of(run_of(blind)) == (
        "revision 2: no decision was compared with the challenger's",
        "revision 3: no decision was compared with the challenger's",
    )


def killed_board() -> Scoreboard:
    """Return a sound board on which a new worker, under a higher epoch, decided two more payments after a kill."""
    board = sound_board()
    for partition in (0, 1):
        place = sent(board, f"later{partition}", Place(partition, 6))
        board.decide(score(f"later{partition}", place, revision=BACK, epoch=2, latency_ms=2_000), 3_000)
    return board


KILLED = Outage(killed_ms=1_015, in_flight=2, uncommitted=5)


def test_the_summary_of_a_survived_kill_has_its_figures() -> None:
    board = killed_board()
    view = view_of(board, outage=KILLED.after(board, 3_040, calm=0), commands=commands_of(board))
    summary = summarise(run_of(view))
    assert summary.problems == ()
    assert summary.chaos is not None
    assert (summary.chaos.in_flight, summary.chaos.uncommitted, summary.chaos.gap_ms) == (2, 5, 1_985)
    assert (summary.chaos.waited, summary.chaos.longest_wait_ms, summary.chaos.caught_up_ms) == (2, 2_000, 2_025)
    assert summary.latency is not None
    assert summary.latency.p99 == 5


def test_a_kill_after_which_no_worker_decides_is_reported() -> None:
    board = sound_board()
    outage = KILLED.after(board, 9_000, calm=0)
    assert problems_of(run_of(view_of(board, outage=outage))) == ("after the kill, no new worker decided anything",)


def test_a_partition_without_takeover_an_undecided_backlog_and_no_waiting_payment_are_reported() -> None:
    board = sound_board()
    board.decide(score("late", sent(board, "late", Place(0, 6)), revision=BACK, epoch=2), 3_000)
    board.delays.clear()
    outage = replace(KILLED.after(board, 3_000, calm=0), caught_up_ms=None)
    assert checks.not_recovered(board, outage, 2) == (
        "after the kill, no worker took over partitions 1",
        "after the kill, the backlog was never decided",
        "the kill showed nothing: no payment had to wait for the new worker",
    )


def test_a_payment_that_the_new_worker_decided_at_once_does_not_count_as_waiting() -> None:
    board = killed_board()
    outage = KILLED.after(board, 3_040, calm=0)
    assert checks.not_recovered(board, outage, 2) == ()
    board.delays[:] = [Delay(seen_ms=3_000, decision=10, round_trip=10)]
    assert checks.not_recovered(board, outage, 2) == (
        "the kill showed nothing: no payment had to wait for the new worker",
    )


def test_a_problem_counts_all_transactions_and_names_three() -> None:
    board = sound_board()
    for number in range(5):
        sent(board, f"x{number}", Place(0, 10 + number))
    (line,) = checks.late_or_lost(board)
    assert line.startswith("5 transactions")
    assert line.endswith("x2 at 0:12 and 2 more")
