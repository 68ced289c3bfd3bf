"""The table of contenders: medians with their spread, ratios first, and what was not measured as a dash."""

import io

import msgspec
import pytest
from rich.console import Console

from benchmarks.contenders.figures import ContenderFigures, RoundFigures, as_json, ratio, shown, table
from benchmarks.contenders.registry import CONTENDERS, LIMITS, OURS
from benchmarks.contenders.results import AfterKill, AtRate, Backlog, OfferedLoad
from benchmarks.contenders.task import ContenderTask, Line, read_task


def one_round(per_second: float, p50: float, kill: AfterKill | None = None) -> RoundFigures:
    load = OfferedLoad(100.0, 1_000, 10.0, p50, 2 * p50, 3 * p50, 0, 0)
    return RoundFigures(Backlog(per_second, 1e6 / per_second, 130.0), None, {"100": AtRate(load, 900.0)}, kill)


def test_a_figure_is_the_median_with_the_least_and_the_most() -> None:
    assert shown([]) == "-"
    assert shown([1234.4]) == "1,234"
    assert shown([3.0, 1.0, 2.0], 1) == "2.0 (1.0-3.0)"
    assert ratio([8_000.0, 7_000.0, 9_000.0], [1_000.0]) == "8.0"
    assert ratio([], [1_000.0]) == "-"


def test_the_table_has_a_line_for_each_contender_and_says_what_was_lost() -> None:
    ours = ContenderFigures(OURS, Line.SAME, [one_round(8_000, 5), one_round(7_000, 7)])
    faust = ContenderFigures("faust", Line.OWN, [one_round(750, 40, AfterKill(0, 12, 30.0)), RoundFigures(failed="x")])
    copy = ContenderFigures(LIMITS[-1], Line.SAME)
    out = io.StringIO()
    Console(file=out, width=250).print(table([ours, faust, copy]).rich())
    lines = {line.split("│")[1].strip(): line.split("│") for line in out.getvalue().splitlines() if "│" in line}
    assert [cell.strip() for cell in lines["fraudstream"][2:5]] == ["-", "7,500 (7,000-8,000)", "1.0"]
    assert [cell.strip() for cell in lines["Faust"][2:5]] == ["own", "750", "10.0"]
    assert lines["Faust"][7].strip() == "40.0 / 80.0 / 120.0; 900"
    assert lines["Faust"][9].strip() == "0, 12"
    assert [cell.strip() for cell in lines["librdkafka copying records"][3:10]] == ["-"] * 7


def test_everything_is_kept_as_json() -> None:
    ours = ContenderFigures(OURS, Line.SAME, [one_round(8_000, 5, AfterKill(0, 0, 1.0))])
    read = msgspec.json.decode(as_json([ours], {"model": "m"}))
    assert read["model"] == "m"
    assert read["contenders"][0]["rounds"][0]["backlog"][0] == 8_000
    assert read["contenders"][0]["rounds"][0]["kill"] == [0, 0, 1.0]


def test_a_task_reaches_its_process_through_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    task = ContenderTask("b:9092", "redis://r", "k", "models", "d", "in", "out", "g", Line.OWN)
    for name, value in task.environment().items():
        monkeypatch.setenv(name, value)
    assert read_task() == task


def test_each_contender_says_what_is_unfair_about_it() -> None:
    for one in CONTENDERS.values():
        assert one.remark.endswith(".")
    assert [name for name, one in CONTENDERS.items() if not one.words] == [OURS]
