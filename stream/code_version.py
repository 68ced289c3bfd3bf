"""The version of the code that runs, which tells commits apart: `0.1.0+g1a2b3c4d5e6f`, `.dirty` where sources differ.

A build writes what follows the `+` into `build.txt` beside this file (`hatch_build.py`). A checkout, where the next
commit would make such a file wrong, is asked itself.
"""

from functools import cache
from importlib.metadata import version
from pathlib import Path

from stream.git_checkout import commit_of, has_changes

PACKAGES = ("fraudstream", "stream", "features", "models", "shadow", "guards", "metrics", "clients")
"""The folders of a checkout that the code which runs is in; `clients` has a distribution of its own."""
SUFFIXES = (".py", ".c", ".h", ".lua")
DIGITS = 12
"""Of a commit's hash; 13 digits and more might be taken for a card number where they are all decimal."""
_BUILD = Path(__file__).with_name("build.txt")
_ROOT = Path(__file__).resolve().parents[1]


@cache
def code_version() -> str:
    """Return the version of this process's code; without a commit and a build that tells it, that of the release."""
    release, build = version("fraudstream"), build_of(_ROOT) or _built()
    return f"{release}+{build}" if build else release


def build_of(root: Path) -> str | None:
    """Return what tells a checkout's code apart: `g`, its commit, and `.dirty` where sources differ from that."""
    commit = commit_of(root)
    if commit is None:
        return None
    return f"g{commit[:DIGITS]}{'.dirty' if has_changes(root, PACKAGES, SUFFIXES) else ''}"


def _built() -> str:
    try:
        return _BUILD.read_text().strip()
    except OSError:
        return ""
