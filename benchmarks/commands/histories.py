"""`python -m benchmarks servers | memory | batches | repair`: the cost of histories, here and in Redis."""

import asyncio

import click
from rich.table import Table

from fraudstream.cli.extras import needs
from fraudstream.cli.feature_sets import features_or_refuse
from fraudstream.cli.output import json_option, say
from fraudstream.cli.refusals import Refusals
from fraudstream.cli.settings import settings_or_refuse
from fraudstream.console import terminal


@click.command()
@click.option("--beside", multiple=True, help="The URL of another Redis, or of a cluster: redis+cluster://host:port,…")
@json_option
@needs("train", "duckdb")
def servers(beside: tuple[str, ...], as_json: bool) -> None:  # noqa: FBT001 - a flag
    """Measure microseconds per event of appending and reading histories, on this Redis and others, in turns."""
    from benchmarks.parts.servers import compare_servers  # noqa: PLC0415 - it needs an extra

    settings = settings_or_refuse()
    with Refusals():
        lines = asyncio.run(compare_servers((settings.redis_url, *beside), features_or_refuse(settings.features)))
    table = Table("Redis", "batch", "µs of Python", "µs of time")
    for line in lines:
        table.add_row(line.where, str(line.batch), f"{line.python_us:.1f}", f"{line.wall_us:.1f}")
    if as_json:
        say(as_json, {"lines": [line._asdict() for line in lines]}, "")
    else:
        terminal().print(table)


@click.command()
@click.option(
    "--payments",
    type=click.IntRange(1_000),
    default=200_000,
    show_default=True,
    help="Payments, with a label for each.",
)
@json_option
@needs("train", "duckdb")
def repair(payments: int, as_json: bool) -> None:  # noqa: FBT001 - a flag
    """Measure how fast one worker and two rebuild histories that Redis lost, and estimate the time for a month."""
    from benchmarks.parts.repair import duration, estimates, measure_repair  # noqa: PLC0415 - it needs an extra

    settings = settings_or_refuse()
    progress = terminal(stderr=True)
    with Refusals(settings):
        found = asyncio.run(measure_repair(settings, features_or_refuse(settings.features), payments, progress.print))
    times = list(estimates(found))
    if as_json:
        facts = {"speeds": [one._asdict() for one in found], "estimates": [one._asdict() for one in times]}
        say(as_json, {"payments": payments, **facts}, "")
        return
    speeds = Table("workers", "transactions a second", "labels a second", "seconds in all")
    for one in found:
        speeds.add_row(*(f"{figure:,.0f}" for figure in one))
    table = Table("workers", "payments a second", "a day", "a month", "a day, all labelled", "a month, all labelled")
    for time in times:
        table.add_row(*(str(figure) for figure in time[:2]), *(duration(seconds) for seconds in time[2:]))
    terminal().print(speeds, table)


@click.command("memory")
@click.option(
    "--records",
    "rates",
    type=click.IntRange(1),
    multiple=True,
    default=(1, 10, 1_000, 100_000),
    show_default=True,
    help="Records a month in one history.",
)
@json_option
def memory(rates: tuple[int, ...], as_json: bool) -> None:  # noqa: FBT001 - a flag
    """Measure the bytes of a history by its records a month, exact and paned, and the cost of reading it."""
    from benchmarks.parts.memory import cases, measure  # noqa: PLC0415 - nothing else needs it

    settings = settings_or_refuse()
    with Refusals():
        lines = [asyncio.run(measure(settings, rate, case)) for case in cases() for rate in rates]
    if as_json:
        say(as_json, {"lines": [line._asdict() for line in lines]}, "")
        return
    table = Table("history", "windows", "a month", "bytes", "tidied", "in a worker", "µs alone", "µs of 32")
    for line in lines:
        table.add_row(line.kind, line.windows, *(f"{figure:,.0f}" for figure in line[2:]))
    terminal().print(table)


@click.command("batches")
@click.option(
    "--visible",
    type=click.IntRange(1),
    default=147_000,
    show_default=True,
    help="Records of the merchant and of the card with a long history.",
)
@json_option
def batches(visible: int, as_json: bool) -> None:  # noqa: FBT001 - a flag
    """Measure CPU and memory of batches at one merchant or of one card with a long history, and of ordinary ones."""
    from benchmarks.parts.batches import measure_batches  # noqa: PLC0415 - nothing else needs it

    settings = settings_or_refuse()
    feature_set = features_or_refuse(settings.features).newest
    with Refusals():
        lines = asyncio.run(measure_batches(settings, feature_set, visible))
    if as_json:
        say(as_json, {"visible": visible, "lines": [line._asdict() for line in lines]}, "")
        return
    table = Table("payments", "batch", "CPU µs a payment", "parts", "MiB at most")
    for line in lines:
        figures = (f"{line.us_a_payment:,.0f}", str(line.parts), f"{line.peak_bytes / (1 << 20):,.1f}")
        table.add_row(line.payments_at, str(line.batch), *figures)
    terminal().print(table)
