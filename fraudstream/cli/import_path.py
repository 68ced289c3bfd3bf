"""The import path of the command line, on which the packages of fraudstream come before the working folder's modules.

A project may have folders of the same names. `python -m` and a PYTHONPATH with `.` put the working folder first.
"""

import os
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from fraudstream.shared_names import PACKAGES, ROOT


def put_working_folder_last() -> None:
    """Move the working folder to the end of the import path, if it is there and is not where we are imported from."""
    here = os.path.realpath(os.curdir)
    if here != os.fspath(ROOT):
        sys.path.sort(key=lambda one: os.path.realpath(one) == here)


def hidden_packages() -> Iterator[str]:
    """Yield what hides a package of fraudstream on the import path, and what to do."""
    for name in (*PACKAGES, "fraudstream"):
        spec = find_spec(name)
        found = [] if spec is None else [Path(one) for one in spec.submodule_search_locations or [spec.origin or ""]]
        if found and ROOT / name not in [one.resolve() for one in found]:
            yield (
                f"{found[0]} hides the package {name} of fraudstream, which is in {ROOT}: rename it, or take "
                f"{found[0].parent} off PYTHONPATH"
            )
