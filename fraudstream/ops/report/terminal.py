"""A report on a terminal: the sections of the page, in the same words, as tables of rich.

Charts are left out, since what they show stands in tables beside them; what is folded is named. No text is cut.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import replace

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, JustifyMethod, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from fraudstream.console import Terminal
from fraudstream.ops.report.decisions import DecisionMatrix
from fraudstream.ops.report.document import RESTS_ON, SIGNS, Headline, Report, Section, Tone
from fraudstream.ops.report.markup import printable
from fraudstream.ops.report.parts import Cell, Folded, KeyFigures, Note, Part
from fraudstream.ops.report.tables import DataTable, TableColumn

_GAP = 3
"""Blanks between columns."""
_KEPT = 20
"""Cells of so many characters stay in one line where there is room, as amounts and times do."""
_Span = tuple[int, int]
_STYLES = {Tone.GOOD: "bold green", Tone.WAIT: "bold yellow", Tone.BAD: "bold red", Tone.PLAIN: "bold"}


def on_terminal(report: Report, *, has_page: bool = True) -> RenderableType:
    """Return a report as something that rich prints.

    Args:
        report: as it would be written to a page; nothing of it is drawn, so matplotlib is not needed.
        has_page: whether its command writes a page, which then has what is folded here.
    """
    lines: list[RenderableType] = [] if report.headline is None else [headline_on_terminal(report.headline)]
    lines += [_text(report.title, "bold")] + ([_text(report.subtitle)] if report.subtitle else [])
    lines += [sections_on_terminal(report.sections, has_page=has_page), Text(), _text(RESTS_ON, "bold underline")]
    lines += [_text(f"{name}: {fact}") for name, fact in report.provenance.facts()]
    return Group(*lines, *(_text(f"- {note}", "dim") for note in report.footnotes))


def sections_on_terminal(sections: Sequence[Section], *, has_page: bool = True) -> RenderableType:
    """Return sections that have data as something that rich prints, each below a blank line and its title."""
    lines: list[RenderableType] = []
    for section in sections:
        shown = [*_parts(section.parts, has_page=has_page)]
        if shown:
            lines += [Text(), _text(section.title, "bold underline"), *shown]
    return Group(*lines)


def parts_on_terminal(parts: Sequence[Part], *, has_page: bool = True) -> RenderableType:
    """Return the parts that have data as something that rich prints."""
    return Group(*_parts(parts, has_page=has_page))


def plain_text(report: Report, columns: int) -> str:
    """Return a report that has no page as plain text, wrapped at so many columns, without an ending newline.

    Its headline has no sign: it is text that is sent to others.
    """
    console = Terminal(file=io.StringIO(), width=columns, color_system=None, markup=False, emoji=False, highlight=False)
    headline, below = report.headline, replace(report, headline=None)
    with console.capture() as capture:
        if headline is not None:
            console.print(*filter(None, (headline.words, headline.decision, headline.reason)), sep="\n")
        console.print(on_terminal(below, has_page=False))
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def headline_on_terminal(headline: Headline) -> RenderableType:
    """Return a headline as something that rich prints."""
    words = _text(f"{SIGNS[headline.tone]} {headline.words}", _STYLES[headline.tone])
    return Group(words, *(_text(below) for below in (headline.decision, headline.reason) if below))


def _parts(parts: Sequence[Part], *, has_page: bool) -> Iterator[RenderableType]:
    where = "in the page that --report writes, and in --json" if has_page else "in --json"
    for part in parts:
        if part.is_empty:
            continue
        match part:
            case Note():
                yield from ([_text(part.words)] if part.words else [])
                yield from (_text(f"- {point}") for point in part.points)
            case KeyFigures():
                rows = tuple((figure.name, figure.shown, figure.detail) for figure in part.known)
                yield _TerminalTable(DataTable("", ("", "", ""), rows))
            case DataTable():
                yield _TerminalTable(part)
            case DecisionMatrix():
                yield _TerminalTable(part.as_table())
            case Folded():
                yield _text(f"({part.title}: {where})", "dim")
            case _:  # a chart
                pass


class _TerminalTable:
    """A table without lines, as narrow as the terminal: its words wrap, or rows and columns change places.

    If the longest words do not fit side by side even so, its rows are written one below the other.
    """

    def __init__(self, table: DataTable) -> None:
        self._table = table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table, columns = self._table, self._table.columns
        if table.caption:
            yield Text()
            yield _text(table.caption, "italic")
        shapes = [(shape, _spans(shape, kept)) for shape in (columns, _transposed(columns)) for kept in (_KEPT, 0)]
        fitting = next((one for one in shapes if _least_width(one[1]) <= options.max_width), None)
        if fitting is None:
            yield from _row_by_row(columns)
        else:
            yield _grid(*fitting, options.max_width)
        if table.note:
            yield _text(table.note, "dim")


def _transposed(columns: Sequence[TableColumn]) -> tuple[TableColumn, ...]:
    """Return a column for each row, below the heads as the first column."""
    heads = [_head(column) for column in columns]
    rows = zip(*(column.texts() for column in columns), strict=True)
    return TableColumn(heads[0], tuple(heads[1:])), *(TableColumn(name, tuple(cells)) for name, *cells in rows)


def _grid(columns: Sequence[TableColumn], spans: Sequence[_Span], width: int) -> Grid:
    heads = [_head(column) for column in columns]
    grid = Grid(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), show_header=any(heads), header_style="bold")
    for at, (column, head, wide) in enumerate(zip(columns, heads, _widths(spans, width), strict=True)):
        justify: JustifyMethod = "right" if at and column.is_numeric else "left"
        grid.add_column(_text(head), justify=justify, overflow="fold", width=wide)
    shown = (zip(column.texts(), column.cells, strict=True) for column in columns)
    for row in zip(*shown, strict=True):
        grid.add_row(*(_text(words, _style(cell)) for words, cell in row))
    return grid


def _widths(spans: Sequence[_Span], width: int) -> list[int]:
    """Return the widths of columns: the least that each needs, and a share of the rest by what it lacks."""
    lacking = sum(most - least for least, most in spans)
    share = min(1.0, (width - _least_width(spans)) / lacking) if lacking else 0.0
    return [least + int(share * (most - least)) for least, most in spans]


def _least_width(spans: Sequence[_Span]) -> int:
    return sum(least + _GAP for least, _ in spans)


def _spans(columns: Sequence[TableColumn], kept: int) -> list[_Span]:
    """Return the width of each column if heads and texts of more than `kept` cells wrap, and if nothing does."""
    return [_span(column, kept) for column in columns]


def _span(column: TableColumn, kept: int) -> _Span:
    head, *texts = (printable(words) for words in (_head(column), *column.texts()))
    short = [words for words in texts if cell_len(words) <= kept]
    words = [word for text in (head, *texts) for word in text.split()]
    return max(map(cell_len, (*short, *words)), default=0), max(map(cell_len, (head, *texts)))


def _row_by_row(columns: Sequence[TableColumn]) -> Iterator[RenderableType]:
    heads = [_head(column) for column in columns]
    for name, *values in zip(*(column.texts() for column in columns), strict=True):
        yield _text(name, "bold")
        cells = zip(heads[1:], values, strict=True)
        yield Padding(_text("; ".join(f"{head}: {value}" if head else value for head, value in cells)), (0, 0, 0, 2))


def _head(column: TableColumn) -> str:
    return f"{column.head} ({column.unit})".lstrip() if column.unit else column.head


def _style(cell: Cell) -> str:
    return "" if not isinstance(cell, bool) else "green" if cell else "bold red"


def _text(words: str, style: str = "") -> Text:
    """Return a text that wraps between words, and is folded rather than cut within a long one."""
    return Text(printable(words), style, overflow="fold")
