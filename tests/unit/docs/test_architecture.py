"""docs/architecture.md and docs/decisions name every folder, topic, error and dependency of the code."""

import re
import tomllib

from stream.kafka.topics import LAYOUTS
from support.paths import HOUSE

ARCHITECTURE = (HOUSE / "docs/architecture.md").read_text()
DECISIONS = HOUSE / "docs/decisions"
CLIENT = "clients/python/fraudstream_client"
PACKAGES = ("fraudstream", "stream", "features", "models", "shadow", "guards", "metrics", CLIENT)


def test_the_table_of_folders_lists_each_folder_with_a_module_to_read_first() -> None:
    """A new folder needs a row in docs/architecture.md, where its imports put it."""
    rows = re.findall(r"^\| `([a-z_/]+)/` \| [^|]+ \| `([a-z_/]+\.py)` \|$", ARCHITECTURE, re.MULTILINE)
    folders = {
        str(path.parent.relative_to(HOUSE))
        for package in PACKAGES
        for path in (HOUSE / package).rglob("*")
        if path.suffix in {".py", ".lua"} and path.stem not in {"__init__", "__main__"}
    }
    assert sorted(folder for folder, _ in rows) == sorted(folders)
    assert [first for folder, first in rows if str((HOUSE / first).parent.relative_to(HOUSE)) != folder] == []
    assert [first for _, first in rows if not (HOUSE / first).exists()] == []


def test_the_pictures_name_every_topic() -> None:
    topics = {layout.name for layout in LAYOUTS}
    for picture in ("payment", "worker"):
        drawn = re.findall(r">([a-z-]+) ?</text>", (HOUSE / f"docs/pictures/{picture}.svg").read_text())
        assert topics - set(drawn) == set(), picture


def errors() -> set[str]:
    """Return every exception that our packages define."""
    base = re.compile(r"^class (\w+)\((?:.*, ?)?(?:\w+Error|Exception)\b[^.]*\):", re.MULTILINE)
    texts = (path.read_text() for package in PACKAGES for path in (HOUSE / package).rglob("*.py"))
    return {name for text in texts for name in base.findall(text)}


def test_the_table_of_faults_names_exactly_the_errors_of_the_code() -> None:
    table = ARCHITECTURE.partition("## Where faults go")[2].partition("\n## ")[0]
    named = {name for line in table.splitlines() for name in re.findall(r"`([A-Z]\w+)`", line.partition(" | ")[0])}
    assert errors() - named == set()
    assert named - errors() == set()


def test_decision_5_names_every_dependency() -> None:
    (page,) = DECISIONS.glob("0005-*.md")
    text = page.read_text()
    declared = tomllib.loads((HOUSE / "pyproject.toml").read_text())
    groups = [
        declared["project"]["dependencies"],
        *declared["project"]["optional-dependencies"].values(),
        *declared["dependency-groups"].values(),
    ]
    names = {re.split(r"[\[<>=!~ ]", line)[0] for group in groups for line in group} - {"fraudstream"}
    assert {name for name in names if not re.search(rf"\b{re.escape(name)}\b", text)} == set()


def test_decisions_are_numbered_consecutively() -> None:
    numbers = [int(page.name[:4]) for page in sorted(DECISIONS.glob("*.md"))]
    assert numbers == list(range(1, len(numbers) + 1))
