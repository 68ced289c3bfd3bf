"""`python -m benchmarks.growth COMMAND`: how cost grows, as tables, JSON and pictures."""

import os
from collections.abc import Callable
from pathlib import Path

import click
from rich.console import Console

from benchmarks.growth.caches import by_payments
from benchmarks.growth.memory import memory_series, memory_table
from benchmarks.growth.series import GrowthPoint, GrowthSeries, picture, read_series, write_series
from benchmarks.growth.stages import by_features, by_records, by_trees
from stream.settings import read_settings

_STAGES: dict[str, Callable[[], GrowthSeries]] = {"trees": by_trees, "features": by_features, "records": by_records}
_RUNS = ("partitions", "cards", "workers")

json_option = click.option(
    "--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures to this file."
)


model_option = click.option(
    "--model", "digest", required=True, help="Digest of a model; `python -m benchmarks.contenders model`."
)


@click.group()
def main() -> None:
    """Measure how the cost of a decision grows."""


@main.command()
@click.argument("questions", nargs=-1, type=click.Choice(list(_STAGES)))
@json_option
def stages(questions: tuple[str, ...], file: Path | None) -> None:
    """Measure trees, features and records of a history in one process, without Kafka and Redis; all by default."""
    _show([_STAGES[one]() for one in questions or _STAGES], file)


@main.command()
@click.argument("questions", nargs=-1, type=click.Choice(_RUNS))
@model_option
@click.option("--backlog", type=click.IntRange(1_000), default=10_000, show_default=True, help="Payments that wait.")
@json_option
def worker(questions: tuple[str, ...], digest: str, backlog: int, file: Path | None) -> None:
    """Measure running workers by partitions, cards and workers, on FRAUDSTREAM_BROKERS and FRAUDSTREAM_REDIS_URL.

    Cards need 5 GB of memory in Redis, and three minutes.
    """
    from benchmarks.growth.runs import by_cards, by_partitions  # noqa: PLC0415 - the others need no contenders' packages
    from benchmarks.growth.workers import by_workers  # noqa: PLC0415

    settings = read_settings(os.environ)
    measures = {"partitions": by_partitions, "cards": by_cards, "workers": by_workers}
    _show([measures[one](settings, digest, backlog) for one in questions or _RUNS], file)


@main.command()
@model_option
@click.option("--rate", type=click.FloatRange(1), default=100.0, show_default=True, help="Payments a second.")
@click.option("--minutes", type=click.IntRange(2), default=60, show_default=True, help="Of the load.")
@json_option
def memory(digest: str, rate: float, minutes: int, file: Path | None) -> None:
    """Measure a worker's memory under an open loop, on FRAUDSTREAM_BROKERS and FRAUDSTREAM_REDIS_URL."""
    from benchmarks.growth.runs import over_time  # noqa: PLC0415 - as above

    points = list[GrowthPoint]()
    for point in over_time(read_settings(os.environ), digest, rate, minutes):
        points.append(point)
        if file is not None:
            write_series([memory_series(points, rate)], file)
    Console().print(memory_table(memory_series(points, rate)))


@main.command()
@click.option("--payments", "count", type=click.IntRange(10_000), default=360_000, show_default=True)
@click.option("--cache-mib", type=click.IntRange(1), default=16, show_default=True, help="The limit of the cache.")
@json_option
def cache(count: int, cache_mib: int, file: Path | None) -> None:
    """Measure one process's memory beside its cache of histories, without Kafka and Redis."""
    _show([by_payments(count, cache_mib)], file)


@main.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--plot", type=click.Path(dir_okay=False, path_type=Path), required=True, help="Write an SVG to this file."
)
def plot(files: tuple[Path, ...], plot: Path) -> None:
    """Draw the figures of earlier runs; needs the extra `report`."""
    plot.write_text(picture([series for file in files for series in read_series(file)]), encoding="utf-8")


def _show(series: list[GrowthSeries], file: Path | None) -> None:
    for one in series:
        Console().print(one.table())
    if file is not None:
        write_series(series, file)


if __name__ == "__main__":
    main()
