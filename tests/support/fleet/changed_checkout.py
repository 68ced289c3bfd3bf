"""A second checkout whose code differs: other features, and one of the same name that is computed otherwise."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from support.fleet.previous import CODE
from support.paths import HOUSE

CHANGES = {
    "features/default_set.py": ('CARD_WINDOWS = ("10m", ', 'CARD_WINDOWS = ("10m", "30m", '),
    "features/vector/habits.py": ("NEVER_MS, np.nan, gaps / 1000.0)", "NEVER_MS, np.nan, gaps / 60_000.0)"),
}
"""What is replaced in each file, and by what."""
_PUT_MODEL = """
import sys
from support.fleet.payments import put_model
print(put_model(sys.argv[1], seed=int(sys.argv[2])))
"""


class Checkout(NamedTuple):
    """A folder with code of its own."""

    folder: Path

    @property
    def python(self) -> tuple[str, ...]:
        """The command that starts an interpreter with this code: `-P` leaves the working folder out."""
        folders = (self.folder, self.folder / "clients/python", HOUSE / "tests")
        return ("env", f"PYTHONPATH={':'.join(map(str, folders))}", sys.executable, "-P")

    def put_model(self, folder: str, seed: int) -> str:
        """Put a model of this code's features into a repository and return its digest."""
        command = [*self.python, "-c", _PUT_MODEL, folder, str(seed)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def changed_checkout(folder: Path) -> Checkout:
    """Copy the code that ships into a folder, and change it there."""
    for package in CODE:
        shutil.copytree(HOUSE / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name, (old, new) in CHANGES.items():
        text = (folder / name).read_text()
        assert text.count(old) == 1, name
        (folder / name).write_text(text.replace(old, new))
    return Checkout(folder)
