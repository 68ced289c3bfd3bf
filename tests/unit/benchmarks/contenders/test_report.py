"""A run's file is shown again as the table that the run printed, and as Markdown."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.contenders.figures import HALF, ContenderFigures, RoundFigures, as_json, read_json, table
from benchmarks.contenders.registry import LIMITS, OURS
from benchmarks.contenders.report import table_command
from benchmarks.contenders.results import AfterKill, AtRate, Backlog, OfferedLoad
from benchmarks.contenders.task import Line


def one_round(per_second: float, p99: float, failed: str = "") -> RoundFigures:
    load = OfferedLoad(100.0, 1_000, 10.0, p99 / 2, p99, 3 * p99, 0, 0)
    rates = {"100": AtRate(load, 900.0), HALF: AtRate(load, 100.0)}
    return RoundFigures(Backlog(per_second, 70.0, 130.0), per_second / 2, rates, AfterKill(0, 3, 9.0), failed)


MEASURED = [
    ContenderFigures(OURS, Line.SAME, [one_round(9_000, 10), one_round(11_000, 12)]),
    ContenderFigures("faust", Line.SAME, [one_round(500, 50)]),
    ContenderFigures("faust", Line.OWN, [one_round(1_000, 22), RoundFigures(failed="no scores")]),
    ContenderFigures(LIMITS[-1], Line.SAME, [one_round(300_000, 2)]),
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "contenders.json"
    path.write_bytes(as_json([*MEASURED, ContenderFigures("quix", Line.OWN)], {"model": "m"}))
    return path


def test_a_file_has_all_that_was_measured_and_nothing_of_what_was_not_yet(file: Path) -> None:
    assert read_json(file.read_bytes()) == MEASURED


def test_markdown_and_the_table_of_the_run_have_the_same_cells(file: Path) -> None:
    done = CliRunner().invoke(table_command, [str(file), "--markdown"])
    assert done.exit_code == 0, done.output
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines()]
    assert lines[0] == table(MEASURED).headings
    assert set(lines[1]) == {"---"}
    assert lines[2:] == table(MEASURED).rows
    assert [cell.header for cell in table(MEASURED).rich().columns] == lines[0]
    assert lines[2][2:6] == ["10,000 (9,000-11,000)", "1.0", "5,000 (4,500-5,500)", "70 (70-70)"]
    assert lines[3][:4] == ["Faust", "same", "500", "20.0"]
    assert lines[5][2:4] == ["-", "-"], "the copy decides nothing"
