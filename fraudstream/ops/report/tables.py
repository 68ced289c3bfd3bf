"""Tables: what is in their cells, which rows and columns have data, and how they look in HTML.

A cell is a text, a quantity, an answer (a bool) or None. A column that has a quantity is aligned right, and if all of
its quantities have one unit, the unit stands in the column's head. Rows and columns without any data are left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fraudstream.ops.report.markup import Markup, breakable, element, joined, prose, text
from fraudstream.ops.report.parts import Cell, cell_text

_LONGEST_WORD = 20
_KEPT_WHOLE = 16
"""A text of so many characters stays in one line, as an amount does."""
_KEPT_TOGETHER = 12
"""A table of at most so many rows stands on one page; a longer one may go on on the next."""


@dataclass(frozen=True, slots=True)
class DataTable:
    """A table whose first column names its rows; on paper its head is repeated on each page.

    Attributes:
        caption: what it shows.
        heads: of the columns, without units where cells are quantities.
        rows: the cells; a row whose cells but the first are None or "" is left out, and likewise a column.
        note: stands under it; may be empty.

    Raises:
        ValueError: there is no column, or a row has more or fewer cells than there are columns.
    """

    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""

    def __post_init__(self) -> None:
        if not self.heads:
            raise ValueError(f"the table {self.caption!r} has no column")
        if any(len(row) != len(self.heads) for row in self.rows):
            raise ValueError(f"the table {self.caption!r} must have {len(self.heads)} cells in each row")

    @property
    def is_empty(self) -> bool:
        """Whether no row has data."""
        return not self._filled()

    @property
    def columns(self) -> tuple["TableColumn", ...]:
        """The columns that have data, with the cells of the rows that have some; the first is always there."""
        rows = self._filled()
        columns = (TableColumn(head, tuple(row[at] for row in rows)) for at, head in enumerate(self.heads))
        return tuple(column for at, column in enumerate(columns) if at == 0 or not column.is_empty)

    def _filled(self) -> list[tuple[Cell, ...]]:
        return [row for row in self.rows if len(row) == 1 or not all(map(_is_blank, row[1:]))]

    def markup(self, key: str) -> Markup:
        """Return the table in a region that scrolls if the window is narrower."""
        caption_id, columns = f"{key}-caption", self.columns
        head = element("thead", element("tr", *(_head_markup(column, at) for at, column in enumerate(columns))))
        rows = [
            _row(columns, cells) for cells in zip(*(zip(c.cells, c.texts(), strict=True) for c in columns), strict=True)
        ]
        caption = element("caption", text(self.caption), id=caption_id)
        kind = {"class_": "short"} if len(rows) <= _KEPT_TOGETHER else {}
        table = element("table", caption, head, element("tbody", *rows), **kind)
        scrolled = element("div", table, class_="scroll", role="region", tabindex="0", aria_labelledby=caption_id)
        return joined(scrolled, *((element("p", prose(self.note), class_="note"),) if self.note else ()))


@dataclass(frozen=True, slots=True)
class TableColumn:
    """A column: its head and its cells."""

    head: str
    cells: tuple[Cell, ...]

    @property
    def is_empty(self) -> bool:
        """Whether no cell has data."""
        return all(map(_is_blank, self.cells))

    @property
    def is_numeric(self) -> bool:
        """Whether it has a quantity, so that it is aligned right."""
        return bool(self._units())

    @property
    def unit(self) -> str:
        """The unit of all of its quantities; empty if they differ."""
        units = self._units()
        return units.pop() if len(units) == 1 else ""

    def texts(self) -> list[str]:
        """Return the cells as texts, without the unit that the head states."""
        unit = self.unit
        return [
            cell.number if unit and cell is not None and not isinstance(cell, (str, bool)) else cell_text(cell)
            for cell in self.cells
        ]

    def _units(self) -> set[str]:
        return {cell.unit for cell in self.cells if cell is not None and not isinstance(cell, (str, bool))}


def _is_blank(cell: Cell) -> bool:
    return cell is None or (isinstance(cell, str) and not cell)


def _head_markup(column: TableColumn, at: int) -> Markup:
    unit = (text(" "), element("span", text(f"({column.unit})"), class_="unit")) if column.unit else ()
    return element("th", text(column.head), *unit, scope="col", **({"class_": "n"} if at and column.is_numeric else {}))


def _alignment(column: TableColumn, cell: Cell, shown: str) -> dict[str, str]:
    """Return the class of a cell: a number, an answer, or what is not to be cut, as long ids may be."""
    if isinstance(cell, bool):
        return {"class_": "yes" if cell else "no"}
    if column.is_numeric:
        return {"class_": "n"}
    words = shown.split()
    if len(shown) <= _KEPT_WHOLE:
        return {"class_": "token"}
    if any(len(word) > _LONGEST_WORD for word in words):
        return {}
    return {"class_": "words" if len(words) > 1 else "token"}


def _row(columns: Sequence[TableColumn], cells: Sequence[tuple[Cell, str]]) -> Markup:
    """Return a row of cells with their texts; the first is the row's head."""
    (name, named), *others = cells
    kind = {"class_": "token"} if columns[0].is_numeric else _alignment(columns[0], name, named)
    head = element("th", breakable(named), scope="row", **kind)
    body = (
        element("td", breakable(shown), **_alignment(column, cell, shown))
        for column, (cell, shown) in zip(columns[1:], others, strict=True)
    )
    return element("tr", head, *body)
