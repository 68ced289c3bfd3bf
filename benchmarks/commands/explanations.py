"""`python -m benchmarks explanations`: reasons by the depth of trees, and the time from a score to its explanation."""

import asyncio
from typing import TYPE_CHECKING

import click
from rich.table import Table

from fraudstream.cli.arguments import ModelParam
from fraudstream.cli.bench_worker import model_or_refuse
from fraudstream.cli.extras import needs
from fraudstream.cli.output import json_option, say
from fraudstream.cli.refusals import Refusals
from fraudstream.cli.settings import settings_or_refuse
from fraudstream.console import terminal

if TYPE_CHECKING:
    from benchmarks.parts.explanations import DepthLine, StreamLine


@click.command()
@click.option(
    "--model",
    "name",
    type=ModelParam(),
    metavar="TEXT",
    help="Also measure the stream with this model of the repository; needs Kafka.",
)
@click.option("--rate", type=click.FloatRange(0.1, 10_000), default=50.0, show_default=True, help="Alerts a second.")
@click.option("--seconds", type=click.FloatRange(1, 3_600), default=60.0, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of the rows of trees.")
@json_option
@needs("train", "sklearn")
def explanations(name: str | None, rate: float, seconds: float, seed: int, as_json: bool) -> None:  # noqa: FBT001 - a flag
    """Measure reasons: microseconds of a row by the depth of trees, and milliseconds from score to explanation."""
    from benchmarks.parts.explanations import measure_depths  # noqa: PLC0415 - nothing else needs it

    stream = None if name is None else _measured(name, rate, seconds)
    lines = measure_depths(seed)
    if as_json:
        listed = [line._asdict() | {"rows_a_second": line.rows_a_second} for line in lines]
        say(as_json, {"depths": listed, "stream": None if stream is None else stream._asdict()}, "")
        return
    console = terminal()
    console.print(_table(lines))
    if stream is not None:
        console.print(
            f"{stream.alerts:,} alerts at {stream.rate:g} a second: {stream.p50:g} ms (p50), {stream.p99:g} ms (p99), "
            f"{stream.worst:g} ms at worst, {stream.cpu_ms:g} ms of CPU each"
        )


def _measured(name: str, rate: float, seconds: float) -> "StreamLine":
    from benchmarks.parts.explanations import measure_stream  # noqa: PLC0415 - as above

    settings = settings_or_refuse()
    model = model_or_refuse(settings, name)
    with Refusals(settings):
        return asyncio.run(measure_stream(settings, model, rate, seconds))


def _table(lines: "list[DepthLine]") -> Table:
    table = Table("--max-depth", "batch", "µs, score", "µs, reasons", "rows/s", "AP")
    for line in sorted(lines, key=lambda one: (one.batch, one.max_depth or 1_000)):
        depth = "no limit" if line.max_depth is None else str(line.max_depth)
        table.add_row(
            depth,
            str(line.batch),
            f"{line.score_us:.1f}",
            f"{line.contributions_us:.0f}",
            f"{line.rows_a_second:,.0f}",
            "" if line.average_precision is None else f"{line.average_precision:.3f}",
        )
    return table
