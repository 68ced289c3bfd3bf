"""A report as Markdown, for repositories and wikis: the sections of the page, in the same words.

Charts are left out, since what they show stands in tables beside them; what is folded on the page is open. A table of
two columns is a list, which can be read without a renderer, too.
"""

from collections.abc import Iterator

from fraudstream.ops.report.decisions import DecisionMatrix
from fraudstream.ops.report.document import RESTS_ON, SIGNS, Headline, Report
from fraudstream.ops.report.markup import printable
from fraudstream.ops.report.parts import Folded, KeyFigures, Note, Part
from fraudstream.ops.report.tables import DataTable, TableColumn

_PAIR = 2
"""A table of so many columns is a list."""


def in_markdown(report: Report) -> str:
    """Return a report as the text of a Markdown file, with an ending newline; it needs no matplotlib."""
    blocks = [f"# {_inline(report.title)}"]
    blocks += [] if report.headline is None else [_quoted(report.headline)]
    blocks += [_inline(report.subtitle)] if report.subtitle else []
    for section in report.stated:
        blocks += [f"## {_inline(section.title)}", *_parts(section.parts)]
    facts = [_list_line(name, fact) for name, fact in report.provenance.facts()]
    blocks += [f"## {RESTS_ON}", "\n".join([*facts, *(f"- {_inline(note)}" for note in report.footnotes)])]
    return "\n\n".join(blocks) + "\n"


def _quoted(headline: Headline) -> str:
    below = (_inline(words) for words in (headline.decision, headline.reason) if words)
    return "\n>\n> ".join([f"> **{SIGNS[headline.tone]} {_inline(headline.words)}**", *below])


def _parts(parts: tuple[Part, ...]) -> Iterator[str]:
    for part in parts:
        if part.is_empty:
            continue
        match part:
            case Note():
                yield from ([_inline(part.words)] if part.words else [])
                yield from (["\n".join(f"- {_inline(point)}" for point in part.points)] if part.points else [])
            case KeyFigures():
                figures = ((figure, f" ({figure.detail})" if figure.detail else "") for figure in part.known)
                yield "\n".join(_list_line(figure.name, f"{figure.shown}{detail}") for figure, detail in figures)
            case DataTable():
                yield from _table(part)
            case DecisionMatrix():
                yield from _table(part.as_table())
            case Folded():
                yield f"### {_inline(part.title)}"
                yield from _parts(part.parts)
            case _:  # a chart
                pass


def _table(table: DataTable) -> Iterator[str]:
    columns = table.columns
    rows = [*zip(*(column.texts() for column in columns), strict=True)]
    yield f"**{_inline(table.caption)}**"
    if len(columns) == _PAIR:
        unit = f" {columns[1].unit}" if columns[1].unit else ""
        yield "\n".join(_list_line(name, f"{value}{unit}" if value else value) for name, value in rows)
    else:
        under = [_under(at, column) for at, column in enumerate(columns)]
        yield "\n".join(map(_row, ([_head(column) for column in columns], under, *map(list, rows))))
    yield from ([_inline(table.note)] if table.note else [])


def _under(at: int, column: TableColumn) -> str:
    return "---:" if at and column.is_numeric else "---"


def _head(column: TableColumn) -> str:
    return f"{column.head} ({column.unit})".lstrip() if column.unit else column.head


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(_inline(cell).replace('|', chr(92) + '|') for cell in cells)} |"


def _list_line(name: str, value: str) -> str:
    return f"- **{_inline(name)}**: {_inline(value)}"


def _inline(words: str) -> str:
    """Return a text as one line of Markdown that no browser takes for HTML."""
    return printable(" ".join(words.split())).replace("<", "&lt;")
