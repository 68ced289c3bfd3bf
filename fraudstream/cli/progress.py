"""Progress of a long command on standard error: bars, one for each stage, if that is a terminal, or lines."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from fraudstream.console import terminal
from fraudstream.terminal import echo


@contextmanager
def bars() -> Iterator[Callable[[str, int, int], None]]:
    """Yield a function to call with the name of a stage, how much of it is done, and the total."""
    columns = (TextColumn("{task.description:>10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    # not `console.is_terminal`, which FORCE_COLOR makes true
    with Progress(*columns, console=terminal(stderr=True), disable=not sys.stderr.isatty()) as shown:
        stages: dict[str, TaskID] = {}

        def progress(stage: str, done: int, total: int) -> None:
            if stage not in stages:
                stages[stage] = shown.add_task(stage)
            shown.update(stages[stage], completed=done, total=total)

        yield progress


_QUIET_SECONDS = 2.0


class ReadingProgress:
    """Prints how much of each topic has been read, a line every two seconds: nothing where it is quick."""

    def __init__(self) -> None:
        self._due = time.monotonic() + _QUIET_SECONDS

    def show(self, topic: str, share: float) -> None:
        """Print that so much of a topic has been read."""
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + _QUIET_SECONDS
            echo(f"reading {topic}: {share:.0%}", err=True)
