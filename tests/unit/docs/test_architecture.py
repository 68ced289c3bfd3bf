"""The map names every module and every error, and nothing that is not there."""

import ast
import re
import tomllib

from support.paths import HOUSE

ARCHITECTURE = (HOUSE / "docs/architecture.md").read_text()
DECISIONS = HOUSE / "docs/decisions"
PACKAGES = ("stream", "features", "models", "shadow")


def test_every_module_is_on_the_map_or_in_a_folder_that_is() -> None:
    """Write a line about a new module into docs/architecture.md, where its reader would look for it."""
    listed = set(re.findall(r"`([a-z_]+/[a-z_/]+(?:\.py|\.lua)?)`", ARCHITECTURE))
    folders = {name.rstrip("/") for name in listed if "." not in name}
    sources = [
        path.relative_to(HOUSE)
        for package in PACKAGES
        for path in (HOUSE / package).rglob("*")
        if path.suffix in {".py", ".lua"} and path.stem not in {"__init__", "__main__"}
    ]
    off = [str(path) for path in sources if str(path) not in listed and str(path.parent) not in folders]
    assert sorted(off) == []


def errors() -> set[str]:
    """Return every exception that a package of ours defines."""
    return {
        node.name
        for package in PACKAGES
        for path in (HOUSE / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
        and any(
            isinstance(base, ast.Name) and (base.id.endswith("Error") or base.id == "Exception") for base in node.bases
        )
    }


def test_every_error_has_its_fate_in_the_table() -> None:
    table = ARCHITECTURE.partition("## Where faults go")[2].partition("\n## ")[0]
    named = {name for line in table.splitlines() for name in re.findall(r"`([A-Z]\w+)`", line.partition(" | ")[0])}
    assert errors() - named == set()
    assert named - errors() == set()


def test_every_dependency_has_its_reason() -> None:
    (page,) = DECISIONS.glob("0005-*.md")
    text = page.read_text()
    declared = tomllib.loads((HOUSE / "pyproject.toml").read_text())
    groups = [
        declared["project"]["dependencies"],
        *declared["project"]["optional-dependencies"].values(),
        declared["dependency-groups"]["dev"],
    ]
    names = {re.split(r"[\[<>=!~ ]", line)[0] for group in groups for line in group} - {"fraudstream"}
    assert {name for name in names if not re.search(rf"\b{re.escape(name)}\b", text)} == set()


def test_decisions_are_numbered_and_say_what_was_given_up() -> None:
    pages = sorted(DECISIONS.glob("*.md"))
    numbers = [int(page.name[:4]) for page in pages]
    assert numbers == list(range(1, len(pages) + 1))
    for page, number in zip(pages, numbers, strict=True):
        headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
        assert headings[0].startswith(f"{number}. ")
        assert {"Context", "Choice", "What we gave up"} <= set(headings)
