"""What the demo shows can be read: on a terminal of 110 by 40, in lines, and as a summary."""

import io

import pytest
from demo_scores import NEW, OLD, PROMOTED, run_of, score, sent, sound_board
from rich.console import Console

from models.policy import Decision
from stream.demo.presenting import PlainPresenter, TerminalPresenter, presenter_for
from stream.demo.scoreboard import Place, Scoreboard
from stream.demo.screen import View, line, picture
from stream.demo.summary import report, summarise
from stream.simulation.rows import Pattern

MODELS = {OLD: "cards plain", NEW: "cards better"}


def busy_board() -> Scoreboard:
    board = sound_board(count=400, partitions=4)
    for number in range(20):
        place = sent(board, f"f{number}", Place(number % 4, 100 + number // 4), Pattern.TAKEOVER)
        board.decide(score(f"f{number}", place, revision=2, decision=Decision.DECLINE), 1_020)
    return board


def view_of(board: Scoreboard) -> View:
    return View(
        board=board,
        models=MODELS,
        partitions=4,
        done=420,
        total=12_000,
        now_ms=1_500,
        simulated_at="2026-01-01T12:34:00.000Z",
        labels=3,
        void=0,
        promotion=PROMOTED,
    )


def drawn(what: object, width: int = 110) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(what)
    stream = console.file
    assert isinstance(stream, io.StringIO)
    return stream.getvalue()


def test_the_picture_fits_a_terminal_and_names_what_matters() -> None:
    text = drawn(picture(view_of(busy_board())))
    assert len(text.splitlines()) < 40
    assert max(map(len, text.splitlines())) <= 110
    assert any(line.startswith("rate ") for line in text.splitlines())
    for words in (
        "cards plain aaaaaaaa",
        "cards better bbbbbbbb",
        "alert precision 100% of 20 alerts",
        "accepted as revision 2, 100 ms after it was asked for",
        "fraud, takeover",
        "0 to 49",
        "50 to 104",
        "decided in p50 5 p99 5 ms",
    ):
        assert words in text


def test_a_line_says_the_same_in_short() -> None:
    text = line(view_of(busy_board()))
    assert "\n" not in text
    assert "decline 20" in text
    assert "precision 100%" in text
    assert "revision 2" in text


def test_an_empty_board_can_be_drawn() -> None:
    view = view_of(Scoreboard())
    assert "precision -" in line(view)
    assert "who decided what" in drawn(picture(view))


def test_the_report_names_each_problem_or_says_that_all_held() -> None:
    sound = run_of(sound_board(), PROMOTED)
    assert "all checks held" in drawn(report(sound, summarise(sound)))
    harmed = run_of(sound_board(), PROMOTED, void=2)
    text = drawn(report(harmed, summarise(harmed)))
    assert "not as it must be" in text
    assert "2 scores were void" in text


@pytest.mark.parametrize(("terminal", "kind"), [(True, TerminalPresenter), (False, PlainPresenter)])
def test_steps_end_in_a_line_with_what_came_of_them(*, terminal: bool, kind: type) -> None:
    console = Console(file=io.StringIO(), width=110, force_terminal=terminal)
    presenter = presenter_for(console)
    assert isinstance(presenter, kind)
    with presenter.step("knit") as step:
        step.advance("rows", 1, 2)
        step.result = "a sock"
    with presenter.screen() as draw:
        draw(lambda: "picture", lambda: "line")
    stream = console.file
    assert isinstance(stream, io.StringIO)
    assert "knit" in stream.getvalue()
    assert stream.getvalue().count("a sock") == 1
    assert ("picture" in stream.getvalue()) is terminal
