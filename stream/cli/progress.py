"""Progress bars on standard error, one for each stage of a long command, if that is a terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


@contextmanager
def bars() -> Iterator[Callable[[str, int, int], None]]:
    """Yield a function to call with the name of a stage, how much of it is done, and the total."""
    columns = (TextColumn("{task.description:>10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    # not `console.is_terminal`, which FORCE_COLOR makes true
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as shown:
        stages: dict[str, TaskID] = {}

        def progress(stage: str, done: int, total: int) -> None:
            if stage not in stages:
                stages[stage] = shown.add_task(stage)
            shown.update(stages[stage], completed=done, total=total)

        yield progress
