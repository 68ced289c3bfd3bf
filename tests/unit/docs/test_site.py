"""The documentation builds as a site where Sphinx is installed; every link and every linked heading exists."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.paths import HOUSE

DOCS = HOUSE / "docs"
INSTALLED = importlib.util.find_spec("sphinx") is not None


@pytest.mark.acceptance
@pytest.mark.skipif(not INSTALLED, reason="the group `docs` is not installed: make docs")
def test_the_site_builds_without_a_warning_and_loads_nothing_external(tmp_path: Path) -> None:
    options = ("--quiet", "--nitpicky", "--fail-on-warning", "--keep-going", "--doctree-dir", tmp_path / "doctrees")
    built = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, DOCS, tmp_path / "site"], check=False, capture_output=True, text=True
    )
    assert (built.returncode, built.stderr) == (0, "")
    loaded = re.compile(r"""<(?:script|link|img)[^>]+(?:src|href)="(?:https?:)?//""")
    assert [page.name for page in (tmp_path / "site").rglob("*.html") if loaded.search(page.read_text())] == []


def test_every_page_is_in_the_index() -> None:
    listed = [
        (index.parent / link).resolve()
        for index in DOCS.rglob("index.md")
        for link in re.findall(r"\]\(([\w./-]+\.md)\)", index.read_text())
        if not link.startswith("..")
    ]
    assert set(listed) == set(DOCS.rglob("*.md")) - {DOCS / "index.md"}
    assert len(listed) == len(set(listed))


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


CLIENTS = ("clients/README.md", "clients/conformance/README.md", "clients/python/README.md")
OUTSIDE = (
    *("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "deploy/README.md", "examples/README.md"),
    *CLIENTS,
)


def test_every_heading_that_a_page_outside_of_the_site_links_to_exists() -> None:
    for page in OUTSIDE:
        links = re.findall(r"\]\(([\w./-]+\.md)#([\w-]+)\)", (HOUSE / page).read_text())
        here = (HOUSE / page).parent
        assert [(page, path, name) for path, name in links if name not in anchors(here / path)] == []
