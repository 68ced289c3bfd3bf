"""The earlier version for the test of upgrades: extracted from the repository, or a reason why it cannot run here."""

import os
import subprocess
from pathlib import Path

import pytest

from support.fleet import previous
from support.fleet.previous import LOCK, NoPreviousVersion, previous_version


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of three commits of code, of which the last changes nothing that is locked, and one of a text."""
    folder = tmp_path / "repository"
    (folder / LOCK).parent.mkdir(parents=True)
    git(folder, "init", "--quiet")
    (folder / "stream").mkdir()
    for lock, code, text in (
        ("a==1", "first", ""),
        ("a==2", "second", ""),
        ("a==2", "third", ""),
        ("a==2", "third", "t"),
    ):
        (folder / LOCK).write_text(lock)
        (folder / "stream/code.py").write_text(code)
        (folder / "README.md").write_text(text)
        git(folder, "add", "--all")
        git(folder, "-c", "user.name=a", "-c", "user.email=a@b.example", "commit", "--quiet", "--message", code + text)
    monkeypatch.setattr(previous, "HOUSE", folder)
    monkeypatch.delenv(previous.VARIABLE, raising=False)
    return folder


def git(folder: Path, *arguments: str) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    alone = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}  # nor what a hook says of another repository
    command = ["git", *arguments]
    done = subprocess.run(command, cwd=folder, env=kept | alone, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_the_commit_before_the_last_change_of_code_is_extracted_by_default(repository: Path, tmp_path: Path) -> None:
    found = previous_version(tmp_path / "there")
    assert found.commit == git(repository, "rev-parse", "HEAD~2")
    assert (found.folder / "stream/code.py").read_text() == "second"


def test_a_version_with_other_locked_dependencies_does_not_run_here(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(previous.VARIABLE, "HEAD~3")
    first = git(repository, "rev-parse", "HEAD~3")[:12]
    with pytest.raises(NoPreviousVersion, match=f"{LOCK} of commit {first} differs"):
        previous_version(tmp_path / "there")


@pytest.mark.usefixtures("repository")
def test_a_commit_that_a_shallow_clone_lacks_is_named_with_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(previous.VARIABLE, "v0.0.9")
    with pytest.raises(NoPreviousVersion, match=f"commit v0.0.9 is not in this repository.*{previous.VARIABLE}"):
        previous_version(tmp_path / "there")
