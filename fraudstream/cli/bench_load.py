"""`fraudstream bench load | scaling`: workers under an open loop, and fleets that grow and shrink under it."""

import asyncio
import shlex
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from fraudstream.cli.arguments import Duration
from fraudstream.cli.bench_worker import model_option, model_or_refuse
from fraudstream.cli.extras import needs
from fraudstream.cli.output import json_option, say
from fraudstream.cli.refusals import Refusals
from fraudstream.cli.report_file import picture_option, report_option, write_report
from fraudstream.cli.settings import settings_or_refuse
from fraudstream.console import terminal
from stream.clock import now_ms


class Rates(click.ParamType):
    """Payments a second, separated by commas."""

    name = "rates"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """Return the rates in their order."""
        if isinstance(value, tuple):
            return value
        try:
            found = tuple(float(one) for one in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is no list of rates such as 10,1000,10000", param, ctx)
        if not all(0 < one <= 1e6 for one in found):  # noqa: PLR2004 - more than any one generator sends
            self.fail(f"{value!r}: each rate is above 0 and at most 1,000,000 payments a second", param, ctx)
        return found


@click.command()
@model_option
@click.option(
    "--rate",
    "rates",
    type=Rates(),
    default="10,100,1000",
    show_default=True,
    help="Payments a second, each in turn.",
)
@click.option("--seconds", type=click.IntRange(1, 3600), default=20, show_default=True, help="For each rate.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True)
@click.option(
    "--partitions", type=click.IntRange(1, 1000), default=4, show_default=True, help="Of the measurement's topics."
)
@json_option
@needs("train", "duckdb")
def load(name: str, as_json: bool, **plan: Any) -> None:  # noqa: ANN401, FBT001 - click's options
    """Measure latency, what waits and recovery in an open loop, at one rate after another, past the limit."""
    from fraudstream.bench.load import HEADINGS, LoadLine, LoadPlan, cells, measure_load  # noqa: PLC0415 - it needs an extra

    def tell(line: LoadLine) -> None:
        console.print(f"{line.rate:,g}/s: {line.decided:,.0f} decided a second, p99 {line.p99_ms:,.0f} ms", style="dim")

    settings, console = settings_or_refuse(), terminal(stderr=True)
    digest = model_or_refuse(settings, name).digest
    with Refusals(settings):
        lines = asyncio.run(measure_load(settings, digest, LoadPlan(**plan), tell))
    if as_json:
        say(as_json, {"rates": [line._asdict() for line in lines]}, "")
        return
    table = Table(*HEADINGS)
    for line in lines:
        table.add_row(*cells(line))
    terminal().print(table)


@click.command()
@model_option
@click.option("--low", type=click.FloatRange(1), default=10.0, show_default=True, help="Payments a second at night.")
@click.option("--high", type=click.FloatRange(1), default=2000.0, show_default=True, help="Payments a second at noon.")
@click.option("--day", type=Duration(), default="5 min", show_default=True, help="From night to night.")
@click.option("--min-workers", type=click.IntRange(1, 64), default=1, show_default=True)
@click.option("--max-workers", type=click.IntRange(1, 64), default=6, show_default=True)
@click.option(
    "--lag-per-worker",
    type=click.FloatRange(0),
    default=0,
    help="Payments that wait, for each worker; 0, the default: computed from what one worker decides a second.",
)
@click.option("--poll", type=Duration(), default="1 s", show_default=True, help="How often the autoscaler looks.")
@click.option("--up-every", type=Duration(), default="5 s", show_default=True, help="Period of at most twice as many.")
@click.option("--down-after", type=Duration(), default="30 s", show_default=True, help="How long less must suffice.")
@click.option("--down-every", type=Duration(), default="10 s", show_default=True, help="Period of one worker less.")
@click.option(
    "--roll",
    "roll_rate",
    type=click.FloatRange(0),
    default=0,
    help="Then restart workers at so many payments a second.",
)
@click.option("--roll-workers", type=click.IntRange(1, 64), default=2, show_default=True)
@click.option("--previous", default="", metavar="COMMAND", help="A worker of another version: upgrade from it, too.")
@click.option(
    "--partitions", type=click.IntRange(1, 1000), default=12, show_default=True, help="Of the measurement's topics."
)
@click.option(
    "--redis-delay",
    "redis_delay",
    type=Duration(),
    default="0",
    show_default=True,
    help="Delay Redis's answers so that workers wait more than they compute: for more workers than cores.",
)
@picture_option("Write the day as a picture, as SVG")
@report_option()
@json_option
@needs("train", "duckdb")
def scaling(name: str, page: Path | None, picture: Path | None, as_json: bool, **options: Any) -> None:  # noqa: ANN401, FBT001 - click's options
    """Start and drain workers as an autoscaler would, by the lag, through a day of load; restart, upgrade them."""
    from fraudstream.bench.scaling import measure_scaling  # noqa: PLC0415 - it needs an extra

    settings, console = settings_or_refuse(), terminal(stderr=True)
    digest = model_or_refuse(settings, name).digest
    plan = _plan(**options)
    with Refusals(settings):
        figures = asyncio.run(
            measure_scaling(settings, digest, plan, lambda line: console.print(line, style="dim", highlight=False))
        )
    if page is not None:
        from fraudstream.bench.scaling_page import scaling_page  # noqa: PLC0415 - it needs an extra

        write_report(page, lambda: scaling_page(figures, now_ms()))
    if picture is not None:
        from fraudstream.bench.scaling_page import scaling_picture  # noqa: PLC0415 - it needs an extra

        write_report(picture, lambda: scaling_picture(figures), "--plot")
    if as_json:
        found = figures._asdict() | {
            "samples": [one._asdict() for one in figures.samples],
            "phases": [one._asdict() for one in figures.phases],
        }
        say(as_json, found, "")
        return
    table = Table("part", "payments", "lost", "twice", "p99, ms", "worst pause, ms", "worker-seconds", "needed")
    for one in figures.phases:
        pause = max(one.pauses_ms, default=0.0)
        seconds = (f"{one.worker_seconds:,.0f}", f"{one.needed_worker_seconds:,.0f}")
        table.add_row(
            one.name,
            f"{one.payments:,}",
            str(one.lost),
            str(one.twice),
            f"{one.p99_ms:,.0f}",
            f"{pause:,.0f}",
            *seconds,
        )
    terminal().print(table)


def _plan(**options: Any) -> Any:  # noqa: ANN401 - click's options; the type needs an extra
    from fraudstream.bench.autoscaler import ScalingRule  # noqa: PLC0415 - it is one with what follows
    from fraudstream.bench.scaling import DayOfLoad, ScalingPlan  # noqa: PLC0415 - it needs an extra

    if options["min_workers"] > options["max_workers"]:
        raise click.UsageError("--min-workers is above --max-workers: state fewer at least, or more at most")
    if options["low"] > options["high"]:
        raise click.UsageError("--low is above --high: the night has fewer payments than the noon")
    return ScalingPlan(
        DayOfLoad(options["low"], options["high"], options["day"]),
        ScalingRule(
            options["min_workers"],
            options["max_workers"],
            options["lag_per_worker"],
            options["poll"],
            options["up_every"],
            options["down_after"],
            options["down_every"],
        ),
        options["partitions"],
        options["roll_rate"],
        options["roll_workers"],
        tuple(shlex.split(options["previous"])),
        options["redis_delay"],
    )
