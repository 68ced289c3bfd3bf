"""Our packages in a project that has folders of the same names: each name is one package with the modules of both.

Where ours comes first on the import path, its `__init__` searches the other folders too. Where the project's comes
first, as in a program in the project's own folder, a finder adds our modules to it. No module takes another one's
place unseen: where the project's would take ours, the import fails and says which to rename.
"""

import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("features", "guards", "metrics", "models", "shadow", "stream")


class OurModules:
    """Finds the modules of our packages, also where a package of the same name came first."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return the place of a module of ours; None for all others.

        Raises:
            ImportError: the project has a module of that name, and its folder comes first.
        """
        folder = ROOT.joinpath(*name.split(".")[:-1])
        if path is None or folder == ROOT or name.partition(".")[0] not in PACKAGES:
            return None
        ours = PathFinder.find_spec(name, [os.fspath(folder)], target)
        first = next(iter(path), "")
        if ours is None or os.path.realpath(first) == os.fspath(folder):
            return None  # the usual way finds it, or nobody does
        theirs = PathFinder.find_spec(name, [one for one in path if os.path.realpath(one) != os.fspath(folder)])
        if theirs is not None and theirs.origin is not None:
            raise ImportError(
                f"{theirs.origin} takes the place of fraudstream's module {name}, in {ours.origin}: rename it",
                name=name,
                path=theirs.origin,
            )
        return ours


def share() -> None:
    """Let our modules be found from now on, whichever package of a name came first."""
    if OurModules not in sys.meta_path:
        sys.meta_path.insert(0, OurModules)
