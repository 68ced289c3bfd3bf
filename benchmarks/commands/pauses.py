"""`python -m benchmarks pauses`: how long decisions pause while workers come and go."""

import asyncio
import shlex
from typing import Any

import click
from rich.table import Table

from fraudstream.cli.bench_worker import model_option, model_or_refuse
from fraudstream.cli.extras import needs
from fraudstream.cli.output import json_option, say
from fraudstream.cli.refusals import Refusals
from fraudstream.cli.settings import settings_or_refuse
from fraudstream.console import terminal


@click.command()
@model_option
@click.option(
    "--workers", type=click.IntRange(2, 64), default=2, show_default=True, help="How many run after one has joined."
)
@click.option("--moves", type=click.IntRange(1, 1000), default=8, show_default=True, help="Joins, and as many leaves.")
@click.option("--rate", type=click.FloatRange(1), default=200.0, show_default=True, help="Payments a second.")
@click.option(
    "--partitions", type=click.IntRange(1, 1000), default=12, show_default=True, help="Of the measurement's topics."
)
@click.option("--command", default="", metavar="COMMAND", help="A worker of another version, in place of this one's.")
@json_option
@needs("train", "duckdb")
def pauses(name: str, command: str, as_json: bool, **plan: Any) -> None:  # noqa: ANN401, FBT001 - click's options
    """Measure how long decisions pause while a worker joins, and while one leaves after SIGTERM, in turns."""
    from benchmarks.parts.pauses import PausesPlan, measure_pauses  # noqa: PLC0415 - it needs an extra

    def tell(line: str) -> None:
        console.print(line, style="dim", highlight=False)

    settings, console = settings_or_refuse(), terminal(stderr=True)
    digest = model_or_refuse(settings, name).digest
    with Refusals(settings):
        made = PausesPlan(**plan, command=tuple(shlex.split(command)))
        figures = asyncio.run(measure_pauses(settings, digest, made, tell))
    if as_json:
        found = figures._asdict() | {"moves": [one._asdict() for one in figures.moves]}
        say(as_json, found | {"summaries": [one._asdict() for one in figures.summaries()]}, "")
        return
    table = Table("move", "count", "median pause of the worst partition, ms", "worst, ms", "above 500 ms")
    for one in figures.summaries():
        table.add_row(one.kind, str(one.moves), f"{one.median_ms:,.0f}", f"{one.worst_ms:,.0f}", str(one.above_500_ms))
    terminal().print(table)
    terminal().print(f"{figures.payments:,} payments, {figures.lost} lost, {figures.twice} decided twice")
