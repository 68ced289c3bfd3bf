"""`fraudstream topics`: creates the topics of the contract."""

import asyncio

import click

from stream.cli.output import json_option, refuse, say
from stream.cli.settings import settings_or_refuse
from stream.errors import TopicsError
from stream.kafka.topics import apply


@click.group()
def topics() -> None:
    """Create the topics of the contract."""


@topics.command("apply")
@click.option("--partitions", type=click.IntRange(1, 10_000), required=True, help="N, for the partitioned topics.")
@click.option("--replication", type=click.IntRange(1, 32), default=1, show_default=True)
@json_option
def topics_apply(partitions: int, replication: int, as_json: bool) -> None:  # noqa: FBT001 - a flag
    """Create the topics that are missing; existing ones are not changed."""
    settings = settings_or_refuse()
    try:
        made = asyncio.run(apply(settings, partitions, replication))
    except (TopicsError, OSError) as error:
        refuse(str(error))
    say(as_json, {"created": made, "partitions": partitions}, "\n".join(made) or "all topics exist")
