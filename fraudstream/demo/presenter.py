"""Output of the demo: on a terminal a panel that is redrawn in place, elsewhere plain lines."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

PLAIN_EVERY_SECONDS = 5.0
Draw = Callable[[Callable[[], RenderableType], Callable[[], str]], None]
"""Takes the panel and the same as a line; only the one that is shown is rendered."""


class ProgressStep:
    """A step in progress: `advance` reports how far it is, `result` what it led to."""

    def __init__(self, advance: Callable[[str, int, int], None]) -> None:
        self.advance = advance
        self.result = ""


class Presenter(Protocol):
    """Where the demo prints to."""

    def say(self, *what: RenderableType) -> None:
        """Print something that stays."""

    def note(self, text: str) -> None:
        """Print what has just happened, unless the live panel shows it."""

    def step(self, name: str, *commands: str) -> AbstractContextManager[ProgressStep]:
        """Show a step in progress and the commands that do it; at its end how long it took and its result."""

    def live(self) -> AbstractContextManager[Draw]:
        """Show something that changes, until the end of the context."""


class TerminalPresenter:
    """Prints to a terminal and redraws the live panel."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, *what: RenderableType) -> None:
        """Print something that stays."""
        self._console.print(*what)

    def note(self, text: str) -> None:
        """Print nothing: the live panel shows it."""

    @contextmanager
    def step(self, name: str, *commands: str) -> Iterator[ProgressStep]:
        """Show a progress bar, and a line at the end."""
        began = time.monotonic()
        for command in commands:
            self._console.print(command_line(command))
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self._console, transient=True) as progress:
            bar = progress.add_task(name, total=None)
            step = ProgressStep(_advance(progress, bar, name))
            yield step
        self._console.print(f"[green]✓[/] {name}  [dim]{time.monotonic() - began:.1f} s[/]  {step.result}")

    @contextmanager
    def live(self) -> Iterator[Draw]:
        """Redraw the panel in place, and clear it at the end, when the report follows."""
        with Live(console=self._console, auto_refresh=False, vertical_overflow="crop", transient=True) as live:
            yield lambda panel, _line: live.update(panel(), refresh=True)


def _advance(progress: Progress, bar: TaskID, name: str) -> Callable[[str, int, int], None]:
    def advance(what: str, done: int, total: int) -> None:
        progress.update(bar, description=f"{name}: {what}", completed=done, total=total)

    return advance


class PlainPresenter:
    """Prints lines, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, *what: RenderableType) -> None:
        """Print something that stays."""
        self._console.print(*what, soft_wrap=True)

    def note(self, text: str) -> None:
        """Print a line."""
        self._console.print(text, soft_wrap=True, markup=False)

    @contextmanager
    def step(self, name: str, *commands: str) -> Iterator[ProgressStep]:
        """Print a line at the end."""
        began = time.monotonic()
        for command in commands:
            self.say(command_line(command))
        step = ProgressStep(lambda _what, _done, _total: None)
        yield step
        self.say(f"{name}: {time.monotonic() - began:.1f} s  {step.result}".rstrip())

    @contextmanager
    def live(self) -> Iterator[Draw]:
        """Print a line every few seconds."""
        last = time.monotonic()

        def draw(_panel: Callable[[], RenderableType], line: Callable[[], str]) -> None:
            nonlocal last
            if time.monotonic() - last >= PLAIN_EVERY_SECONDS:
                last = time.monotonic()
                self.say(line())

        yield draw


def command_line(command: str) -> Text:
    """Return a command as it is printed: what follows the $ can be typed."""
    return Text(f"$ {command}", style="cyan")


def presenter_for(console: Console) -> Presenter:
    """Return the presenter for a terminal, or for anything else."""
    return TerminalPresenter(console) if console.is_terminal else PlainPresenter(console)
