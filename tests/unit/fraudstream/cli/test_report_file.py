"""`--report FILE` writes the page of a report, or says in one line why that is impossible."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fraudstream.cli import shadow_verdict
from fraudstream.cli.main import main
from fraudstream.cli.report_file import write_report
from fraudstream.ops.rollout.verdict.gates import VerdictWord
from stream.errors import MissingMatplotlibError
from support.verdict_reports import example


def test_a_verdict_is_written_as_a_page_beside_its_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, file = example(60), tmp_path / "verdict.html"
    monkeypatch.setattr(shadow_verdict, "verdict_or_refuse", lambda *_: found)
    shown = CliRunner().invoke(main, ["shadow", "verdict", "--report", str(file)])
    assert shown.exit_code == (found.verdict is not VerdictWord.PROMOTE)
    assert f"decided by the gate {found.gate.value}" in shown.stdout
    assert file.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_a_page_replaces_the_one_before(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    write_report(file, lambda: "old \N{CHECK MARK}")
    write_report(file, lambda: "new")
    assert file.read_text(encoding="utf-8") == "new"


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="1"):
        write_report(tmp_path / "missing" / "page.html", lambda: "page")
    message = capsys.readouterr().err
    assert "missing/page.html: No such file or directory; choose another file for --report" in message


@pytest.mark.parametrize("command", [["shadow", "verdict"], ["split", "report"], ["demo"]])
def test_a_page_that_could_not_be_written_is_refused_before_the_long_work(tmp_path: Path, command: list[str]) -> None:
    """Nothing is read, and no server is asked: the message is about the file alone."""
    missing = tmp_path / "missing" / "page.html"
    done = CliRunner().invoke(main, [*command, "--report", str(missing)])
    assert done.exit_code == 1
    assert done.stderr == (
        f"cannot write the report to {missing}: there is no folder {missing.parent}; make it, or choose another file\n"
    )


def test_a_missing_library_is_named_with_its_extra(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def make() -> Any:
        raise MissingMatplotlibError

    with pytest.raises(SystemExit, match="1"):
        write_report(tmp_path / "page.html", make)
    assert "install the extra fraudstream[report]: pip install 'matplotlib>=3.10'" in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()
