"""Each check passes a sound run, and finds the one thing that it is for."""

from collections.abc import Callable

import pytest
from demo_scores import CUTOVERS, PROMOTED, event, run_of, score, sent, sound_board

from models.commands import EventKind
from models.problems import Problem, ProblemCode
from stream.demo import checks
from stream.demo.scoreboard import Place, Scoreboard, Truth
from stream.demo.screen import Promotion
from stream.demo.summary import found, summarise
from stream.simulation.rows import Pattern


def test_a_sound_run_has_no_problems() -> None:
    summary = summarise(run_of(sound_board(), PROMOTED))
    assert (summary.ok, summary.problems) == (True, ())
    assert (summary.published, summary.decided, summary.promotion_ms) == (8, 8, 100)
    assert summary.first_offsets == {0: {1: 0, 2: 2}, 1: {1: 0, 2: 2}}


def lose(board: Scoreboard) -> None:
    sent(board, "lost", Place(0, 4))


def skip(board: Scoreboard) -> None:
    board.decide(score("t9", sent(board, "t9", Place(1, 5)), revision=2), 1_010)
    board.published["t8"] = Place(1, 4)
    board.decided["t8"] = [Place(1, 4)]


def twice(board: Scoreboard) -> None:
    board.decide(score("t7", Place(1, 4), revision=2), 1_010)


def unasked(board: Scoreboard) -> None:
    board.decide(score("ghost", Place(0, 4), revision=2), 1_010)


def go_back(board: Scoreboard) -> None:
    board.decide(score("t8", sent(board, "t8", Place(0, 4)), revision=1), 1_010)


def keep_back(board: Scoreboard) -> None:
    board.due("never", Truth(Pattern.GENUINE, live=True, due_ms=1_000))


def refuse(board: Scoreboard) -> None:
    board.dead_letter("wrong_key")


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lose, "1 transactions without a decision when the waiting ended: lost at 0:4"),
        (skip, "partition 1: 1 offsets have no decision, the first is 4"),
        (twice, "1 transactions decided more than once: t7 at 1:3, 1:4"),
        (twice, "partition 1: 1 decisions too many, the first of offset 4"),
        (unasked, "1 transactions decided and never published: ghost"),
        (go_back, "1 transactions decided by a revision older than the one before: 0:4"),
        (keep_back, "1 transactions never acknowledged by the broker: never"),
        (refuse, "1 dead letters with wrong_key"),
    ],
)
def test_one_planted_fault_is_found_and_named(harm: Callable[[Scoreboard], None], words: str) -> None:
    board = sound_board()
    harm(board)
    assert words in found(run_of(board, PROMOTED))


def test_void_scores_are_a_fault() -> None:
    assert found(run_of(sound_board(), PROMOTED, void=3)) == ("3 scores were void",)
    assert checks.void_scores(0, 2) == ("2 scores were unreadable",)


def test_a_partition_that_the_new_revision_never_decided_is_named() -> None:
    board = sound_board()
    del board.first_offsets[1][2]
    assert checks.missed_cutovers(board, range(2), 2) == ("partition 1: revision 2 decided nothing there",)


def test_an_announced_cutover_that_the_scores_do_not_show_is_named() -> None:
    events = [CUTOVERS[0], event(EventKind.CUTOVER, place=Place(1, 3))]
    (problem,) = checks.cutovers_unlike_announced(sound_board(), events, 2)
    assert problem == "partition 1: revision 2 began at offset 2, announced was 3"


def test_a_promotion_without_a_verdict_and_a_refused_one_are_faults() -> None:
    no_verdict = Promotion("b" * 64, 1_000)
    why = (Problem(ProblemCode.UNKNOWN_MODEL, "there is no such model"),)
    refused = Promotion("b" * 64, 1_000, event(EventKind.REFUSED, problems=why), 1_100)
    assert found(run_of(sound_board(), no_verdict)) == ("the second model's promotion got no verdict",)
    assert found(run_of(sound_board(), None)) == ("the second model's promotion got no verdict",)
    assert found(run_of(sound_board(), refused)) == (
        "the second model's promotion was refused: there is no such model",
    )


def test_many_are_counted_and_three_are_named() -> None:
    board = sound_board()
    for number in range(5):
        sent(board, f"x{number}", Place(0, 10 + number))
    (line,) = checks.late_or_lost(board)
    assert line.startswith("5 transactions")
    assert line.endswith("x2 at 0:12 and 2 more")
