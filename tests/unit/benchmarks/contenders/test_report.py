"""A run's file is shown again as the table that the run printed, as Markdown, and as a picture."""

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner, Result

from benchmarks.contenders.figures import HALF, ContenderFigures, RoundFigures, as_json, read_json, table
from benchmarks.contenders.picture import picture
from benchmarks.contenders.registry import CONTENDERS, LIMITS, OURS
from benchmarks.contenders.report import plot_command, table_command
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
NOT_YET = ContenderFigures("quix", Line.OWN)


def drawn(found: list[ContenderFigures]) -> list[str]:
    """Return the texts of a picture."""
    root = ET.fromstring(picture(found))  # noqa: S314 - our own
    return [node.text or "" for node in root.iter("{http://www.w3.org/2000/svg}text")]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "contenders.json"
    path.write_bytes(as_json([*MEASURED, NOT_YET], {"model": "m"}))
    return path


def invoked(command: str, *arguments: object) -> Result:
    commands = {"table": table_command, "plot": plot_command}
    return CliRunner().invoke(commands[command], [str(one) for one in arguments])


def test_a_file_has_all_that_was_measured_and_nothing_of_what_was_not_yet(file: Path) -> None:
    assert read_json(file.read_bytes()) == MEASURED


def test_markdown_and_the_table_of_the_run_have_the_same_cells(file: Path) -> None:
    done = invoked("table", file, "--markdown")
    assert done.exit_code == 0, done.output
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines()]
    assert lines[0] == table(MEASURED).headings
    assert set(lines[1]) == {"---"}
    assert lines[2:] == table(MEASURED).rows
    assert [cell.header for cell in table(MEASURED).rich().columns] == lines[0]
    assert lines[2][2:6] == ["10,000 (9,000-11,000)", "1.0", "5,000 (4,500-5,500)", "70 (70-70)"]
    assert lines[3][:4] == ["Faust", "same", "500", "20.0"]
    assert lines[5][2:4] == ["-", "-"], "the copy decides nothing"


@pytest.mark.acceptance
@pytest.mark.parametrize(
    "found",
    [
        MEASURED[:1],
        MEASURED[1:2],
        [ContenderFigures(OURS, Line.SAME, [RoundFigures(Backlog(9_000, 70, 130))])],
        [ContenderFigures(OURS, Line.SAME, [RoundFigures(rates={"100": one_round(1, 2).rates["100"]})])],
    ],
)
def test_a_part_of_a_run_can_be_drawn(found: list[ContenderFigures]) -> None:
    assert CONTENDERS[found[0].contender].title in drawn(found)
