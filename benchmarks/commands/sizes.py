"""`python -m benchmarks codecs | compression | events | sizes`: what compression saves, and what records hold."""

import asyncio
from typing import Any, get_args

import click
from rich.table import Table

from benchmarks.commands.decisions import effort_options, measure_variants
from fraudstream.cli.bench_worker import model_option, model_or_refuse
from fraudstream.cli.extras import needs
from fraudstream.cli.feature_sets import features_or_refuse
from fraudstream.cli.output import json_option, say
from fraudstream.cli.refusals import Refusals
from fraudstream.cli.settings import settings_or_refuse
from fraudstream.console import terminal
from fraudstream.terminal import echo
from stream.setting_types import Compression

CODECS: tuple[str, ...] = get_args(Compression)


@click.command()
@model_option
@click.option("--rounds", type=click.IntRange(1, 50), default=5, show_default=True)
@json_option
@needs("train", "duckdb")
def codecs(name: str, rounds: int, as_json: bool) -> None:  # noqa: FBT001 - a flag
    """Measure bytes and CPU of a score by codec, at batches of 1, 8, 64 and 512; needs neither Kafka nor Redis."""
    from benchmarks.parts.codecs import HISTORY, SCORES, encoded_scores, measure_codecs  # noqa: PLC0415 - it needs an extra

    settings = settings_or_refuse()
    model, features = model_or_refuse(settings, name), features_or_refuse(settings.features)
    lines = measure_codecs(encoded_scores(settings, features, model, (SCORES, HISTORY)), rounds)
    if as_json:
        say(as_json, {"lines": [line._asdict() for line in lines]}, "")
        return
    table = Table("scores in a batch", "codec", "bytes a score", "times smaller", "CPU µs, worker", "CPU µs, reader")
    for line in lines:
        figures = (f"{line.bytes_a_score:,.0f}", f"{line.ratio:.2f}")
        times = (f"{line.compress_us:,.1f}", f"{line.decompress_us:,.1f}")
        table.add_row(str(line.batch), line.codec, *figures, *times, end_section=line.codec == lines[-1].codec)
    terminal().print(table)


@click.command()
@model_option
@click.option("--rounds", type=click.IntRange(1, 50), default=5, show_default=True)
@json_option
@needs("train", "duckdb")
def events(name: str, rounds: int, as_json: bool) -> None:  # noqa: FBT001 - a flag
    """Measure bytes and CPU of a score as a CloudEvent and as none, in turns; needs neither Kafka nor Redis."""
    from benchmarks.parts.codecs import measure_events  # noqa: PLC0415 - it needs an extra

    settings = settings_or_refuse()
    model, features = model_or_refuse(settings, name), features_or_refuse(settings.features)
    lines = measure_events(settings, features, model, rounds)
    if as_json:
        say(as_json, {"lines": [line._asdict() for line in lines]}, "")
        return
    sides = ("bytes a score", "as an event", "CPU µs: headers", "a batch", "a batch of events")
    table = Table("scores in a batch", *sides)
    for line in lines:
        sizes_text = (f"{line.bytes_without:,.0f}", f"{line.bytes_with:,.0f}")
        times = (f"{line.headers_us:,.1f}", f"{line.batch_us_without:,.1f}", f"{line.batch_us_with:,.1f}")
        table.add_row(str(line.batch), *sizes_text, *times)
    terminal().print(table)


@click.command()
@model_option
@click.option(
    "--codec",
    "chosen",
    type=click.Choice(CODECS),
    multiple=True,
    default=CODECS,
    show_default=True,
    help="The first is the one that others are compared with.",
)
@effort_options
@needs("train", "duckdb")
def compression(name: str, chosen: tuple[str, ...], as_json: bool, **effort: Any) -> None:  # noqa: ANN401, FBT001 - click's options
    """Measure bytes of a score on disk, CPU and latency of workers that compress with each codec, alternating."""
    from benchmarks.parts.variants import compression_variants  # noqa: PLC0415 - it needs an extra

    measure_variants(name, compression_variants(chosen), effort | {"measures_bytes": True}, as_json)


@click.command()
@model_option
@click.option("--challenger", help="A model for the shadow; without one, no comparisons are written.")
@click.option("--payments", type=click.IntRange(100), default=6_000, show_default=True)
@click.option("--rate", type=click.FloatRange(1), help="Payments a second; without it, all wait for the worker.")
@json_option
@needs("train", "duckdb")
def sizes(name: str, challenger: str | None, as_json: bool, **effort: Any) -> None:  # noqa: ANN401, FBT001 - click's options
    """Measure bytes of a record on disk for each topic, of histories in Redis, and of a worker's memory."""
    from benchmarks.parts.sizes import SizesEffort, measure_sizes  # noqa: PLC0415 - it needs an extra

    settings = settings_or_refuse()
    digest = model_or_refuse(settings, name).digest
    other = model_or_refuse(settings, challenger).digest if challenger else None
    with Refusals(settings):
        found = asyncio.run(measure_sizes(settings, digest, other, SizesEffort(**effort)))
    if as_json:
        topics, histories = ([one._asdict() for one in some] for some in (found.topics, found.histories))
        say(as_json, found._asdict() | {"topics": topics, "histories": histories}, "")
        return
    topics_table = Table("topic", "records", "bytes a record", "days kept", "GB a replica for 1 record/s")
    for topic in found.topics:
        kept, disk = topic.kept_days, topic.gb_each_second
        shown = ("for ever", "") if kept is None or disk is None else (str(kept), f"{disk:,.1f}")
        topics_table.add_row(topic.topic, f"{topic.records:,}", f"{topic.bytes_each:,.0f}", *shown)
    histories_table = Table("history", "keys", "payments each", "bytes each")
    for history in found.histories:
        histories_table.add_row(
            history.kind, f"{history.keys:,}", f"{history.payments_each:,.1f}", f"{history.bytes_each:,.0f}"
        )
    terminal().print(topics_table, histories_table)
    echo(
        f"compression {found.compression}; Redis took {found.used_memory_rise:,} bytes more; "
        f"the worker has {found.worker_mib:,.0f} MiB"
    )
