"""The documentation site: the Markdown pages of this folder, by Sphinx and MyST; `make docs` builds it."""

import re
import tomllib
from pathlib import Path

from sphinx.application import Sphinx

project = "fraudstream"
release = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]["version"]
project_copyright = "the authors of fraudstream"
extensions = ["myst_parser"]
nitpicky = True

myst_heading_anchors = 4  # links name headings as GitHub does
myst_enable_extensions = ["attrs_inline"]
suppress_warnings = ["misc.highlighting_failure"]

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_title = f"fraudstream {release}"
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True, "top_of_page_buttons": []}
pygments_style = "friendly"
pygments_dark_style = "monokai"

OUTSIDE = re.compile(
    r"\[([^\]]+)\]\((?:\.\./)+(?:README|CHANGELOG|CONTRIBUTING|SECURITY|deploy|examples|tests|stream|clients)[^)]*\)"
)
"""A link to a file that is not part of the site."""


def add_contents(_app: Sphinx, docname: str, source: list[str]) -> None:
    """Make the site's navigation of the lists of an index, so that the pages are listed once."""
    source[0] = OUTSIDE.sub(r"\1", source[0])
    if docname.rpartition("/")[2] != "index":
        return
    for section in re.split(r"^## ", source[0], flags=re.MULTILINE)[1:]:
        caption, _, text = section.partition("\n")
        pages = "\n".join(page for page in re.findall(r"\]\(([\w./-]+)\.md\)", text) if not page.startswith(".."))
        source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{pages}\n```\n"


def setup(app: Sphinx) -> None:
    """Have the index read."""
    app.connect("source-read", add_contents)
