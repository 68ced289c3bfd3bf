"""The one way to print on a terminal: no text moves the cursor, writes over another, or counts as markup.

Names, reasons and ids come from producers and from whoever sends commands. `stream.printing` shows one
such text on its line; what `echo` and `terminal` print may have several lines, and is escaped but for their ends.
"""

from collections.abc import Iterable
from typing import Any

import click
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from stream.printing import printable_lines


def echo(text: str = "", *, err: bool = False, nl: bool = True) -> None:
    """Print lines to standard output, or with `err` to standard error."""
    click.echo(printable_lines(text), err=err, nl=nl)


def echo_json(encoded: bytes) -> None:
    """Print one JSON object, exactly: programs read it, and what could move a cursor is escaped by JSON already."""
    click.echo(encoded.decode())


class Terminal(Console):
    """A console on which no text is markup, and which escapes what is no glyph; its own styles are kept."""

    def render_str(self, text: str, **options: Any) -> Text:  # noqa: ANN401 - rich's
        """Return a text to lay out, escaped, so that its width is the one that is printed."""
        return super().render_str(printable_lines(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield what is printed, escaped also where a `Text` was made elsewhere."""
        for segment in super().render(renderable, options):
            text, style, control = segment
            yield segment if control else Segment(printable_lines(text), style)


def terminal(*, stderr: bool = False) -> Terminal:
    """Return a console that prints what it is given as it stands."""
    return Terminal(stderr=stderr, highlight=False, markup=False, emoji=False)
