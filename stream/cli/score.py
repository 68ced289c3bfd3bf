"""`fraudstream score`: decisions made over again in batch, by the functions of the stream."""

import os
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table

from features.declaration import FeatureSet
from features.declaration import load as load_features
from features.errors import DeclarationError
from models.errors import ModelError
from stream.backscoring.errors import BackscoringError
from stream.backscoring.request import FileRequest, ScoreReport
from stream.cli.bars import bars
from stream.cli.saying import json_option, refuse, say, settings_or_refuse
from stream.transactions_file.errors import FileError


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--model", required=True, metavar="DIGEST", help="Who scores: a digest, or the first 8 digits or more.")
@click.option(
    "--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The parquet file to be written."
)
@click.option(
    "--threads", type=click.IntRange(1, 1024), default=lambda: len(os.sched_getaffinity(0)), show_default="all cores"
)
@json_option
def score(file: Path, as_json: bool, **options: Any) -> None:  # noqa: ANN401, FBT001 - click's options
    """Score a transactions FILE (parquet, CSV): for each row its features as they stood then, score, decision, fate."""
    from stream.backscoring.run import score_file  # noqa: PLC0415 - it needs the extra `train`

    settings = settings_or_refuse()
    request = FileRequest(file=file, models=settings.models, feature_set=_features(settings.features), **options)
    try:
        with bars() as progress:
            report = score_file(request, progress)
    except (FileError, BackscoringError, ModelError) as error:
        refuse(str(error))
    say(as_json, msgspec.to_builtins(report), "") if as_json else _print(report)


def _features(module: str) -> FeatureSet:
    try:
        return load_features(module or None)
    except DeclarationError as error:
        refuse(str(error))


def _print(report: ScoreReport) -> None:
    table = Table(show_header=False)
    table.add_row("model", report.digest)
    table.add_row("rows", f"{report.rows:,}")
    for kind in (report.fates, report.decisions):
        for name, count in kind.items():
            table.add_row(name, f"{count:,}")
    Console().print(table)
