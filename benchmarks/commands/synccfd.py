"""`python -m benchmarks synccfd`: what declared distances are worth on drawn payments whose places are known."""

import click
import msgspec
from rich.table import Table

from fraudstream.cli.extras import needs
from fraudstream.cli.output import json_option, say
from fraudstream.cli.progress import bars
from fraudstream.cli.refusals import Refusals
from fraudstream.console import terminal
from fraudstream.terminal import echo


@click.command()
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="Trainings of each feature set.")
@click.option("--threads", type=click.IntRange(1), default=2, show_default=True, help="Changes the time alone.")
@json_option
@needs("train", "duckdb", "sklearn")
def synccfd(seeds: int, threads: int, as_json: bool) -> None:  # noqa: FBT001 - a flag
    """Measure what declared distances are worth on payments that the package synccfd draws.

    Models of the default features, of these with own fields of the contract, and of these with distances between
    terminal, billing and shipping address are trained on days 5 to 21, labels 7 days late, and measured on days 29 to
    39. Needs `pip install synccfd==0.1.0` in the environment of this command.
    """
    from benchmarks.synccfd import SCENARIOS, measure_synccfd  # noqa: PLC0415 - LightGBM, late

    with Refusals(), bars() as progress:
        found = measure_synccfd(seeds, threads, progress)
    if as_json:
        say(as_json, msgspec.to_builtins(found), "")
        return
    table = Table(
        "features", "seed", "trees", "AP", *(f"AP of {one}" for one in SCENARIOS), "less the default's", "95 %"
    )
    for line in found.lines:
        figures = (line.average_precision, *line.scenarios.values())
        value, interval = (None, None) if line.difference is None else (line.difference.value, line.difference.interval)
        table.add_row(
            line.features,
            str(line.seed),
            str(line.trees),
            *(f"{figure:.4f}" for figure in figures),
            "" if value is None else f"{value:+.4f}",
            "" if interval is None else f"{interval.low:+.4f} to {interval.high:+.4f}",
        )
    terminal().print(table)
    echo(
        f"AP: average precision on {found.payments:,} payments, {found.frauds:,} frauds; then of each scenario's frauds"
    )
