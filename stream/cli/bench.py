"""`fraudstream bench …`: measure on the Kafka and Redis of the settings, on topics and keys of its own."""

import asyncio
from itertools import islice
from typing import Any

import click
from aiokafka.errors import KafkaError
from rich.console import Console
from rich.table import Table

from features.errors import FeatureError, StoreError
from models.loading import Model
from models.loading import load as load_model
from models.problems import Problem
from models.repository import Repository
from stream.cli.output import Command, features_or_refuse, json_option, refuse, refuse_kafka, say, settings_or_refuse
from stream.control.probes import probe_vectorisers
from stream.errors import StreamError
from stream.settings import Settings

_MODEL = click.option("--model", "name", required=True, help="A digest in the repository, or a prefix of it.")


@click.group()
def bench() -> None:
    """Measure what it costs here."""


@bench.command()
@_MODEL
@json_option
def stages(name: str, as_json: bool) -> None:  # noqa: FBT001 - a flag
    """Microseconds per event of each stage, at batches of 1, 32 and 256; the extra `train` has to be installed."""
    from stream.bench.stages import measure_stages  # noqa: PLC0415 - it needs an extra

    settings = settings_or_refuse()
    found = asyncio.run(measure_stages(settings, features_or_refuse(settings.features), _model(settings, name)))
    table = Table("µs per event", *(f"batch {size}" for size in found))
    for stage in next(iter(found.values())):
        table.add_row(stage, *(f"{times[stage]:.1f}" for times in found.values()))
    if as_json:
        say(as_json, {"us_per_event": {str(size): times for size, times in found.items()}}, "")
    else:
        Console().print(table)


@bench.command("features")
@click.option("--cards", type=click.IntRange(10), default=2_000, show_default=True, help="Of some 60 payments each.")
@click.option("--events", type=click.IntRange(256), default=4_096, show_default=True, help="Of each size and round.")
@click.option("--rounds", type=click.IntRange(1, 50), default=5, show_default=True)
@json_option
def features(as_json: bool, **effort: int) -> None:  # noqa: FBT001 - a flag
    """Histories against sorted sets and counters: CPU of Redis and of Python per event, and bytes; some minutes."""
    from stream.bench.contest import ContestEffort, compete  # noqa: PLC0415 - it needs an extra

    settings = settings_or_refuse()
    feature_set = features_or_refuse(settings.features).newest
    try:
        found = asyncio.run(compete(settings, feature_set, ContestEffort(**effort)))
    except (FeatureError, StreamError) as error:
        refuse(str(error))
    if as_json:
        facts = {"features": len(feature_set), **effort, "lines": [line._asdict() for line in found.lines]}
        say(as_json, {**facts, "bytes_each": found.bytes_each}, "")
        return
    table = Table("µs per event", "batch", "Redis", "Python", "both", "to ours", "least", "most to least", "time")
    for line in found.lines:
        table.add_row(line.contestant, str(line.batch), *(f"{figure:,.2f}" for figure in line[2:]))
    memory = Table("bytes in Redis", *next(iter(found.bytes_each.values())))
    for name, sizes in found.bytes_each.items():
        memory.add_row(name, *(f"{size:,}" for size in sizes.values()))
    Console().print(table, memory)


@bench.command()
@click.option("--beside", multiple=True, help="The URL of another Redis, or of a cluster: redis+cluster://host:port,…")
@json_option
def servers(beside: tuple[str, ...], as_json: bool) -> None:  # noqa: FBT001 - a flag
    """Microseconds per event of appending and reading histories, on the settings' Redis and on others, in turns."""
    from stream.bench.servers import compare_servers  # noqa: PLC0415 - it needs an extra

    settings = settings_or_refuse()
    try:
        lines = asyncio.run(compare_servers((settings.redis_url, *beside), features_or_refuse(settings.features)))
    except StoreError as error:
        refuse(str(error))
    table = Table("Redis", "batch", "µs of Python", "µs of time")
    for line in lines:
        table.add_row(line.where, str(line.batch), f"{line.python_us:.1f}", f"{line.wall_us:.1f}")
    if as_json:
        say(as_json, {"lines": [line._asdict() for line in lines]}, "")
    else:
        Console().print(table)


@bench.command()
@_MODEL
@click.option("--backlog", type=click.IntRange(1), default=60_000, show_default=True, help="Records to drain.")
@click.option("--rate", "rates", type=float, multiple=True, default=(100.0, 1000.0), show_default=True)
@click.option("--seconds", type=click.IntRange(1, 600), default=20, show_default=True, help="For each rate.")
@json_option
def worker(name: str, as_json: bool, **options: Any) -> None:  # noqa: ANN401, FBT001 - click's options
    """Throughput from backlog, latency at fixed rates, memory, and the gaps of a start and of a SIGKILL."""
    settings = settings_or_refuse()
    facts = asyncio.run(_measure_worker(settings, _model(settings, name).digest, **options))
    say(as_json, facts, "\n".join(f"{fact:36} {value}" for fact, value in facts.items()))


@bench.command()
@click.option("--payments", type=click.IntRange(1_000), default=200_000, show_default=True, help="And as many labels.")
@json_option
def repair(payments: int, as_json: bool) -> None:  # noqa: FBT001 - a flag
    """How fast histories that Redis lost are put together again, by one worker and by two, and what a month takes."""
    from stream.bench.repair import estimates, measure_repair, spoken  # noqa: PLC0415 - it needs an extra

    settings = settings_or_refuse()
    progress = Console(stderr=True)
    try:
        found = asyncio.run(measure_repair(settings, features_or_refuse(settings.features), payments, progress.print))
    except (FeatureError, StreamError) as error:
        refuse(str(error))
    except (KafkaError, OSError) as error:
        refuse_kafka(settings, error)
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
        table.add_row(*(str(figure) for figure in time[:2]), *(spoken(seconds) for seconds in time[2:]))
    Console().print(speeds, table)


@bench.command("memory")
@click.option(
    "--records",
    "rates",
    type=click.IntRange(1),
    multiple=True,
    default=(1, 10, 1_000, 100_000),
    show_default=True,
    help="A month, in one history.",
)
@json_option
def memory(rates: tuple[int, ...], as_json: bool) -> None:  # noqa: FBT001 - a flag
    """Bytes of one history by its records a month, exact and paned, and what a payment costs that reads it."""
    from stream.bench.memory import cases, measure  # noqa: PLC0415 - nothing else needs it

    settings = settings_or_refuse()
    try:
        lines = [asyncio.run(measure(settings, rate, case)) for case in cases() for rate in rates]
    except FeatureError as error:
        refuse(str(error))
    if as_json:
        say(as_json, {"lines": [line._asdict() for line in lines]}, "")
        return
    table = Table("history", "windows", "a month", "bytes", "tidied", "in a worker", "µs alone", "µs of 32")
    for line in lines:
        table.add_row(line.kind, line.windows, *(f"{figure:,.0f}" for figure in line[2:]))
    Console().print(table)


def _effort_options(function: Command) -> Command:
    """Add how much to measure."""
    for option in (
        click.option("--rounds", type=click.IntRange(1, 50), default=5, show_default=True),
        click.option("--backlog", type=click.IntRange(1), default=15_000, show_default=True, help="Records to drain."),
        click.option("--rate", type=click.FloatRange(1), default=500.0, show_default=True, help="Of the open loop."),
        click.option("--seconds", type=click.IntRange(1, 600), default=8, show_default=True, help="Of the open loop."),
        json_option,
    ):
        function = option(function)
    return function


@bench.command()
@_MODEL
@_effort_options
def tracing(name: str, as_json: bool, **effort: Any) -> None:  # noqa: ANN401, FBT001 - click's options
    """Traces off, of 1 % and of all payments: throughput and latency, alternating in one run."""
    from stream.bench.alternating import collector, tracing_variants  # noqa: PLC0415 - it needs an extra

    with collector() as endpoint:
        _alternate(name, tracing_variants(endpoint), effort, as_json)


@bench.command()
@_MODEL
@click.option("--challenger", required=True, help="Another model, for the shadow.")
@_effort_options
def shadow(name: str, challenger: str, as_json: bool, **effort: Any) -> None:  # noqa: ANN401, FBT001 - click's options
    """No challenger, one, one 100 ms slower, and one that raises: what decisions notice, alternating in one run."""
    from stream.bench.alternating import shadow_variants  # noqa: PLC0415 - it needs an extra

    _alternate(name, shadow_variants(_model(settings_or_refuse(), challenger).digest), effort, as_json)


def _alternate(name: str, variants: Any, effort: dict[str, Any], as_json: bool) -> None:  # noqa: ANN401, FBT001 - the type needs an extra
    """Measure variants in turns and print their medians and ratios."""
    from stream.bench.alternating import AlternatingEffort, alternate, summed  # noqa: PLC0415 - it needs an extra

    settings = settings_or_refuse()
    try:
        rounds = asyncio.run(alternate(settings, _model(settings, name).digest, variants, AlternatingEffort(**effort)))
    except (StreamError, KafkaError, OSError) as error:
        refuse(str(error))
    found = summed(rounds)
    if as_json:
        say(as_json, {"medians": found, "rounds": rounds}, "")
        return
    table = Table(f"medians of {effort['rounds']} rounds", *found)
    for figure in next(iter(found.values())):
        table.add_row(figure, *(f"{figures[figure]:,.2f}" for figures in found.values()))
    Console().print(table)


async def _measure_worker(
    settings: Settings, digest: str, backlog: int, rates: tuple[float, ...], seconds: int
) -> dict[str, Any]:
    from stream.bench.crowd import payments  # noqa: PLC0415 - likewise
    from stream.bench.driving import LOSS_COUNT, WorkerBench, apart, drain, hold, lose_one  # noqa: PLC0415 - it needs an extra  # noqa: PLC0415 - likewise

    counts = [int(rate * seconds) for rate in rates]
    records = iter(payments(backlog + sum(counts) + LOSS_COUNT, seed=2))
    async with WorkerBench(apart(settings)) as run:
        facts, child = await drain(run, digest, list(islice(records, backlog)))
        for rate, count in zip(rates, counts, strict=True):
            facts |= await hold(run, list(islice(records, count)), rate)
        return facts | await lose_one(run, list(records), child)


def _model(settings: Settings, name: str) -> Model:
    repository, features = Repository(settings.models), features_or_refuse(settings.features)
    digest = repository.resolve(name)
    if isinstance(digest, Problem):
        refuse(digest.detail)
    loaded = load_model(repository, digest, probe_vectorisers(features))
    if not isinstance(loaded, Model):
        refuse("\n".join(problem.detail for problem in loaded))
    return loaded
