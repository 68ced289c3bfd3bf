"""A folder to work in whose modules can be imported, and are forgotten afterwards."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


def working_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work in a folder; at the end unload the modules that lie in it, and no others: extensions load but once."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield folder
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(folder)):
            del sys.modules[name]
