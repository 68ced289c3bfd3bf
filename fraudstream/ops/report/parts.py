"""What a section states: notes, key figures, and what is folded; tables, matrices and charts are in files of their own.

A part knows whether it has data (`is_empty`). A renderer leaves out what has none, and a section of which nothing is
left, so that no page has a tile "n/a" or a chart without a point.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from fraudstream.ops.report.markup import Markup, element, joined, prose, text
from fraudstream.ops.report.quantities import UNKNOWN, Quantity, WithInterval, quantity_text

Cell = str | Quantity | bool | None
"""What a table or a key figure shows; None is "n/a" in a table, and leaves a key figure out."""
YES, NO = "\N{CHECK MARK} yes", "\N{MULTIPLICATION SIGN} no"
"""How an answer is written: sign and word differ, so that neither colour nor case has to tell them apart."""


def cell_text(cell: Cell) -> str:
    """Return a cell as a text, a quantity with its unit."""
    if isinstance(cell, bool):
        return YES if cell else NO
    return cell if isinstance(cell, str) else quantity_text(cell)


class Part(Protocol):
    """Something that a section states."""

    @property
    def is_empty(self) -> bool:
        """Whether it has no data, so that it is left out."""

    def markup(self, key: str) -> Markup:
        """Return the part as HTML; `key` begins each id in it, so that no two parts of a page share one."""


def parts_markup(key: str, parts: Sequence[Part]) -> Markup:
    """Return the parts that have data as HTML, one after the other."""
    return joined(*(part.markup(f"{key}p{number}") for number, part in enumerate(parts, start=1) if not part.is_empty))


@dataclass(frozen=True, slots=True)
class Note:
    """A paragraph, and a list of sentences below it; either may be empty."""

    words: str = ""
    points: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether it says nothing."""
        return not self.words and not self.points

    def markup(self, _key: str) -> Markup:
        """Return a `p` and a `ul`."""
        paragraph = (element("p", prose(self.words)),) if self.words else ()
        points = (element("ul", *(element("li", prose(point)) for point in self.points)),) if self.points else ()
        return joined(*paragraph, *points)


@dataclass(frozen=True, slots=True)
class KeyFigure:
    """A figure that a reader should see first.

    Attributes:
        name: what it is.
        value: the figure; None, or "n/a", if it is undefined or not known yet: it is left out.
        detail: what it rests on, such as its interval or the number of payments; may be empty.
    """

    name: str
    value: Cell
    detail: str = ""

    @property
    def shown(self) -> str:
        """The value as a text."""
        return cell_text(self.value)


@dataclass(frozen=True, slots=True)
class KeyFigures:
    """Key figures side by side, as many in a row as fit; those without a value are left out."""

    figures: tuple[KeyFigure, ...]

    @property
    def known(self) -> tuple[KeyFigure, ...]:
        """Those with a value."""
        return tuple(figure for figure in self.figures if figure.value is not None and figure.value != UNKNOWN)

    @property
    def is_empty(self) -> bool:
        """Whether no figure has a value."""
        return not self.known

    def markup(self, _key: str) -> Markup:
        """Return a `dl` of a group for each figure."""
        return element("dl", *(_key_figure(figure) for figure in self.known), class_="key")


def _key_figure(figure: KeyFigure) -> Markup:
    details = (element("dd", text(figure.detail), class_="detail"),) if figure.detail else ()
    return element("div", element("dt", text(figure.name)), element("dd", *_shown(figure)), *details)


def _shown(figure: KeyFigure) -> Iterator[Markup]:
    """Yield a figure, and its interval smaller beside or below it."""
    if not isinstance(figure.value, WithInterval) or figure.value.estimate is None:
        yield text(figure.shown)
        return
    yield from (text(f"{figure.value.alone} "), element("small", text(f"({figure.value.bounds})")))


@dataclass(frozen=True, slots=True)
class Folded:
    """Parts that a reader opens by a click; a terminal names them and leaves them out.

    Attributes:
        title: what is folded, such as "The other 12 features".
        parts: what is shown when it is open.
    """

    title: str
    parts: tuple[Part, ...]

    @property
    def is_empty(self) -> bool:
        """Whether none of its parts has data."""
        return all(part.is_empty for part in self.parts)

    def markup(self, key: str) -> Markup:
        """Return a `details`; a browser opens it without a script."""
        return element("details", element("summary", text(self.title)), parts_markup(key, self.parts))
