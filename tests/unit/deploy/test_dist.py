"""A release: the same commit gives the same bytes, sums and provenance are true, and a difference is told of."""

import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from deploy.dist import PINS, PROVENANCE, SUMS, sum_of
from support.paths import HOUSE

UNCHANGING = {SUMS, PROVENANCE}
"""All else is the same in each build: the provenance has its time."""


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", folder, *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def make(checkout: Path, out: str) -> tuple[Path, str]:
    """Build a release of a checkout; return its folder, and what was said of problems."""
    command = [sys.executable, "deploy/dist.py", "--python", sys.executable, "--out", out]
    done = subprocess.run(command, cwd=checkout, check=True, capture_output=True, text=True)
    return checkout / out, done.stderr


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("release") / "checkout"
    git(HOUSE, "clone", "--quiet", "--no-hardlinks", str(HOUSE), str(folder))
    return folder


@pytest.fixture(scope="module")
def release(checkout: Path) -> Path:
    folder, said = make(checkout, "dist")
    assert said == ""
    return folder


def test_the_same_commit_gives_the_same_bytes(checkout: Path, release: Path) -> None:
    again, _ = make(checkout, "build/again")
    sums = [
        {path.name: sum_of(path) for path in one.iterdir() if path.name not in UNCHANGING} for one in (release, again)
    ]
    assert sums[0] == sums[1]
    assert len(sums[0]) == 7


def test_the_sums_cover_all_files_and_a_changed_byte_is_told_of(release: Path, tmp_path: Path) -> None:
    check = ["sha256sum", "--check", "--strict", "--quiet", SUMS]
    assert subprocess.run(check, cwd=release, check=False, capture_output=True).returncode == 0
    listed = {line.split()[1] for line in (release / SUMS).read_text().splitlines()}
    assert listed == {path.name for path in release.iterdir()} - {SUMS}
    for path in release.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with (tmp_path / PINS).open("ab") as file:
        file.write(b"\n")
    told = subprocess.run(check, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert told.returncode == 1
    assert PINS in told.stdout


def test_the_provenance_names_what_was_made_the_commit_and_the_lists(checkout: Path, release: Path) -> None:
    statement = json.loads((release / PROVENANCE).read_text())
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    made = {one["name"]: one["digest"]["sha256"] for one in statement["subject"]}
    assert made == {path.name: sum_of(path) for path in release.iterdir() if path.name not in UNCHANGING}
    definition = statement["predicate"]["buildDefinition"]
    source, *lists = definition["resolvedDependencies"]
    assert source["digest"] == {"gitCommit": git(checkout, "rev-parse", "HEAD")}
    assert {one["name"]: one["digest"]["sha256"] for one in lists} == {
        name: sum_of(checkout / name) for name in (f"requirements/{one}.txt" for one in ("build", "worker", "demo"))
    }
    assert definition["internalParameters"]["python"].startswith("3.")


def test_the_sdists_have_the_packages_and_no_tests(release: Path) -> None:
    for path in release.glob("*.tar.gz"):
        with tarfile.open(path) as packed:
            names = {name.split("/")[1] for name in packed.getnames() if "/" in name}
        assert "pyproject.toml" in names
        assert names.isdisjoint({"tests", "docs", "benchmarks", "deploy"})


def test_a_checkout_that_differs_from_its_commit_gets_no_provenance(checkout: Path) -> None:
    (checkout / "README.md").write_text("changed")
    try:
        folder, said = make(checkout, "build/changed")
    finally:
        git(checkout, "checkout", "--quiet", "README.md")
    assert not (folder / PROVENANCE).exists()
    assert "no provenance: the checkout differs from its commit" in said


def test_tools_that_are_not_there_are_told_of(checkout: Path) -> None:
    command = [sys.executable, "deploy/dist.py", "--python", "/nowhere/python", "--out", "build/failed"]
    done = subprocess.run(command, cwd=checkout, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(
        "Error: /nowhere/python cannot be run: No such file or directory; `make dist` installs"
    )
