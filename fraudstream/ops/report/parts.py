"""Parts of a section: the interface of all of them, paragraphs, lists and key figures."""

from dataclasses import dataclass
from typing import Protocol

from fraudstream.ops.report.markup import Markup, element, text
from fraudstream.ops.report.quantities import Quantity, quantity_text

Cell = str | Quantity | None
"""What a table or a key figure shows; None is shown as "n/a"."""


class Part(Protocol):
    """Something that a section has: a paragraph, key figures, a table, a matrix or a chart."""

    def markup(self, key: str) -> Markup:
        """Return the part as HTML; `key` begins each id in it, so that no two parts of a page share one."""


@dataclass(frozen=True, slots=True)
class Prose:
    """A paragraph."""

    words: str

    def markup(self, _key: str) -> Markup:
        """Return a `p`."""
        return element("p", text(self.words))


@dataclass(frozen=True, slots=True)
class Points:
    """A list of sentences."""

    points: tuple[str, ...]

    def markup(self, _key: str) -> Markup:
        """Return a `ul`."""
        return element("ul", *(element("li", text(point)) for point in self.points))


@dataclass(frozen=True, slots=True)
class KeyFigure:
    """A figure that a reader should see first.

    Attributes:
        name: what it is.
        value: the figure; None if it is undefined or not known yet.
        detail: what it rests on, such as its interval or the number of payments; may be empty.
    """

    name: str
    value: Cell
    detail: str = ""


@dataclass(frozen=True, slots=True)
class KeyFigures:
    """Key figures side by side, as many in a row as fit."""

    figures: tuple[KeyFigure, ...]

    def markup(self, _key: str) -> Markup:
        """Return a `dl` of a group for each figure."""
        return element("dl", *(_key_figure(figure) for figure in self.figures), class_="key")


def _key_figure(figure: KeyFigure) -> Markup:
    shown = figure.value if isinstance(figure.value, str) else quantity_text(figure.value)
    details = (element("dd", text(figure.detail), class_="detail"),) if figure.detail else ()
    return element("div", element("dt", text(figure.name)), element("dd", text(shown)), *details)
