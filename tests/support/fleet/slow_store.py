"""A model repository `slow://` that does not answer while a file says so, as an object store that hangs does not.

Run as a script it is the command line, which then knows this repository and gives it a deadline of three seconds.
"""

import sys
import time
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

CLI = (sys.executable, str(Path(__file__).resolve()))
WORKER = (*CLI, "worker")
DEADLINE_SECONDS = 3.0
_LONGEST_SECONDS = 120.0
_POLL_SECONDS = 0.05


def url_of(folder: str) -> str:
    """Return the URL of a folder."""
    return f"slow://{folder}"


def hang(folder: str, name: str = "") -> None:
    """Let every call hang that concerns a path with `name` in it, in all processes."""
    Path(f"{folder}.hangs").write_text(name)


def answer(folder: str) -> None:
    """Let calls return again, those that hang too."""
    Path(f"{folder}.hangs").unlink(missing_ok=True)


class SlowFileSystem(LocalFileSystem):
    """A local folder that may hang."""

    protocol = "slow"

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(str(path).removeprefix("slow://")))

    def ls(self, path: str, detail: bool = False, **options: Any) -> Any:  # noqa: FBT001, FBT002 - fsspec's signature
        _wait(path)
        return super().ls(path, detail=detail, **options)

    def cat_file(self, path: str, *args: Any, **options: Any) -> Any:
        _wait(path)
        return super().cat_file(path, *args, **options)


def _wait(path: str) -> None:
    """Hang while the file of one of the path's folders says so."""
    end = time.monotonic() + _LONGEST_SECONDS
    flags = [Path(f"{folder}.hangs") for folder in (path, *map(str, Path(path).parents))]
    while time.monotonic() < end and any(flag.exists() and flag.read_text() in path for flag in flags):
        time.sleep(_POLL_SECONDS)


def register() -> None:
    """Make the repository known to this process."""
    fsspec.register_implementation("slow", SlowFileSystem, clobber=True)


if __name__ == "__main__":
    import models.repository
    import stream.control.judge
    from fraudstream.cli.main import main

    register()
    models.repository.DEADLINE_SECONDS = stream.control.judge.DEADLINE_SECONDS = DEADLINE_SECONDS  # type: ignore[misc]
    main()
