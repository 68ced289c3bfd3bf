"""`fraudstream topics accept-loss`: accepts what Kafka lost of the input, on the record."""

import asyncio
from collections.abc import Mapping

import click

from features.errors import StoreError
from fraudstream.cli.commands import reason_option, send_partition_command, wait_option
from fraudstream.cli.output import json_option, refuse, say
from fraudstream.cli.refusals import Refusals
from fraudstream.cli.settings import settings_or_refuse
from fraudstream.ops.repair.losses import PartitionLoss, read_losses
from models.commands import CommandKind
from stream.control.client import PartitionArguments


@click.command("accept-loss")
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
    with Refusals(settings):
        try:
            found = asyncio.run(read_losses(settings))
        except StoreError as error:
            refuse(f"a commit was made by no worker, and the copy of the last one cannot be read: {error}")
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
