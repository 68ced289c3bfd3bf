"""The command line in a project with folders of the same names as our packages: ours are used, or a clash is named."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.paths import HOUSE

SCRIPT = (str(Path(sys.executable).with_name("fraudstream")),)
MODULE = (sys.executable, "-m", "fraudstream.cli")
ROWS = "from features.rows import card\nFEATURES = (card('count', '3d'),)\n"
SOURCES = sorted(path for name in ("fraudstream", "stream") for path in (HOUSE / name).rglob("*.py"))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with packages of its own, and with a module of features beside them."""
    for name in ("features", "guards", "metrics", "models", "shadow"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"raise RuntimeError('the {name} of the project')\n")
    (tmp_path / "features" / "ours.py").write_text(ROWS)
    (tmp_path / "our_rows.py").write_text(ROWS)
    return tmp_path


def run(folder: Path, command: tuple[str, ...], **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        command,
        cwd=folder,
        env={**kept, "FRAUDSTREAM_FEATURES": "our_rows", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.acceptance
@pytest.mark.parametrize(
    ("command", "path"), [(SCRIPT, ""), (SCRIPT, "."), (MODULE, "")], ids=["script", "PYTHONPATH", "python -m"]
)
def test_the_command_line_runs_in_a_project_with_packages_of_the_same_names(
    project: Path, command: tuple[str, ...], path: str
) -> None:
    done = run(project, (*command, "features", "list", "--json"), **({"PYTHONPATH": path} if path else {}))
    assert done.returncode == 0, done.stderr
    assert [row["name"] for row in json.loads(done.stdout)["features"]] == ["card_count_3d"]


@pytest.mark.acceptance
@pytest.mark.parametrize("command", [SCRIPT, MODULE], ids=["script", "python -m"])
def test_a_set_inside_a_folder_of_the_same_name_is_found(project: Path, command: tuple[str, ...]) -> None:
    done = run(project, (*command, "features", "list", "--json"), FRAUDSTREAM_FEATURES="features.ours")
    assert done.returncode == 0, done.stderr
    assert [row["name"] for row in json.loads(done.stdout)["features"]] == ["card_count_3d"]


def test_a_package_before_ours_on_the_path_is_named_in_one_line(project: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = run(elsewhere, (*SCRIPT, "schema"), PYTHONPATH=str(project))
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{project / 'features'} hides the package features of fraudstream, which is in {HOUSE}: ")
    assert line.endswith(f"take {project} off PYTHONPATH")


def test_our_processes_start_without_the_working_folder_on_their_path() -> None:
    started = {path: re.findall(r'sys\.executable, ("-\w"(?:, "-\w")*)', path.read_text()) for path in SOURCES}
    of_modules = [options for found in started.values() for options in found if options.endswith('"-m"')]
    assert len(of_modules) >= 4
    assert set(of_modules) == {'"-P", "-m"'}
