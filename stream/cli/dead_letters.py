"""`fraudstream dead-letters`: what the workers refused, and how to pass over what they cannot read."""

import click

from models.commands import CommandKind
from stream.cli.commands import reason_option, send_partition_command, wait_option
from stream.cli.output import json_option
from stream.cli.settings import settings_or_refuse
from stream.control.client import PartitionArguments


@click.group("dead-letters")
def dead_letters() -> None:
    """Pass over records that no worker can read."""


@dead_letters.command("skip")
@click.option("--topic", required=True, help="As /health/ready names it.")
@click.option("--partition", type=click.IntRange(0), required=True)
@click.option("--offset", type=click.IntRange(0), required=True, help="The first unreadable offset.")
@reason_option
@wait_option
@json_option
def skip(  # noqa: PLR0913 - click's options
    *,
    topic: str,
    partition: int,
    offset: int,
    reason: str,
    wait: float,
    as_json: bool,
) -> None:
    """Pass over the records at an offset that cannot be read, on the record."""
    if not reason:
        raise click.UsageError("--reason is needed: it is kept with the command for ever")
    arguments = PartitionArguments(topic, partition, offset=offset)
    send_partition_command(settings_or_refuse(), CommandKind.SKIP, arguments, (reason, wait, as_json))
