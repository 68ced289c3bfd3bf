"""Plants bugs in a checkout, one after the other, and tells which test finds each.

In a checkout of an earlier layout a module is the only tracked one that contains the bug's text, and a test is the only
one of its name.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from support.paths import HOUSE

TESTS_FAILED = 1
"""The exit code of pytest where tests failed; all others are of runs that tell nothing."""
_SECONDS = 600
_FAILED = re.compile(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantedBug:
    """A small wrong change: `text`, which one module contains once, becomes `wrong`.

    `found_by` is the id of the smallest test that finds it, `instead` of one for trees that do not have that test.
    """

    name: str
    area: str
    promise: str
    file: str
    text: str
    wrong: str
    found_by: str
    instead: str = ""

    def planted(self, source: str) -> str:
        """Return a module's source with the bug in it."""
        return source.replace(self.text, self.wrong)


class UnusableTreeError(Exception):
    """A checkout in which the bugs cannot be planted; the message says what is wrong with it."""


class Finding(NamedTuple):
    """The test that failed with a bug planted, or why none is known to; and how long its tests ran."""

    bug: PlantedBug
    found_by: str | None
    seconds: float
    why_not: str = ""


class Checkout:
    """A checkout of this repository, of the present or an earlier layout, and the Python of its environment."""

    def __init__(self, root: Path, python: Path) -> None:
        self.root = root
        self._python = python
        tracked = [Path(name) for name in self._git("ls-files", "*.py").splitlines()]
        tests = {path for path in tracked if path.parts[0] == "tests"}
        self._sources = {path: (root / path).read_text() for path in tracked if path not in tests}
        self._tests = {path: (root / path).read_text() for path in tests if path.name.startswith("test_")}

    def require_clean(self) -> None:
        """Refuse a checkout with changes, which a run that is killed could not tell from a bug.

        Raises:
            UnusableTreeError: it has some.
        """
        if changed := self._git("status", "--porcelain", "--untracked-files=no"):
            raise UnusableTreeError(f"{self.root} has changes that are not committed:\n{changed}")

    def file_of(self, bug: PlantedBug) -> Path:
        """Return the module that contains a bug's text, at its present path or where it was before.

        Raises:
            UnusableTreeError: none contains it, or several do, or one several times.
        """
        holding = [path for path, source in self._sources.items() for _ in range(source.count(bug.text))]
        if len(holding) != 1:
            where = ", ".join(map(str, holding)) or "nowhere"
            raise UnusableTreeError(f"{bug.name}: its text is not in one place of {self.root}, but: {where}")
        return self.root / holding[0]

    def test_of(self, stated: str) -> str | None:
        """Return a test's id here: at its path, or in the only file that has a test of that name; None if none has."""
        file, _, name = stated.partition("::")
        head = re.compile(rf"^(?:async )?def {name.partition('[')[0]}\(", re.MULTILINE)
        found = [path for path, source in self._tests.items() if head.search(source)]
        if Path(file) in found:
            return stated
        return f"{found[0]}::{name}" if len(found) == 1 else None

    def test_for(self, bug: PlantedBug) -> str | None:
        """Return the id here of the test that is to find a bug; None if there is none."""
        return next((test for one in (bug.found_by, bug.instead) if one and (test := self.test_of(one))), None)

    def imports(self, module: Path) -> bool:
        """Tell whether a module can be imported as it is now."""
        name = ".".join(module.relative_to(self.root).with_suffix("").parts)
        return self._run("-c", f"import importlib; importlib.import_module({name!r})").returncode == 0

    def test(self, ids: Sequence[str]) -> tuple[int, str]:
        """Run tests up to the first that fails; return pytest's exit code, and what it prints."""
        options = ("-q", "-x", "-rfE", "-p", "no:cacheprovider", "--timeout", "120")
        ran = self._run("-m", "pytest", *options, *ids)
        return ran.returncode, ran.stdout + ran.stderr

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        # Without bytecode: a module that is planted and restored within a second has one that looks up to date. The
        # environment has the client of the checkout that it was made for.
        client = str(self.root / "clients/python")
        environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "500", "PYTHONPATH": client}
        command = [self._python, *arguments]
        return subprocess.run(
            command, cwd=self.root, env=environment, capture_output=True, text=True, timeout=_SECONDS, check=False
        )

    def _git(self, *arguments: str) -> str:
        command = ["git", "-C", str(self.root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@contextmanager
def copied() -> Iterator[Checkout]:
    """Check the present commit out into a temporary folder; it is tested with this checkout's environment."""
    with tempfile.TemporaryDirectory(prefix="planted-") as folder:
        root = Path(folder) / "tree"
        git = ["git", "-C", str(HOUSE), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(root), "HEAD"], check=True)
        try:
            for kernel in (*HOUSE.glob("features/vector/*.shared"), *HOUSE.glob("models/*.shared")):
                shutil.copy2(kernel, root / kernel.relative_to(HOUSE))
            yield Checkout(root, HOUSE / ".venv/bin/python")
        finally:
            subprocess.run([*git, "remove", "--force", str(root)], check=True)


def find(bug: PlantedBug, tree: Checkout) -> Finding:
    """Plant a bug, run its tests, and restore the module.

    Raises:
        UnusableTreeError: the bug cannot be planted there, or cannot be imported.
    """
    module = tree.file_of(bug)
    test = tree.test_for(bug)
    if test is None:
        return Finding(bug, None, 0.0, "there is no such test")
    source, began = module.read_bytes(), time.monotonic()
    try:
        module.write_text(bug.planted(source.decode()))
        if not tree.imports(module):
            raise UnusableTreeError(f"{bug.name}: {module} cannot be imported with it")
        code, printed = tree.test([test])
    finally:
        module.write_bytes(source)
    seconds = time.monotonic() - began
    failed = _FAILED.search(printed)
    if code == TESTS_FAILED and failed is not None:
        return Finding(bug, failed[1], seconds)
    passes = f"`{test}` passes"
    return Finding(bug, None, seconds, passes if code == 0 else f"pytest ended with {code}: {printed[-500:]}")


def require_passing(bugs: Sequence[PlantedBug], tree: Checkout) -> None:
    """Run the tests of all bugs once without any.

    Raises:
        UnusableTreeError: one of them fails.
    """
    ids = list(dict.fromkeys(test for bug in bugs if (test := tree.test_for(bug)) is not None))
    code, printed = tree.test(ids) if ids else (0, "")
    if code:
        raise UnusableTreeError(f"without a bug tests fail, or cannot be run ({code}):\n{printed[-3000:]}")


def run(bugs: Sequence[PlantedBug], tree: Checkout) -> bool:
    """Plant bugs one after the other, print what finds each, and tell whether all were found."""
    require_passing(bugs, tree)
    all_found = True
    show("| bug | promise | found by | seconds |")
    show("| --- | --- | --- | --- |")
    for bug in bugs:
        found = find(bug, tree)
        all_found &= found.found_by is not None
        by = f"NOT FOUND: {found.why_not}" if found.found_by is None else f"`{found.found_by}`"
        show(f"| {bug.name} | {bug.promise} | {by} | {found.seconds:.1f} |")
    return all_found


def show(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
