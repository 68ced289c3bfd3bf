"""What a checkout says of itself without git, against what git says, over real repositories."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from stream.git_checkout import commit_of, has_changes

Git = Callable[..., str]
IDENTITY = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
PACKAGES, SUFFIXES = ("stream", "models"), (".py", ".lua")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "checkout"


@pytest.fixture
def git(root: Path) -> Git:
    """Run git in a repository with a commit of some sources."""

    def run(*words: str, cwd: Path = root) -> str:
        who = ("-c", "user.name=Ann", "-c", "user.email=ann@example.com", "-c", "commit.gpgsign=false")
        command = ["git", *who, *words]
        done = subprocess.run(command, cwd=cwd, env=os.environ | IDENTITY, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    for path in ("stream/clock.py", "stream/a/deep/file.lua", "models/lineup.py", "docs/index.md", "models/notes.txt"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(f"{path}\n")
    run("init", "--quiet", "--initial-branch", "main")
    run("add", ".")
    run("commit", "--quiet", "--message", "one")
    return run


def changed(root: Path) -> bool:
    return has_changes(root, PACKAGES, SUFFIXES)


def edit(root: Path) -> None:
    (root / "stream/clock.py").write_text("other\n")


def test_the_commit_is_that_of_git_on_a_branch_detached_and_packed(root: Path, git: Git) -> None:
    assert commit_of(root) == git("rev-parse", "HEAD")
    git("checkout", "--quiet", "-b", "topic/a")
    edit(root)
    git("commit", "--quiet", "--all", "--message", "two")
    assert commit_of(root) == git("rev-parse", "HEAD")
    git("pack-refs", "--all")
    assert commit_of(root) == git("rev-parse", "HEAD")
    git("checkout", "--quiet", "--detach", "HEAD~1")
    assert commit_of(root) == git("rev-parse", "HEAD")


def test_a_linked_worktree_has_the_commit_and_the_changes_of_its_own(root: Path, git: Git, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    git("worktree", "add", "--quiet", "-b", "beside", str(linked))
    (linked / "stream/clock.py").write_text("beside\n")
    assert changed(linked)
    git("commit", "--quiet", "--all", "--message", "beside", cwd=linked)
    assert commit_of(linked) == git("rev-parse", "beside") != commit_of(root)
    assert not changed(linked)
    git("pack-refs", "--all")
    assert commit_of(linked) == git("rev-parse", "beside")


@pytest.mark.parametrize("index_version", ["2", "4"])
def test_a_source_that_was_edited_added_or_removed_is_a_change_and_so_is_what_is_staged(
    root: Path, git: Git, index_version: str
) -> None:
    git("update-index", "--index-version", index_version)
    assert not changed(root)
    edit(root)
    assert changed(root)
    git("add", "stream/clock.py")
    assert changed(root), "it is staged, and not committed"
    git("commit", "--quiet", "--message", "two")
    assert not changed(root)
    new = root / "models/new.py"
    new.touch()
    assert changed(root)
    new.unlink()
    (root / "stream/a/deep/file.lua").unlink()
    assert changed(root)
    git("reset", "--quiet", "--hard")
    assert not changed(root)


def test_what_is_no_source_and_a_file_that_was_only_touched_are_no_change(root: Path, git: Git) -> None:
    (root / "stream/clock.py").touch()
    os.utime(root / "models/lineup.py", ns=(1, 1))
    for path in ("docs/index.md", "models/notes.txt", "untracked.py"):
        (root / path).write_text("other\n")
    git("add", "docs/index.md")
    (root / "stream/__pycache__").mkdir()
    (root / "stream/__pycache__/left.py").touch()
    assert not changed(root)


def test_a_folder_that_is_no_checkout_or_has_no_commit_has_none(tmp_path: Path) -> None:
    assert commit_of(tmp_path) is None
    assert not changed(tmp_path)
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    assert commit_of(tmp_path) is None
    (tmp_path / "inside").mkdir()
    assert commit_of(tmp_path / "inside") is None


@pytest.mark.parametrize("index", [b"", b"DIRC", b"DIRC\0\0\0\x09\0\0\0\x01", b"DIRC\0\0\0\x02\0\0\0\x09half"])
def test_an_index_that_cannot_be_read_states_no_change(root: Path, git: Git, index: bytes) -> None:
    edit(root)
    Path(git("rev-parse", "--absolute-git-dir"), "index").write_bytes(index)
    assert not changed(root)
