"""Progress of a long command on standard error: bars, one for each stage, if that is a terminal, or lines."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from fraudstream.console import terminal
from fraudstream.terminal import echo

_LINE_SECONDS = 10.0

Tell = Callable[[str, int, int], None]
"""Receives the name of a stage, how much of it is done, and the total."""


@contextmanager
def bars() -> Iterator[Tell]:
    """Yield what tells of progress: bars on a terminal, and in a pipe or a log a line each ten seconds."""
    if not sys.stderr.isatty():  # not `console.is_terminal`, which FORCE_COLOR makes true
        yield _Lines().show
        return
    columns = (TextColumn("{task.description:>10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=terminal(stderr=True)) as shown:
        stages: dict[str, TaskID] = {}

        def progress(stage: str, done: int, total: int) -> None:
            if stage not in stages:
                stages[stage] = shown.add_task(stage)
            shown.update(stages[stage], completed=done, total=total)

        yield progress


class _Pace:
    """Tells when the next line is due, the first one after as long as all others."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._due = time.monotonic() + seconds

    def is_due(self) -> bool:
        if time.monotonic() < self._due:
            return False
        self._due = time.monotonic() + self._seconds
        return True


class _Lines:
    def __init__(self) -> None:
        self._pace = _Pace(_LINE_SECONDS)

    def show(self, stage: str, done: int, total: int) -> None:
        if self._pace.is_due():
            of_all = f" of {total:,}, {done / total:.0%}" if total else ""
            echo(f"{stage}: {done:,}{of_all}", err=True)


_QUIET_SECONDS = 2.0


class ReadingProgress:
    """Prints how much of each topic has been read, a line every two seconds: nothing where it is quick."""

    def __init__(self) -> None:
        self._pace = _Pace(_QUIET_SECONDS)

    def show(self, topic: str, share: float) -> None:
        """Print that so much of a topic has been read."""
        if self._pace.is_due():
            echo(f"reading {topic}: {share:.0%}", err=True)
