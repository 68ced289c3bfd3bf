"""How the demo speaks: redrawn in place on a terminal, plain lines everywhere else.

What is said comes from others; nothing here knows a topic or a model.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

PLAIN_EVERY_SECONDS = 5.0
Draw = Callable[[Callable[[], RenderableType], Callable[[], str]], None]
"""Takes a picture and a line that say the same; only what is shown is made."""


class ProgressStep:
    """Something that takes a while: told how far it is, and at the end what came of it."""

    def __init__(self, advance: Callable[[str, int, int], None]) -> None:
        self.advance = advance
        self.result = ""


class Presenter(Protocol):
    """Where the demo speaks to."""

    def say(self, *what: RenderableType) -> None:
        """Print something that stays."""

    def note(self, text: str) -> None:
        """Say what has just happened, where the screen that changes does not say it already."""

    def step(self, name: str) -> AbstractContextManager[ProgressStep]:
        """Show that something is going on, and when it is over, how long it took and what came of it."""

    def screen(self) -> AbstractContextManager[Draw]:
        """Show something that changes, until the end of the context."""


class TerminalPresenter:
    """Redraws."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, *what: RenderableType) -> None:
        """Print something that stays."""
        self._console.print(*what)

    def note(self, text: str) -> None:
        """Say nothing: the screen does."""

    @contextmanager
    def step(self, name: str) -> Iterator[ProgressStep]:
        """Show a bar, and a line when it is over."""
        began = time.monotonic()
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self._console, transient=True) as progress:
            bar = progress.add_task(name, total=None)
            step = ProgressStep(_mover(progress, bar, name))
            yield step
        self._console.print(f"[green]✓[/] {name}  [dim]{time.monotonic() - began:.1f} s[/]  {step.result}")

    @contextmanager
    def screen(self) -> Iterator[Draw]:
        """Redraw in place, and clear it at the end: the summary says the rest."""
        with Live(console=self._console, auto_refresh=False, vertical_overflow="crop", transient=True) as live:
            yield lambda picture, _line: live.update(picture(), refresh=True)


def _mover(progress: Progress, bar: TaskID, name: str) -> Callable[[str, int, int], None]:
    def move(what: str, done: int, total: int) -> None:
        progress.update(bar, description=f"{name}: {what}", completed=done, total=total)

    return move


class PlainPresenter:
    """Prints lines, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, *what: RenderableType) -> None:
        """Print something that stays."""
        self._console.print(*what, soft_wrap=True)

    def note(self, text: str) -> None:
        """Print it."""
        self._console.print(text, soft_wrap=True, markup=False)

    @contextmanager
    def step(self, name: str) -> Iterator[ProgressStep]:
        """Print a line when it is over."""
        began = time.monotonic()
        step = ProgressStep(lambda _what, _done, _total: None)
        yield step
        self.say(f"{name}: {time.monotonic() - began:.1f} s  {step.result}".rstrip())

    @contextmanager
    def screen(self) -> Iterator[Draw]:
        """Print a line now and then."""
        last = time.monotonic()

        def draw(_picture: Callable[[], RenderableType], line: Callable[[], str]) -> None:
            nonlocal last
            if time.monotonic() - last >= PLAIN_EVERY_SECONDS:
                last = time.monotonic()
                self.say(line())

        yield draw


def presenter_for(console: Console) -> Presenter:
    """Choose by whether somebody watches."""
    return TerminalPresenter(console) if console.is_terminal else PlainPresenter(console)
