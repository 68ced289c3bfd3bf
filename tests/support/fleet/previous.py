"""An earlier version of the code, beside which the present one is tested: its files, and workers that run them.

It runs in the present environment, so both must have the same locked dependencies.
"""

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import NamedTuple

from support.paths import HOUSE

VARIABLE = "FRAUDSTREAM_TEST_PREVIOUS"
"""Names the commit or tag of the earlier version; by default the one before the code changed last."""
CODE = ("fraudstream", "stream", "features", "models", "shadow", "guards", "metrics", "clients/python")
LOCK = "requirements/worker.txt"


class NoPreviousVersion(Exception):  # noqa: N818 - not an error: a test without it is skipped
    """There is no earlier version that could run here; the message says why."""


class Version(NamedTuple):
    """A commit, and a folder with its files."""

    commit: str
    folder: Path

    @property
    def command(self) -> tuple[str, ...]:
        """This version's command line; that of versions until the commands left `stream` is there."""
        package = "fraudstream.cli" if (self.folder / "fraudstream").exists() else "stream.cli"
        return (*self._python, "-m", package)

    @property
    def worker(self) -> tuple[str, ...]:
        """The command that starts a worker of this version."""
        return (*self.command, "worker")

    def imported_from(self) -> Path:
        """Return the folder from which this version's processes import `stream`."""
        program = "import stream; print(stream.__file__)"
        done = subprocess.run([*self._python, "-c", program], capture_output=True, text=True, check=True)
        return Path(done.stdout.strip()).parents[1]

    @property
    def _python(self) -> tuple[str, ...]:
        # `-P`: the working folder, which is the present version, is not searched first.
        return ("env", f"PYTHONPATH={self.folder}:{self.folder / 'clients/python'}", sys.executable, "-P")


def previous_version(folder: Path) -> Version:
    """Extract the files of the earlier version into a folder.

    Raises:
        NoPreviousVersion: this is no repository or a shallow one, or the dependencies differ.
    """
    named = os.environ.get(VARIABLE, "")
    try:
        named = named or _before_last_change()
        commit = _git("rev-parse", "--verify", "--quiet", f"{named}^{{commit}}").decode().strip()
        locked = _git("show", f"{commit}:{LOCK}")
        files = _git("archive", "--format=tar", commit)
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        raise NoPreviousVersion(
            f"commit {named or 'before the last change'} is not in this repository, which may be a shallow clone: "
            f"fetch it, or name another in {VARIABLE}"
        ) from error
    if locked != (HOUSE / LOCK).read_bytes():
        raise NoPreviousVersion(f"{LOCK} of commit {commit[:12]} differs, so it needs an environment of its own")
    with tarfile.open(fileobj=io.BytesIO(files)) as archive:
        archive.extractall(folder, filter="data")
    return Version(commit, folder)


def _before_last_change() -> str:
    """Return the commit before the last one that changed the code: texts and tests alone make no other version."""
    changed = _git("rev-list", "--first-parent", "--max-count=1", "HEAD", "--", *CODE).decode().strip()
    return f"{changed or 'HEAD'}~1"


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=HOUSE, check=True, capture_output=True).stdout
