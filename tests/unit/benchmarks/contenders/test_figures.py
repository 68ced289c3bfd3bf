"""The table of contenders: medians with their spread, ratios first, and what was not measured as a dash."""

import msgspec
import pytest

from benchmarks.contenders.figures import ContenderFigures, RoundFigures, as_json, ratio, shown
from benchmarks.contenders.registry import CONTENDERS, OURS
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
