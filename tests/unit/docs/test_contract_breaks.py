"""A break of the contract since the last release stands under *Breaking* in the CHANGELOG, by its name.

The last release is the newest version with a heading in the CHANGELOG. Its document is kept as
`tests/data/asyncapi/VERSION.json`; until there is one, that of the day on which these documents began, `first.json`.
Run as a script, this file writes the document of this version, which belongs to a release.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[2]))  # run as a script, this file has to find `support`
from fraudstream.contract.changes import changes
from support.asyncapi_page import reference_document
from support.paths import HOUSE

KEPT = HOUSE / "tests" / "data" / "asyncapi"
CHANGELOG = (HOUSE / "CHANGELOG.md").read_text()


def released(changelog: str) -> list[str]:
    """Return the versions of a CHANGELOG, the newest first."""
    return re.findall(r"^## \[(\d[^\]]*)\]", changelog, re.MULTILINE)


def announced(changelog: str) -> str:
    """Return what stands under *Breaking* of what is not released yet."""
    unreleased = changelog.partition("## [Unreleased]")[2].partition("\n## [")[0]
    return unreleased.partition("\n### Breaking")[2].partition("\n### ")[0]


def unannounced(changelog: str, old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Return the breaks that a CHANGELOG does not name, each in backticks."""
    text = announced(changelog)
    return [str(change) for change in changes(old, new) if change.is_break and f"`{change.name}`" not in text]


def kept(version: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((KEPT / f"{version}.json").read_text())
    return found


def test_every_break_since_the_last_release_is_announced() -> None:
    last = next(iter(released(CHANGELOG)), "first")
    assert unannounced(CHANGELOG, kept(last), reference_document()) == []


def test_the_document_of_each_release_is_kept() -> None:
    versions = released(CHANGELOG)
    assert {file.stem for file in KEPT.glob("*.json")} == {"first", *versions}
    assert [kept(version)["info"]["version"] for version in versions] == versions


@pytest.mark.parametrize(
    ("heading", "entry", "is_named"),
    [
        ("Breaking", "- `score/1.band` is gone: read `score`.", True),
        ("Breaking", "- `score/1` has no band any more.", False),
        ("Changed", "- `score/1.band` is gone.", False),
    ],
)
def test_a_break_must_be_named_under_breaking_of_what_is_unreleased(
    heading: str, entry: str, *, is_named: bool
) -> None:
    new = reference_document()
    del new["components"]["schemas"]["Score"]["properties"]["band"]
    of_release = "## [0.9.0]\n\n### Breaking\n- `score/1.band` is gone.\n"
    log = f"# Changelog\n\n## [Unreleased]\n\n### {heading}\n{entry}\n\n### Added\n\n{of_release}"
    assert released(log) == ["0.9.0"]
    assert (unannounced(log, reference_document(), new) == []) is is_named


if __name__ == "__main__":
    document = reference_document()
    for message in document["components"]["messages"].values():
        message.pop("examples", None)
    (KEPT / f"{(sys.argv[1:] or [document['info']['version']])[0]}.json").write_text(
        json.dumps(document, indent=1) + "\n"
    )
