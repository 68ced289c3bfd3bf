"""What back-scoring came to, as people like to read it."""

from collections.abc import Mapping

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from stream.rescoring.request import DiffReport, ScoreReport

_SHORT = 12


def scored(report: ScoreReport) -> RenderableType:
    """Lay out what scoring came to."""
    rows = {"rows": report.rows, **report.fates, **report.decisions}
    return Group(Text(f"model {report.digest}"), _counts("scored", rows))


def compared(report: DiffReport) -> RenderableType:
    """Lay out what comparing came to; it is all right if nothing is unexplained."""
    rows = {"compared": report.compared, "equal": report.equal, "explained": report.explained}
    rows["unexplained"] = report.unexplained
    parts: list[RenderableType] = [_counts("decisions", rows, of=report.compared)]
    if report.reasons:
        parts.append(_counts("explained by", report.reasons, of=report.compared))
    parts.append(_counts("decided by", report.decided_by | {d[:_SHORT]: n for d, n in report.models.items()}))
    beside = {"transactions without a decision": report.undecided, "scores that do not count": report.void}
    if any(beside.values()):
        parts.append(_counts("beside", beside))
    if report.examples:
        parts.append(_examples(report))
    return Group(*parts)


def _counts(title: str, counts: Mapping[str, int], of: int = 0) -> Table:
    table = Table(title_justify="left", header_style="bold", pad_edge=False, box=None, padding=(0, 3, 0, 0))
    table.add_column(f"\n{title}", min_width=34)
    table.add_column("", justify="right")
    table.add_column("", justify="right")
    for name, count in counts.items():
        style = "bold red" if name == "unexplained" and count else None
        table.add_row(name, f"{count:,}", f"{count / of:.2%}" if of else "", style=style)
    return table


def _examples(report: DiffReport) -> Table:
    table = Table("transaction", "partition", "offset", "on record, and made again", title_justify="left", box=None)
    for one in report.examples:
        table.add_row(one.transaction_id, str(one.partition), str(one.offset), one.differences)
    return table
