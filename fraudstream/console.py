"""Consoles of rich on which no text moves the cursor or counts as markup; apart from `terminal` since few need rich."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from stream.printing import printable_lines

_LEAST_WIDTH, _DIGEST_WIDTH = 80, 100


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


def terminal_for_digests() -> Terminal:
    """Return a console that has room for a digest beside a name, unless it is a terminal, which has its own width."""
    found = terminal()
    if not found.is_terminal:
        found.width = max(found.width, _DIGEST_WIDTH)
    return found


def wide_terminal() -> Terminal:
    """Return a console of at least 80 columns: a table that is made for a narrower one would break words."""
    found = terminal()
    found.width = max(found.width, _LEAST_WIDTH)
    return found
