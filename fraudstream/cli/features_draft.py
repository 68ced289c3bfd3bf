"""`fraudstream features draft`: prints what a file's columns are taken for, and writes what was drafted."""

import importlib.util
from collections.abc import Iterable, Mapping
from pathlib import Path

import click
import msgspec
from rich import box
from rich.console import Console
from rich.table import Table

from fraudstream.cli.output import say
from fraudstream.cli.refusals import Refusals
from fraudstream.console import terminal
from fraudstream.lab.dataset.output import ending_problem
from fraudstream.lab.declarations.draft import DraftReport, DraftRequest, draft
from fraudstream.lab.declarations.roles import FIELDS
from fraudstream.lab.declarations.selection import Ground
from fraudstream.terminal import echo
from stream.contract.iso import CURRENCY_DECIMALS
from stream.settings import PREFIX


def run_draft(request: DraftRequest, output: Path | None, *, as_json: bool) -> None:
    """Draft, write the module to `output` or print it, and print the report; exit with 1 if the file cannot be used."""
    out = request.write_to
    if request.currency and request.currency not in CURRENCY_DECIMALS:
        raise click.UsageError(f"--currency {request.currency} is no ISO 4217 code such as EUR")
    problem = None if out is None else ending_problem(out)
    if problem is not None:
        raise click.UsageError(problem.replace("--out", "--write-to", 1))
    if out is not None and out.exists():
        raise click.UsageError(f"--write-to {out} is there already: name another file to write")
    if output is not None and (wrong := _problem_of(output)):
        raise click.UsageError(f"--output {output} {wrong}")
    with Refusals():
        report = draft(request)
    if output is not None:
        output.write_text(report.module)
    if as_json:
        say(as_json, msgspec.to_builtins(report), "")
        return
    _print(report, output, terminal(stderr=output is None))
    if output is None:
        echo(report.module, nl=False)


def stated_columns(given: Iterable[str]) -> Mapping[str, str]:
    """Return columns by field of the contract, of `FIELD=COLUMN` each; exit with 2 if one is none."""
    stated: dict[str, str] = {}
    for text in given:
        field, equals, column = text.partition("=")
        if not equals or field not in FIELDS:
            raise click.UsageError(
                f"--column {text}: write FIELD=COLUMN, with FIELD one of {', '.join(sorted(FIELDS))}"
            )
        stated[field] = column
    return stated


def _problem_of(output: Path) -> str:
    """Return why a module cannot be written there, or could not be imported by its name."""
    if output.suffix != ".py" or not output.stem.isidentifier():
        return "is no module's file: name it like our_fields.py"
    if output.exists():
        return "is there already, perhaps edited: name another file, or remove it"
    if importlib.util.find_spec(output.stem) is not None:
        return f"cannot be imported as {output.stem}: there is a module of that name already; name another file"
    return ""


def _print(report: DraftReport, output: Path | None, console: Console) -> None:
    frauds = (
        "no label found" if report.frauds is None else f"{report.frauds:,} frauds ({report.frauds / report.rows:.2%})"
    )
    console.print(f"{report.file}: {report.rows:,} payments, {report.since} to {report.until}, {frauds}\n")
    columns = _table("the contract's", "column", "how sure", "why", "or is it")
    for one in report.columns:
        if one.column is not None or one.why != "optional":
            columns.add_row(one.field, one.column or "-", one.sure, one.why, ", ".join(one.others))
    console.print(columns)
    fields = _table("field", "column", "kind", "ROC AUC alone", "look at")
    for field in report.fields:
        auc = "" if field.auc is None else f"{field.auc:.3f}"
        fields.add_row(field.field, field.column, field.kind, auc, field.note)
    console.print(fields if report.fields else "no column becomes a field of your own\n")
    if report.left_out:
        left = _table("left out", "ground", "why")
        for column in report.left_out:
            leak = column.ground == Ground.LEAK.name.lower()
            left.add_row(column.column, column.ground.replace("_", " "), column.why, style="bold" if leak else "")
        console.print(left)
    if report.passed_on:
        console.print(f"passed on as they are, since the contract has them: {', '.join(report.passed_on)}")
    for line in _next(report, output):
        console.print(line)


def _table(*headings: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _next(report: DraftReport, output: Path | None) -> Iterable[str]:
    """Yield what was written, and the commands that follow."""
    written = report.written
    if written is not None:
        left = f"; {written.left_out:,} rows left out that lack a time, an amount, a card or a merchant"
        yield f"{written.path}: {written.rows:,} transactions{left if written.left_out else ''}"
        yield from written.remarks
    module = "MODULE" if output is None else output.stem
    file = "FILE" if written is None else written.path
    if written is None:
        yield "train reads a file with the contract's columns: --write-to FILE.parquet writes it"
    yield "next, when the module is read and edited:"
    yield f"  {PREFIX}FEATURES={module} fraudstream features check"
    yield f"  {PREFIX}FEATURES={module} fraudstream train {file} --name NAME"
