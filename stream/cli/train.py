"""`fraudstream train`: trains a model on a transactions file, stores its artifact, and prints the report."""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table

from features.errors import FormulaError
from models.errors import ModelError, RepositoryUnavailableError
from models.repository import Repository
from stream.cli.extras import needs
from stream.cli.feature_sets import features_or_refuse
from stream.cli.output import json_option, refuse, say
from stream.cli.predictions_option import predictions_option
from stream.cli.progress import bars
from stream.cli.repository import refuse_repository, repository_or_refuse
from stream.cli.settings import settings_or_refuse
from stream.dataset.errors import FileError
from stream.training.request import ImportReport, Period, TrainingError, TrainingReport, TrainingRequest

_STATED = ("auc", "average_precision", "card_precision_at_100", "alert_rate")


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--name", required=True, help="The model's name in scores and lists.")
@click.option("--version", "model_version", help="Default: the day of the file's last transaction.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--trees", type=int, default=150, show_default=True)
@click.option("--leaves", type=int, default=31, show_default=True)
@click.option("--learning-rate", type=float, default=0.05, show_default=True)
@click.option("--review-share", type=float, default=0.005, show_default=True, help="Of validation, at least reviewed.")
@click.option("--decline-share", type=float, default=0.001, show_default=True, help="Of validation, declined.")
@click.option("--threads", type=int, default=2, show_default=True, help="Changes the time, not the result.")
@predictions_option
@json_option
@needs("train", "duckdb", "sklearn")
def train(file: Path, name: str, model_version: str | None, as_json: bool, **options: Any) -> None:  # noqa: ANN401, FBT001 - click's options
    """Train a model on a transactions FILE (parquet, CSV), and store it in the repository.

    Features are computed point in time by the code of the worker; only labels known by the file's end are used.
    """
    settings = settings_or_refuse()
    try:
        request = TrainingRequest(
            file=file,
            name=name,
            version=model_version,
            feature_set=features_or_refuse(settings.features).newest,
            code_version=version("fraudstream"),
            **options,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    report = _train(request, repository_or_refuse(settings))
    say(as_json, msgspec.to_builtins(report), "") if as_json else _print(report)


def _train(request: TrainingRequest, repository: Repository) -> TrainingReport:
    from stream.training.run import train as run  # noqa: PLC0415 - it needs the extra `train`

    try:
        with bars() as progress:
            return run(request, repository, progress)
    except RepositoryUnavailableError as error:
        refuse_repository(error)
    except (TrainingError, FileError, ModelError, FormulaError) as error:
        refuse(str(error))


def _print(report: TrainingReport) -> None:
    table = report_table(report)
    table.add_row("file", f"{report.rows:,} transactions, {report.labelled:,} labelled, {report.frauds:,} frauds")
    if report.dropped:
        table.add_row("dropped", dropped_text(report.dropped))
    add_parts(table, {"train": report.train, "calibrate": report.calibrate, "validate": report.validate})
    add_measures(table, report)
    Console().print(table)


def report_table(report: TrainingReport | ImportReport) -> Table:
    """Return the beginning of a model's report: its name, version and digest."""
    table = Table(title=f"{report.name} {report.version}", show_header=False, title_justify="left")
    table.add_row("digest", report.digest)
    return table


def dropped_text(dropped: Mapping[str, int]) -> str:
    """Return how many optional values were dropped, by column."""
    return ", ".join(f"{count:,} invalid in {name}" for name, count in dropped.items())


def add_parts(table: Table, parts: Mapping[str, Period]) -> None:
    """Add the parts of the data, by name."""
    for name, part in parts.items():
        table.add_row(name, f"{part.since} to {part.until}: {part.rows:,} rows, {part.frauds:,} frauds")


def add_measures(table: Table, report: TrainingReport | ImportReport) -> None:
    """Add a model's metrics and thresholds."""
    for metric, value in report.metrics.items():
        table.add_row(metric, f"{value:.4f}", style="bold" if metric in _STATED else "")
    table.add_row("policy", f"review from {report.review_at:.4f}, decline from {report.decline_at:.4f}")
