"""`fraudstream model import`: stores a model that was trained elsewhere, and prints the report as `train` does."""

from collections.abc import Mapping
from typing import Any

import click
import msgspec

from fraudstream.cli.feature_sets import features_or_refuse
from fraudstream.cli.output import say
from fraudstream.cli.progress import bars
from fraudstream.cli.refusals import Refusals
from fraudstream.cli.repository import repository_or_refuse
from fraudstream.cli.settings import settings_or_refuse
from fraudstream.cli.signatures import sign_or_refuse, signer_or_refuse
from fraudstream.cli.train import add_measures, add_parts, report_table
from fraudstream.console import terminal_for_digests
from fraudstream.lab.training import import_run
from fraudstream.lab.training.provenance import provenance_here
from fraudstream.lab.training.request import ImportReport, ImportRequest
from fraudstream.terminal import echo
from models.repository import Repository
from stream.code_version import code_version


def import_model(options: Mapping[str, Any], *, as_json: bool) -> None:
    """Import a model; exit with 1 if it or the vectors cannot be used, and with 2 for options that cannot be."""
    if options["use_training_rows"] and options["trained_until_ms"] is None:
        raise click.UsageError("--use-training-rows is for --trained-until: without it all vectors are used")
    settings = settings_or_refuse()
    given = dict(options)
    signer = signer_or_refuse(given.pop("key"))
    try:
        request = ImportRequest(
            sets=features_or_refuse(settings.features),
            code_version=code_version(),
            provenance=provenance_here(),
            **given,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    repository = repository_or_refuse(settings)
    report = _import(request, repository)
    if signer is not None:
        sign_or_refuse(repository, report.digest, signer)
    for warning in report.warnings:
        echo(f"warning: {warning}", err=True)
    say(as_json, msgspec.to_builtins(report), "") if as_json else _print(report)


def _import(request: ImportRequest, repository: Repository) -> ImportReport:
    with Refusals(), bars() as progress:
        return import_run.import_model(request, repository, progress)


def _print(report: ImportReport) -> None:
    table = report_table(report)
    table.add_row("model", f"{report.file}, trained elsewhere until {report.trained_until or 'an unknown time'}")
    table.add_row("vectors", f"{report.rows:,}, {report.labelled:,} labelled, {report.frauds:,} frauds")
    if report.trained_on:
        table.add_row("left out", f"{report.trained_on:,} labelled vectors, because the model was trained on them")
    add_parts(table, {"calibrate": report.calibrate, "test": report.test})
    add_measures(table, report)
    terminal_for_digests().print(table)
