"""`fraudstream train`: trains a model on a file or on the topics, stores its artifact, and prints the report."""

import asyncio
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.table import Table

from features.own_fields import DeclaredFields
from fraudstream.cli.arguments import MomentParam
from fraudstream.cli.extras import needs
from fraudstream.cli.feature_sets import features_or_refuse
from fraudstream.cli.model_registry import key_option
from fraudstream.cli.output import dropped_text, json_option, say
from fraudstream.cli.policy_options import policy_wish
from fraudstream.cli.policy_text import policy_lines
from fraudstream.cli.predictions_option import predictions_option
from fraudstream.cli.progress import bars
from fraudstream.cli.refusals import Refusals
from fraudstream.cli.repository import trusted_repository_or_refuse
from fraudstream.cli.settings import settings_or_refuse
from fraudstream.cli.signatures import sign_or_refuse, signer_or_refuse
from fraudstream.cli.training_options import sizes_of, training_options
from fraudstream.console import terminal_for_digests
from fraudstream.lab.training.provenance import provenance_here
from fraudstream.lab.training.request import (
    Baseline,
    ImportReport,
    Period,
    TrainingReport,
    TrainingRequest,
)
from fraudstream.terminal import echo
from models.repository import Repository
from stream.code_version import code_version
from stream.settings import Settings

_OF_WHAT = "all metrics are of a model that was made when the test began"
_STATED = ("auc", "average_precision", "card_precision_at_100", "alert_rate")


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=False)
@click.option("--topic", is_flag=True, help="Instead of a FILE: the deployment's topics of transactions and labels.")
@click.option("--until", type=MomentParam(), help="With --topic: leave out payments and labels of this time or later.")
@click.option("--name", required=True, help="The model's name in scores and lists.")
@click.option("--version", "model_version", help="Default: the day of the last transaction.")
@training_options
@key_option
@predictions_option
@json_option
@needs("train", "duckdb", "sklearn")
def train(file: Path | None, as_json: bool, **options: Any) -> None:  # noqa: ANN401, FBT001 - click's options
    """Train a model on a transactions FILE (parquet, CSV), and store it in the repository.

    Features are computed point in time by the code of the worker; only labels known by the end are used. The data is
    split by time into train, calibrate, validate and test, or by folds of time where these would be too small; nothing
    is chosen by the test part. The stored model is fitted again to all that is known. Features that know the label are
    refused, and a model whose ranking may be chance.
    """
    is_topic, until_ms = options.pop("topic"), options.pop("until")
    if (file is None) is not is_topic:
        raise click.UsageError("name a FILE, or --topic: one of the two")
    if until_ms is not None and not is_topic:
        raise click.UsageError("--until is for --topic")
    settings = settings_or_refuse()
    signer = signer_or_refuse(options.pop("key"))
    repository = trusted_repository_or_refuse(settings)
    with tempfile.TemporaryDirectory(prefix="fraudstream-topics-") as folder:
        placeholder = Path(folder) / "topics.parquet"
        request = _request(settings, file or placeholder, options)
        if is_topic:
            declared = request.feature_set.fields
            request = replace(request, source=_read_topics(settings, Path(folder), until_ms, declared))
        report = _train(request, repository)
    if signer is not None:
        sign_or_refuse(repository, report.digest, signer)
    for warning in report.warnings:
        echo(f"warning: {warning}", err=True)
    say(as_json, msgspec.to_builtins(report), "") if as_json else _print(report)


def _request(settings: Settings, file: Path, options: dict[str, Any]) -> TrainingRequest:
    """Return what is asked for; refuse values that cannot be, and a search without its library."""
    sizes, wish = sizes_of(options), policy_wish(options)
    try:
        request = TrainingRequest(
            file=file,
            version=options.pop("model_version"),
            feature_set=features_or_refuse(settings.features).newest,
            code_version=code_version(),
            sizes=sizes,
            provenance=provenance_here(),
            policy=wish,
            **options,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    return _with_library(request) if request.searches else request


@needs("search", "optuna")
def _with_library(request: TrainingRequest) -> TrainingRequest:
    """Return a request for a search; refuse it before anything is read if Optuna is not installed."""
    return request


def _read_topics(settings: Settings, folder: Path, until_ms: int | None, declared: DeclaredFields) -> str:
    """Write the topics as a file into a folder; return what the report calls them."""
    from fraudstream.lab.training.topics_file import read_topics_file  # noqa: PLC0415 - it needs the extra `train`

    with Refusals(settings):
        found = asyncio.run(read_topics_file(settings, folder, until_ms, declared))
    for one in found.left_out:
        echo(f"left out: {one.records:,} {one.code}, the first at {one.first}", err=True)
    return f"{found.payments:,} payments and {found.labels:,} labels of the topics"


def _train(request: TrainingRequest, repository: Repository) -> TrainingReport:
    from fraudstream.lab.training.run import train as run  # noqa: PLC0415 - it needs the extra `train`

    with Refusals(), bars() as progress:
        return run(request, repository, progress, lambda line: echo(line, err=True))


def _print(report: TrainingReport) -> None:
    table = report_table(report)
    table.add_row("file", f"{report.rows:,} transactions, {report.labelled:,} labelled, {report.frauds:,} frauds")
    if report.dropped:
        table.add_row("dropped", dropped_text(report.dropped))
    parts = {name: getattr(report, name) for name in ("train", "calibrate", "validate", "test")}
    add_parts(table, parts)
    table.add_row("gaps", f"{', '.join(f'{gap:g}' for gap in report.gaps_days)} days between them")
    table.add_row("trees", f"{report.trees:,}")
    fitted = report.fitted
    table.add_row(
        "stored", f"fitted to {fitted.rows:,} rows, {fitted.frauds:,} frauds, until {fitted.until}; {_OF_WHAT}"
    )
    if report.search is not None:
        found = report.search
        taken = "the first is kept" if found.best == found.first else f"{found.best:.4f} is taken"
        highest = f"{found.first:.4f} at first, {found.highest:.4f} at most on validate"
        table.add_row("search", f"{found.trials:,} trials: {highest}; {taken}")
        table.add_row("chosen", ", ".join(f"{name} {value:.4g}" for name, value in found.chosen.items()))
    add_measures(table, report)
    for baseline in report.baselines:
        table.add_row(baseline.name, _baseline_text(baseline))
    terminal_for_digests().print(table)


def _baseline_text(baseline: Baseline) -> str:
    """Return the main metrics of another model on the same test part, and what is to be said of them."""
    metrics = ", ".join(f"{name} {baseline.metrics[name]:.4f}" for name in _STATED if name in baseline.metrics)
    return "; ".join(text for text in (metrics, baseline.note) if text)


def report_table(report: TrainingReport | ImportReport) -> Table:
    """Return the beginning of a model's report: its name, version and digest."""
    table = Table(title=f"{report.name} {report.version}", show_header=False, title_justify="left")
    table.add_column()
    table.add_column(overflow="fold")  # what is too long for a narrow terminal goes on below, whole
    table.add_row("digest", report.digest)
    return table


def add_parts(table: Table, parts: Mapping[str, Period]) -> None:
    """Add the parts of the data, by name."""
    for name, part in parts.items():
        table.add_row(name, f"{part.since} to {part.until}: {part.rows:,} rows, {part.frauds:,} frauds")


def add_measures(table: Table, report: TrainingReport | ImportReport) -> None:
    """Add a model's metrics and thresholds."""
    for metric, value in report.metrics.items():
        table.add_row(metric, f"{value:.4f}", style="bold" if metric in _STATED else "")
    for name, text in policy_lines(report.policy):
        table.add_row(name, text)
