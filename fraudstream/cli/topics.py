"""`fraudstream topics`: creates and checks topics, mends their settings, and accepts what Kafka lost of the input."""

import asyncio
from collections.abc import Iterator, Sequence

import click

from fraudstream.cli.feature_sets import features_or_refuse
from fraudstream.cli.lazy import CommandSource, LazyGroup
from fraudstream.cli.output import json_option, say
from fraudstream.cli.refusals import Refusals
from fraudstream.cli.settings import settings_or_refuse
from fraudstream.ops.repair.id_sample import COSTS_THE_RECORD, IdReport, sample_ids
from fraudstream.ops.repair.key_sample import sample_keys
from fraudstream.ops.repair.partitioners import PartitionerReport, advice, examine, used_by
from fraudstream.terminal import echo
from stream.id_rules import declared_ids
from stream.kafka.topic_settings import losing_settings, mend
from stream.kafka.topics import LABELS, TRANSACTIONS, apply
from stream.settings import Settings

COMMANDS = {
    "accept-loss": CommandSource(
        "fraudstream.cli.topics_loss:accept_loss",
        "Accept what Kafka lost of the input, on the record, so that its partitions go on.",
    ),
    "apply": CommandSource(
        "fraudstream.cli.topics:topics_apply",
        "Create the topics that are missing, and mend settings of others by which Kafka would lose records.",
    ),
    "audit": CommandSource(
        "fraudstream.cli.topics_audit:topics_audit",
        "Check that each offset of `transactions` has one verdict, and count the offsets of each kind.",
    ),
    "check": CommandSource(
        "fraudstream.cli.topics:topics_check",
        "Tell from the last records of each partition which partitioner producers use, and whether they differ.",
    ),
}


@click.group(cls=LazyGroup, sources=COMMANDS)
def topics() -> None:
    """Create and check the topics of the contract, and accept what Kafka lost of the input."""


@click.command("apply")
@click.option("--partitions", type=click.IntRange(1, 10_000), required=True, help="N, for the partitioned topics.")
@click.option("--replication", type=click.IntRange(1, 32), default=1, show_default=True)
@json_option
def topics_apply(partitions: int, replication: int, as_json: bool) -> None:  # noqa: FBT001 - a flag
    """Create the topics that are missing, and mend settings of others by which Kafka would lose records.

    Transactions, labels and predictions are kept for 45 days, or for as long as the features of FRAUDSTREAM_FEATURES
    look back, a week of slack, and a day.
    """
    settings = settings_or_refuse()
    horizons_ms = features_or_refuse(settings.features).horizons_ms
    with Refusals(settings):
        made = asyncio.run(apply(settings, partitions, replication, horizons_ms))
        found = asyncio.run(mend(settings, horizons_ms))
    for warning in found.unread:
        echo(warning, err=True)
    changes = [
        f"{one.topic}: {one.setting} changed from {one.found or 'empty'} to {one.wanted}" for one in found.deviations
    ]
    mended = [one._asdict() for one in found.deviations]
    facts = {"created": made, "partitions": partitions, "mended": mended}
    say(as_json, facts, "\n".join((*made, *changes)) or "all topics exist")


@click.command("check")
@click.option("--topic", help="Only this topic, as Kafka names it; by default transactions and labels.")
@click.option(
    "--records", type=click.IntRange(1, 1_000_000), default=1000, show_default=True, help="Of each partition."
)
@click.option(
    "--seconds", type=click.FloatRange(0, min_open=True), default=30.0, show_default=True, help="For each topic."
)
@click.option("--ids", is_flag=True, help="Count which ids would be refused as card numbers, and nothing else.")
@json_option
def topics_check(*, topic: str | None, records: int, seconds: float, ids: bool, as_json: bool) -> None:
    """Tell from the last records of each partition which partitioner producers use, and whether they differ.

    With different ones a card's records are on two partitions, and the order between them is lost: exit code 1. So it
    is where Kafka deletes transactions or labels before the features of FRAUDSTREAM_FEATURES need them no more, and
    where a topic has unclean leader election on, by which acknowledged records can be lost.

    With --ids it counts by field how many ids would be refused as card numbers with FRAUDSTREAM_ID_SHAPES as it is, and
    ends with 1 if records would be refused for them.
    """
    settings = settings_or_refuse()
    names = [topic] if topic else [settings.topic(layout.name) for layout in (TRANSACTIONS, LABELS)]
    if ids:
        _check_ids(settings, names, (records, seconds), as_json=as_json)
        return
    horizons_ms = features_or_refuse(settings.features).horizons_ms
    with Refusals(settings):
        found = [examine(asyncio.run(sample_keys(settings, name, records, seconds))) for name in names]
        kept = asyncio.run(losing_settings(settings, horizons_ms))
    for warning in kept.unread:
        echo(warning, err=True)
    short = [one for one in kept.deviations if topic in (None, one.topic)]
    lines = [*(line for one in found for line in _partitioner_lines(one)), *map(str, short)]
    say(as_json, {"topics": found, "short": [one._asdict() for one in short]}, "\n".join(lines))
    if short or any(one.is_refused for one in found):
        raise SystemExit(1)


def _check_ids(settings: Settings, names: Sequence[str], bounds: tuple[int, float], *, as_json: bool) -> None:
    rules = declared_ids(settings.id_shapes)
    with Refusals(settings):
        found = [asyncio.run(sample_ids(settings, name, *bounds, rules)) for name in names]
    facts = [one._asdict() | {"counts": [count._asdict() for count in one.counts]} for one in found]
    say(as_json, {"topics": facts}, "\n".join(line for one in found for line in _id_lines(one)))
    if any(count.costs_records for one in found for count in one.counts):
        raise SystemExit(1)


def _id_lines(report: IdReport) -> Iterator[str]:
    """Yield what is found of one topic, as text; no id is shown."""
    unreadable = f", of which {report.unreadable:,} cannot be read or are too large" if report.unreadable else ""
    part = "" if report.is_whole else "; the time was over, take more --seconds"
    yield f"{report.topic}: {report.records:,} records read{unreadable}{part}"
    for one in report.counts:
        what = "each costs its record" if one.field in COSTS_THE_RECORD else "each dropped"
        found = f"{one.refused:,} of {one.records:,} are card numbers by their digits"
        yield f"  {one.field}: {found}{f', {what}' if one.refused else ''}"
        for shape in one.shapes if one.refused else ():
            yield f"    all have the form {shape}; if they are tokens: FRAUDSTREAM_ID_SHAPES={one.field}={shape}"


def _partitioner_lines(report: PartitionerReport) -> Iterator[str]:
    """Yield what is found of one topic, as text."""
    yield (
        f"{report.topic}: {report.verdict.text} ({report.records:,} records of {report.cards:,} cards read, on "
        f"{report.partitions} partitions)"
    )
    for one in report.written_by:
        grown = "" if one.partitions == report.partitions else f" when there were {one.partitions} partitions"
        yield f"  {one.partitioner}{grown}: {one.placements:,} cards; {used_by(one.partitioner)}"
    if report.unexplained:
        yield f"  another or none: {report.unexplained:,} cards"
    if report.on_two_partitions:
        share = report.on_two_partitions / report.cards
        yield f"  on two partitions or more: {report.on_two_partitions:,} cards, {share:.1%} of those read"
    yield from (f"  {line}" for line in advice(report))
