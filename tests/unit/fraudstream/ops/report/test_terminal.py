"""A terminal shows what the page shows, cuts nothing, and needs no matplotlib."""

import sys
from io import StringIO

import pytest
from rich.console import Console

from fraudstream.ops.report.charts.axis import ChartAxis
from fraudstream.ops.report.charts.drawing import ChartFrame
from fraudstream.ops.report.charts.intervals import IntervalChart, IntervalRow
from fraudstream.ops.report.document import Provenance, Report, Section
from fraudstream.ops.report.parts import Cell, KeyFigure, KeyFigures, Note, Part
from fraudstream.ops.report.quantities import Count, WithInterval
from fraudstream.ops.report.tables import DataTable
from fraudstream.ops.report.terminal import on_terminal
from fraudstream.ops.rollout.verdict.page import state_verdict
from support.verdict_reports import example

ORIGIN = Provenance("topics scores and outcomes", 0, 86_400_000, 86_400_000, "0.1.0")


def shown(*parts: Part, width: int = 80) -> str:
    return printed(Report("Title", "Subtitle", None, (Section("Section", parts),), ORIGIN), width)


def printed(report: Report, width: int) -> str:
    console = Console(width=width, file=StringIO(), markup=False, emoji=False, highlight=False)
    console.print(on_terminal(report))
    text: str = console.file.getvalue()  # type: ignore[attr-defined] - a StringIO
    return text


def test_a_section_without_data_renders_nothing() -> None:
    chart = IntervalChart(ChartFrame("t", "s"), ChartAxis("x"), (IntervalRow("a", 1.0, 0.0, 2.0),))
    empty = (Note(), KeyFigures((KeyFigure("Recall", None),)), DataTable("Caption", ("A", "B"), (("a", None),)))
    assert "Section" not in shown(*empty)
    assert "Section" not in shown(*empty, chart), "a heading without anything below it"
    assert "n/a" not in shown(*empty, Note("Words."))


WIDE: tuple[Cell, ...] = ("transaction-0123456789", "card-0123456789abcdef", "x" * 70, Count(12), "fraud")


@pytest.mark.parametrize("width", [20, 80])
def test_nothing_is_cut_however_narrow_the_terminal_is(width: int) -> None:
    rows = (WIDE, ("second", "card", "y", WithInterval(Count(5), Count(1), Count(9)), "genuine"))
    text = shown(DataTable("Largest", ("Transaction", "Card", "Digest", "Payments", "Outcome"), rows), width=width)
    joined = "".join(text.split())
    for cell in ("transaction-0123456789", "card-0123456789abcdef", "x" * 70, "12", "5(1to9)", "genuine", "Outcome"):
        assert cell in joined
    assert "\N{HORIZONTAL ELLIPSIS}" not in text
    assert max(map(len, text.splitlines())) <= width


@pytest.fixture
def _without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)


@pytest.mark.usefixtures("_without_matplotlib")
def test_a_report_with_charts_is_printed_without_matplotlib() -> None:
    text = printed(state_verdict(example(100)), 100)
    assert "The largest of them in EUR" in text


def test_names_do_not_move_the_cursor() -> None:
    assert "\x1b" not in shown(Note("\x1b[31m red \u202e"), DataTable("\x1b[2J", ("\x1b", "b"), (("\x1b", "\x1b"),)))
