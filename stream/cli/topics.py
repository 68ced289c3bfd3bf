"""`fraudstream topics`: creates the topics of the contract, and mends settings that delete their records too soon."""

import asyncio

import click

from stream.cli.output import json_option, refuse, say
from stream.cli.settings import settings_or_refuse
from stream.errors import TopicsError
from stream.kafka.topic_settings import mend
from stream.kafka.topics import apply


@click.group()
def topics() -> None:
    """Create the topics of the contract."""


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
    mended, unread = found
    for warning in unread:
        click.echo(warning, err=True)
    changes = [f"{one.topic}: {one.setting} changed from {one.found or 'empty'} to {one.wanted}" for one in mended]
    facts = {"created": made, "partitions": partitions, "mended": [one._asdict() for one in mended]}
    say(as_json, facts, "\n".join((*made, *changes)) or "all topics exist")
