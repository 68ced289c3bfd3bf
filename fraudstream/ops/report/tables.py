"""Tables of a page.

A cell is a text, a quantity or None. A column that has a quantity is aligned right, and if all of its quantities have
one unit, the unit stands in the column's head.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fraudstream.ops.report.markup import Markup, element, joined, text
from fraudstream.ops.report.parts import Cell
from fraudstream.ops.report.quantities import UNKNOWN, quantity_text

_LONGEST_WORD = 20
_KEPT_TOGETHER = 12
"""A table of at most so many rows stands on one page; a longer one may go on on the next."""


@dataclass(frozen=True, slots=True)
class DataTable:
    """A table whose first column names its rows; on paper its head is repeated on each page.

    Attributes:
        caption: what it shows.
        heads: of the columns, without units where cells are quantities.
        rows: the cells.
        note: stands under it; may be empty.
        nothing: what is said in place of rows if there are none.

    Raises:
        ValueError: there is no column, or a row has more or fewer cells than there are columns.
    """

    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    nothing: str = "There are none."

    def __post_init__(self) -> None:
        if not self.heads:
            raise ValueError(f"the table {self.caption!r} has no column")
        if any(len(row) != len(self.heads) for row in self.rows):
            raise ValueError(f"the table {self.caption!r} must have {len(self.heads)} cells in each row")

    def markup(self, key: str) -> Markup:
        """Return the table in a region that scrolls if the window is narrower."""
        caption_id = f"{key}-caption"
        columns = [_TableColumn.of(head, [row[place] for row in self.rows]) for place, head in enumerate(self.heads)]
        head = element("thead", element("tr", *(column.head_markup() for column in columns)))
        whole = element("td", text(self.nothing), colspan=str(len(self.heads)), class_="nothing")
        rows = [_row(columns, row) for row in self.rows] or [element("tr", whole)]
        caption = element("caption", text(self.caption), id=caption_id)
        kind = {"class_": "short"} if len(rows) <= _KEPT_TOGETHER else {}
        table = element("table", caption, head, element("tbody", *rows), **kind)
        scrolled = element("div", table, class_="scroll", role="region", tabindex="0", aria_labelledby=caption_id)
        return joined(scrolled, *((element("p", text(self.note), class_="note"),) if self.note else ()))


@dataclass(frozen=True, slots=True)
class _TableColumn:
    """Its head, whether it has quantities, and the unit of all of them (empty if they differ)."""

    head: str
    numeric: bool
    unit: str

    @classmethod
    def of(cls, head: str, cells: Sequence[Cell]) -> "_TableColumn":
        quantities = [cell for cell in cells if cell is not None and not isinstance(cell, str)]
        units = {quantity.unit for quantity in quantities}
        return cls(head, bool(quantities), units.pop() if len(units) == 1 else "")

    def head_markup(self) -> Markup:
        unit = (text(" "), element("span", text(f"({self.unit})"), class_="unit")) if self.unit else ()
        return element("th", text(self.head), *unit, scope="col", **({"class_": "n"} if self.numeric else {}))

    def alignment(self, shown: str) -> dict[str, str]:
        """Return the class of a cell: a number, or what is not to be cut, as long ids may be."""
        if self.numeric:
            return {"class_": "n"}
        words = shown.split()
        if any(len(word) > _LONGEST_WORD for word in words):
            return {}
        return {"class_": "words" if len(words) > 1 else "token"}

    def shown(self, cell: Cell) -> str:
        if cell is None:
            return UNKNOWN
        if isinstance(cell, str):
            return cell
        return cell.number if self.unit else quantity_text(cell)


def _row(columns: Sequence[_TableColumn], cells: Sequence[Cell]) -> Markup:
    """Return a row; its first cell is its head."""
    shown = [column.shown(cell) for column, cell in zip(columns, cells, strict=True)]
    kinds = [column.alignment(words) for column, words in zip(columns, shown, strict=True)]
    first = element("th", text(shown[0]), scope="row", **kinds[0])
    others = (element("td", text(words), **kind) for words, kind in zip(shown[1:], kinds[1:], strict=True))
    return element("tr", first, *others)
