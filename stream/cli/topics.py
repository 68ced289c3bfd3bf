"""`fraudstream topics`: creates and checks topics, mends their settings, and accepts what Kafka lost of the input."""

import asyncio
from collections.abc import Iterator, Mapping

import click
import msgspec
from aiokafka.errors import KafkaError

from features.errors import StoreError
from models.commands import CommandKind
from stream.cli.arguments import MomentParam
from stream.cli.commands import reason_option, send_partition_command, wait_option
from stream.cli.output import json_option, refuse, say
from stream.cli.progress import bars
from stream.cli.settings import refuse_kafka, settings_or_refuse
from stream.control.client import PartitionArguments
from stream.control.losses import PartitionLoss, read_losses
from stream.errors import ControlLogError, TopicsError
from stream.kafka.key_sample import sample_keys
from stream.kafka.partitioners import PartitionerReport, advice, examine, used_by
from stream.kafka.topic_settings import mend
from stream.kafka.topics import LABELS, TRANSACTIONS, apply
from stream.recovery.audit import AuditReport, audit


@click.group()
def topics() -> None:
    """Create and check the topics of the contract, and accept what Kafka lost of the input."""


@topics.command("apply")
@click.option("--partitions", type=click.IntRange(1, 10_000), required=True, help="N, for the partitioned topics.")
@click.option("--replication", type=click.IntRange(1, 32), default=1, show_default=True)
@json_option
def topics_apply(partitions: int, replication: int, as_json: bool) -> None:  # noqa: FBT001 - a flag
    """Create the topics that are missing, and mend settings of others by which Kafka deletes records too soon."""
    settings = settings_or_refuse()
    try:
        made = asyncio.run(apply(settings, partitions, replication))
        found = asyncio.run(mend(settings))
    except (TopicsError, OSError) as error:
        refuse(str(error))
    for warning in found.unread:
        click.echo(warning, err=True)
    changes = [
        f"{one.topic}: {one.setting} changed from {one.found or 'empty'} to {one.wanted}" for one in found.deviations
    ]
    mended = [one._asdict() for one in found.deviations]
    facts = {"created": made, "partitions": partitions, "mended": mended}
    say(as_json, facts, "\n".join((*made, *changes)) or "all topics exist")


@topics.command("check")
@click.option("--topic", help="Only this topic, as Kafka names it; by default transactions and labels.")
@click.option(
    "--records", type=click.IntRange(1, 1_000_000), default=1000, show_default=True, help="Of each partition."
)
@click.option(
    "--seconds", type=click.FloatRange(0, min_open=True), default=30.0, show_default=True, help="For each topic."
)
@json_option
def topics_check(*, topic: str | None, records: int, seconds: float, as_json: bool) -> None:
    """Tell from the last records of each partition which partitioner producers use, and whether they differ.

    With different ones a card's records are on two partitions, and the order between them is lost: exit code 1.
    """
    settings = settings_or_refuse()
    names = [topic] if topic else [settings.topic(layout.name) for layout in (TRANSACTIONS, LABELS)]
    try:
        found = [examine(asyncio.run(sample_keys(settings, name, records, seconds))) for name in names]
    except (KafkaError, OSError) as error:
        refuse_kafka(settings, error)
    say(as_json, {"topics": found}, "\n".join(line for one in found for line in _partitioner_lines(one)))
    if any(one.is_refused for one in found):
        raise SystemExit(1)


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


@topics.command("audit")
@click.option("--since", "since_ms", type=MomentParam(), default=0, help="Only records with a timestamp from it on.")
@click.option("--until", "until_ms", type=MomentParam(), help="Only records with a timestamp before it.")
@json_option
def topics_audit(*, since_ms: int, until_ms: int | None, as_json: bool) -> None:
    """Check that each offset of `transactions` has one verdict, and count the offsets of each kind.

    An offset is decided or refused, or neither since it repeats another, is a backfill's, holds no record, or was
    accepted as lost or skipped. Where that does not hold, the places are named, and the command ends with 1.
    """
    settings = settings_or_refuse()
    try:
        with bars() as progress:
            report = asyncio.run(audit(settings, max(0, since_ms), until_ms, progress))
    except (ControlLogError, KafkaError, OSError) as error:
        refuse_kafka(settings, error)
    say(as_json, msgspec.to_builtins(report), "\n".join(_audit_lines(report)))
    if not report.clean:
        raise SystemExit(1)


def _audit_lines(report: AuditReport) -> Iterator[str]:
    """Yield what an audit has found, as text."""
    yield f"{report.topic}, log {report.log}"
    yield from (f"  {kind.replace('_', ' '):>12} {count:>12,}" for kind, count in report.offsets.items())
    void = f"{report.late_letters:,} late dead letters, {report.void_scores:,} void scores"
    earlier = f", {report.earlier_logs:,} decisions of earlier logs" if report.earlier_logs else ""
    yield f"beside these: {void}{earlier}"
    for fault, places in report.faults.items():
        shown = ", ".join(f"{one.partition}:{one.offset}" for one in places)
        more = report.fault_counts[fault] - len(places)
        yield f"{fault.replace('_', ' ')}: {shown}{f' and {more:,} more' if more else ''}"
    yield "each offset has one verdict" if report.clean else "the rule is broken at these places (partition:offset)"


@topics.command("accept-loss")
@click.option("--topic", help="Only of this topic, as Kafka names it; by default of all inputs.")
@click.option("--partition", type=click.IntRange(0), help="Only of this partition.")
@click.option("--dry-run", is_flag=True, help="Say what is lost, and accept nothing.")
@reason_option
@wait_option
@json_option
def accept_loss(
    *,
    topic: str | None,
    partition: int | None,
    dry_run: bool,
    reason: str,
    wait: float,
    as_json: bool,
) -> None:
    """Accept what Kafka lost of the input, on the record, so that its partitions go on."""
    settings = settings_or_refuse()
    if not reason and not dry_run:
        raise click.UsageError("--reason is needed: it is kept with the command for ever")
    try:
        found = asyncio.run(read_losses(settings))
    except StoreError as error:
        refuse(f"a commit was made by no worker, and the copy of the last one cannot be read: {error}")
    except (ControlLogError, KafkaError, OSError) as error:
        refuse_kafka(settings, error)
    _require_read(found.partitions, topic, partition)
    wanted = [one for one in found.losses if topic in (None, one.topic) and partition in (None, one.partition)]
    if not wanted:
        say(as_json, {"lost": []}, "no partition has lost anything that is not accepted")
    for one in wanted:
        _say_loss(one, as_json=as_json)
        if not dry_run:
            loss = one.loss
            arguments = PartitionArguments(one.topic, one.partition, loss.log, loss.up_to, first=loss.first)
            send_partition_command(settings, CommandKind.ACCEPT_LOSS, arguments, (reason, wait, as_json))


def _require_read(partitions: Mapping[str, int], topic: str | None, partition: int | None) -> None:
    """Refuse a topic or a partition that no worker reads: nothing of it can be lost; `partitions` are their counts."""
    if topic is not None and topic not in partitions:
        raise click.BadParameter(f"{topic} is none of those that workers read: {', '.join(sorted(partitions))}")
    counts = partitions.values() if topic is None else [partitions[topic]]
    if partition is not None and partition >= max(counts):
        one = "no topic has a" if topic is None else f"{topic} has no"
        raise click.BadParameter(f"{one} partition {partition}, but those from 0 to {max(counts) - 1}")


def _say_loss(one: PartitionLoss, *, as_json: bool) -> None:
    where, loss = {"topic": one.topic, "partition": one.partition}, one.loss
    what = {"log": loss.log, "first": loss.first, "up_to": loss.up_to, "lost_at_most": loss.lost}
    say(as_json, where | what, f"{one.topic} {one.partition}: {loss.text}")
