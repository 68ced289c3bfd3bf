"""A report on a terminal: the sections of the page, in the same words, as tables of rich.

Charts are left out, since what they show stands in tables beside them; what is folded is named. No text is cut: a table
that is wider than the terminal, though its words are wrapped, is written row by row.
"""

from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from fraudstream.ops.report.decisions import DecisionMatrix
from fraudstream.ops.report.document import RESTS_ON, SIGNS, Headline, Report, Tone
from fraudstream.ops.report.markup import printable
from fraudstream.ops.report.parts import Cell, Folded, KeyFigures, Note, Part
from fraudstream.ops.report.tables import DataTable, TableColumn

_STYLES = {Tone.GOOD: "bold green", Tone.WAIT: "bold yellow", Tone.BAD: "bold red", Tone.PLAIN: "bold"}


def on_terminal(report: Report) -> RenderableType:
    """Return a report as something that rich prints.

    Args:
        report: as it would be written to a page; nothing of it is drawn, so matplotlib is not needed.
    """
    lines: list[RenderableType] = [] if report.headline is None else [*_headline(report.headline)]
    lines += [_text(report.title, "bold")] + ([_text(report.subtitle)] if report.subtitle else [])
    for section in report.stated:
        shown = [shown for part in section.parts if not part.is_empty for shown in _part(part)]
        if shown:
            lines += [Text(), _text(section.title, "bold underline"), *shown]
    lines += [Text(), _text(RESTS_ON, "bold underline")]
    lines += [_text(f"{name}: {fact}") for name, fact in report.provenance.facts()]
    return Group(*lines, *(_text(f"- {note}", "dim") for note in report.footnotes))


def _headline(headline: Headline) -> Iterator[RenderableType]:
    yield _text(f"{SIGNS[headline.tone]} {headline.words}", _STYLES[headline.tone])
    yield from (_text(words) for words in (headline.decision, headline.reason) if words)


def _part(part: Part) -> Iterator[RenderableType]:
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
            yield _text(f"({part.title}: in the page that --report writes, and in --json)", "dim")
        case _:  # a chart
            return


class _TerminalTable:
    """A table without lines; if its longest words do not fit side by side, its rows are written one below the other."""

    def __init__(self, table: DataTable) -> None:
        self._table = table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table, columns = self._table, self._table.columns
        if table.caption:
            yield Text()
            yield _text(table.caption, "italic")
        grid = _grid(columns)
        if Measurement.get(console, options.update(max_width=10_000), grid).minimum <= options.max_width:
            yield grid
        else:
            yield from _row_by_row(columns)
        if table.note:
            yield _text(table.note, "dim")


def _grid(columns: tuple[TableColumn, ...]) -> Grid:
    heads = [_head(column) for column in columns]
    grid = Grid(box=None, pad_edge=False, padding=(0, 3, 0, 0), show_header=any(heads), header_style="bold")
    for at, (column, head) in enumerate(zip(columns, heads, strict=True)):
        grid.add_column(_text(head), justify="right" if at and column.is_numeric else "left", overflow="fold")
    shown = (zip(column.texts(), column.cells, strict=True) for column in columns)
    for row in zip(*shown, strict=True):
        grid.add_row(*(_text(words, _style(cell)) for words, cell in row))
    return grid


def _row_by_row(columns: tuple[TableColumn, ...]) -> Iterator[RenderableType]:
    heads = [_head(column) for column in columns]
    for name, *values in zip(*(column.texts() for column in columns), strict=True):
        yield _text(name, "bold")
        for head, value in zip(heads[1:], values, strict=True):
            yield Padding(_text(f"{head}: {value}" if head else value), (0, 0, 0, 2))


def _head(column: TableColumn) -> str:
    return f"{column.head} ({column.unit})".lstrip() if column.unit else column.head


def _style(cell: Cell) -> str:
    return "" if not isinstance(cell, bool) else "green" if cell else "bold red"


def _text(words: str, style: str = "") -> Text:
    """Return a text that wraps between words, and is folded rather than cut within a long one."""
    return Text(printable(words), style, overflow="fold")
