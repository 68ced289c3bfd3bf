"""The output of the demo: the panel on terminals of 110 and of 80 columns, plain lines, the report, an SVG picture."""

import io
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from fraudstream.cli.demo import demo
from fraudstream.demo.comparisons import RevisionComparisons
from fraudstream.demo.panel import line, panel
from fraudstream.demo.plan import Action, ScheduledAction
from fraudstream.demo.presenter import PlainPresenter, TerminalPresenter, presenter_for
from fraudstream.demo.report import GO_ON, PAGES, report
from fraudstream.demo.run import SvgRecorder
from fraudstream.demo.scoreboard import Outage, Place, Scoreboard
from fraudstream.demo.summary import summarise
from fraudstream.demo.timeline import clock, news
from fraudstream.demo.view import View, seconds, share
from fraudstream.demo.world.rows import Pattern
from fraudstream_client.outputs import Decision
from models.problems import Problem, ProblemCode
from support.demo_scores import (
    BACK,
    PROMOTED,
    comparison,
    drawn,
    refused,
    run_of,
    score,
    sent,
    sound_board,
    view_of,
    without,
)
from support.paths import HOUSE


def busy_board() -> Scoreboard:
    board = sound_board(count=600, partitions=4)
    for number in range(20):
        place = sent(board, f"f{number}", Place(number % 4, 150 + number // 4), Pattern.TAKEOVER)
        board.decide(score(f"f{number}", place, revision=BACK, decision=Decision.DECLINE), 1_020)
    return board


def busy_view() -> View:
    board = busy_board()
    view = view_of(board, total=12_000)
    for number in range(6):
        place = sent(board, f"m{number}", Place(0, 900 + number), Pattern.STOLEN)
        pair = (Decision.DECLINE, Decision.APPROVE)
        view.comparisons.compare([comparison(f"m{number}", place, pair, revision=PROMOTED)])
    return view


def test_the_panel_fits_a_terminal_of_110_by_40_and_shows_models_commands_and_comparisons() -> None:
    text = drawn(panel(busy_view()))
    assert len(text.splitlines()) < 40
    assert max(map(len, text.splitlines())) <= 110
    for words in (
        "plain aaaaaaaa",
        "better bbbbbbbb",
        "alert precision 100% of 20 alerts",
        "better goes into the shadow",
        "revision 3 accepted in 100 ms; w ready after 100 ms",
        "everywhere after 100 ms, from 0:50 1:50 2:50 3:50",
        "rolled back to plain",
        "revision 4 accepted in 20 ms; it was kept loaded",
        "watch: plain beside better: 100% of 200 compared",
        "only by better: 6, € 75",
        "Decided otherwise: 6 of 206",
        "decline to approve",
        "decided in p50 5 p99 5 ms",
    ):
        assert words in text


def test_the_panel_keeps_its_parts_on_a_terminal_of_80_columns() -> None:
    text = drawn(panel(busy_view()), width=80)
    assert max(map(len, text.splitlines())) <= 80
    for words in ("rolled back to", "only by better: 6, € 75", "decline to approve", "frauds found"):
        assert words in text


def test_the_panel_shows_planned_actions_and_an_outage_until_the_news_reports_its_end() -> None:
    board = busy_board()
    sent(board, "waiting", Place(0, 999))
    dead = Outage(killed_ms=1_200, in_flight=1)
    view = view_of(board, outage=dead, planned=(ScheduledAction(80.0, Action.ROLL_BACK),))
    text = drawn(panel(view))
    assert "1:20" in text
    assert "the promotion is rolled back" in text
    assert "1 payment waiting for the new worker, for 300 ms now" in text
    assert not any("killed" in item for item in news(view))
    board.decide(score("waiting", Place(0, 999), epoch=2, revision=BACK), 5_400)
    back = view_of(board, outage=dead.with_uncommitted(7).after(board, 5_450, calm=0))
    (item,) = [item for item in news(back) if "killed" in item]
    assert "back after 4.2 s; 1 payment waited, caught up 50 ms later; 7 decisions were written" in item


def test_the_panel_marks_refused_commands_and_commands_without_a_verdict() -> None:
    sound = view_of(sound_board())
    why = Problem(ProblemCode.EXPIRED, "its time was over")
    assert "refused: its time was over" in drawn(panel(replace(sound, commands=refused(sound.commands, "four", why))))
    assert "asked for, no verdict yet" in drawn(panel(without(sound, "four")))


def test_the_plain_line_gives_the_main_figures() -> None:
    text = line(busy_view())
    assert "\n" not in text
    assert "decline 20" in text
    assert "precision 100%" in text
    assert "agreed" in text
    assert text.endswith("revision 4")


def test_an_empty_board_can_be_drawn() -> None:
    board = Scoreboard()
    view = view_of(board, comparisons=RevisionComparisons(board.truths), began_ms=0)
    assert "precision -" in line(view)
    text = drawn(panel(view))
    assert "frauds found" in text
    assert "no comparison yet" in text


def test_the_report_lists_the_problems_or_states_that_all_checks_passed() -> None:
    sound = run_of(view_of(sound_board()))
    text = " ".join(drawn(report(sound, summarise(sound))).split())
    assert "all checks passed" in text
    assert "shadow better beside plain: 100% of 4 compared, 100% agreed" in text
    assert "watch plain beside better: 100% of 4 compared" in text
    harmed = run_of(view_of(sound_board(), void=2))
    text = drawn(report(harmed, summarise(harmed)))
    assert "checks failed" in text
    assert "2 scores were void" in text


def test_the_report_of_a_kill_has_its_numbers() -> None:
    board = sound_board()
    for partition in (0, 1):
        place = sent(board, f"later{partition}", Place(partition, 6))
        board.decide(score(f"later{partition}", place, revision=BACK, epoch=2, latency_ms=3_980), 5_000)
    outage = Outage(killed_ms=1_015, in_flight=3).with_uncommitted(9).after(board, 5_010, calm=0)
    run = run_of(view_of(board, outage=outage))
    text = " ".join(drawn(report(run, summarise(run))).split())
    for words in (
        "payments in flight: 3",
        "decided after 4.0 s",
        "2 payments waited, the longest 4.0 s",
        "9 decisions had not been committed",
        "the killed worker's included",
        "without the 2 that the kill kept waiting",
    ):
        assert words in text


def test_every_page_that_the_report_refers_to_exists_with_its_section() -> None:
    for page in PAGES:
        text = (HOUSE / page.path).read_text()
        assert not page.section or re.search(rf"^#+ {re.escape(page.section)}$", text, re.MULTILINE), page


def test_the_suggested_commands_use_options_of_the_demo() -> None:
    options = {option for parameter in demo.params for option in parameter.opts}
    assert {command.removeprefix("fraudstream demo ").split()[0] for command, _ in GO_ON} <= options


def test_the_svg_picture_is_well_formed_and_refers_to_no_external_resource(tmp_path: Path) -> None:
    recorder = SvgRecorder("fraudstream demo")
    recorder.record(panel(busy_view()))
    recorder.save(tmp_path / "demo.svg")
    text = (tmp_path / "demo.svg").read_text()
    assert ET.fromstring(text).tag.endswith("svg")  # noqa: S314 - our own file
    assert "url(http" not in text
    assert "rolled" in text
    assert re.findall(r"https?://[^\"<]*", text) == ["http://www.w3.org/2000/svg"]


@pytest.mark.parametrize(
    ("part", "digits", "text"),
    [(None, 0, "-"), (0.5, 0, "50%"), (1.0, 1, "100%"), (0.9999, 0, ">99%"), (0.9996, 1, ">99.9%"), (0.0, 0, "0%")],
)
def test_a_share_below_one_is_never_shown_as_100_percent(part: float | None, digits: int, text: str) -> None:
    assert share(part, digits) == text


def test_clock_times_and_durations_are_formatted() -> None:
    assert [clock(0), clock(61_500), clock(-2_300)] == ["0:00", "1:01", "-0:02"]
    assert [seconds(None), seconds(12), seconds(1_960)] == ["-", "12 ms", "2.0 s"]


@pytest.mark.parametrize(("terminal", "kind"), [(True, TerminalPresenter), (False, PlainPresenter)])
def test_each_presenter_prints_results_of_steps_and_either_the_panel_or_notes(*, terminal: bool, kind: type) -> None:
    console = Console(file=io.StringIO(), width=110, force_terminal=terminal)
    presenter = presenter_for(console)
    assert isinstance(presenter, kind)
    with presenter.step("knit") as step:
        step.advance("rows", 1, 2)
        step.result = "a sock"
    with presenter.live() as draw:
        draw(lambda: "picture", lambda: "line")
        presenter.note("a button [came] off")
    stream = console.file
    assert isinstance(stream, io.StringIO)
    assert "knit" in stream.getvalue()
    assert stream.getvalue().count("a sock") == 1
    assert ("picture" in stream.getvalue()) is terminal
    assert ("a button [came] off" in stream.getvalue()) is not terminal
