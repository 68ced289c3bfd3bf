"""`fraudstream model watch`: whether live features, scores and decisions have moved, and how good alerts are."""

from pathlib import Path
from typing import Any

import click

from fraudstream.cli.arguments import ModelParam, MomentParam
from fraudstream.cli.output import json_option
from fraudstream.cli.report_file import report_option


@click.command("watch")
@click.argument("digest", type=ModelParam(), metavar="[MODEL]", required=False)
@click.option(
    "--from",
    "since_ms",
    type=MomentParam(),
    help="Scores written from then on (RFC 3339, or epoch milliseconds). By default ten weeks before the end.",
)
@click.option("--to", "until_ms", type=MomentParam(), help="Scores and labels written before; by default now.")
@click.option(
    "--maturity-days",
    type=click.FloatRange(0),
    default=60.0,
    show_default=True,
    help="After so many days without a label a payment that was not declined is genuine.",
)
@report_option()
@json_option
def watch(as_json: bool, page: Path | None, **options: Any) -> None:  # noqa: ANN401, FBT001 - click's options
    """Compare what a model sees and says with its training reference, and its alerts with their labels.

    Windows of days show how far each feature, the score and the decisions have moved (population stability index), and
    what of it is more than chance. Weeks show the precision of alerts: matured, and estimated before labels come.
    Without MODEL, all that decided. Exits with 1 if an alarm goes on at the end.
    """
    from fraudstream.cli.watch_report import print_watch  # noqa: PLC0415 - a roll-back needs no report

    print_watch(options, page, as_json=as_json)
