"""`fraudstream features compute`: writes the vectors of a transactions file, and prints what is in the output."""

from pathlib import Path

import click
import msgspec
from rich.table import Table

from fraudstream.cli.feature_sets import features_or_refuse
from fraudstream.cli.output import dropped_text, say
from fraudstream.cli.progress import bars
from fraudstream.cli.refusals import Refusals
from fraudstream.cli.settings import settings_or_refuse
from fraudstream.console import terminal
from fraudstream.lab.dataset.output import ending_problem
from fraudstream.lab.training.compute import compute_vectors
from fraudstream.lab.training.request import VectorsReport, VectorsRequest
from stream.code_version import code_version


def compute(file: Path, out: Path, threads: int, predictions: Path | None = None, *, as_json: bool) -> None:
    """Write the vectors; exit with 1 if the file or the output cannot be used, and with 2 for a wrong output name."""
    problem = "--out is the FILE itself: name another file to write" if file.resolve() == out.resolve() else None
    if found := problem or ending_problem(out):
        raise click.UsageError(found)
    settings = settings_or_refuse()
    feature_set = features_or_refuse(settings.features).newest
    request = VectorsRequest(file, out, feature_set, threads, code_version(), predictions)
    with Refusals(), bars() as progress:
        report = compute_vectors(request, progress)
    say(as_json, msgspec.to_builtins(report), "") if as_json else _print(report)


def _print(report: VectorsReport) -> None:
    table = Table(title=report.out, show_header=False, title_justify="left")
    table.add_row("vectors", f"{report.rows:,}, {report.labelled:,} labelled, {report.frauds:,} frauds")
    table.add_row("from, to", f"{report.since} to {report.until}")
    if report.set_aside:
        table.add_row("left out", f"{report.set_aside:,} that the stream would not decide (repeated, for example)")
    if report.dropped:
        table.add_row("dropped", dropped_text(report.dropped))
    table.add_row("features", f"{len(report.features)}, fingerprint {report.fingerprint}")
    terminal().print(table)
