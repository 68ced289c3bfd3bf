"""The root command, and the commands that have no family."""

import asyncio
import json

import click

from stream.cli.bench import bench
from stream.cli.demo import demo
from stream.cli.features import features
from stream.cli.model import model
from stream.cli.output import features_or_refuse, json_option, refuse, refused_settings, say, settings_or_refuse
from stream.cli.publish import publish
from stream.cli.replay import replay
from stream.cli.score import score
from stream.cli.shadow import shadow
from stream.cli.train import train
from stream.contract.schema import RECORDS, json_schema
from stream.errors import TopicsError
from stream.kafka.topics import apply as apply_topics


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="fraudstream", prog_name="fraudstream")
def main() -> None:
    """Decide card payments on a Kafka stream, each once, by a model that is said to be live."""


main.add_command(bench)
main.add_command(demo)
main.add_command(features)
main.add_command(model)
main.add_command(publish)
main.add_command(replay)
main.add_command(score)
main.add_command(shadow)
main.add_command(train)


@main.command()
def worker() -> None:
    """Run one worker until SIGTERM; it says at /health/ready whether it decides, and if not, why."""
    from stream.worker.main import run_worker  # noqa: PLC0415 - Faust takes a second to import, and only this needs it

    settings = settings_or_refuse()
    features_or_refuse(settings.features)
    with refused_settings():
        raise SystemExit(run_worker(settings))


@main.group()
def topics() -> None:
    """Make the topics of the contract."""


@topics.command("apply")
@click.option("--partitions", type=click.IntRange(1, 10_000), required=True, help="N, for the partitioned topics.")
@click.option("--replication", type=click.IntRange(1, 32), default=1, show_default=True)
@json_option
def topics_apply(partitions: int, replication: int, as_json: bool) -> None:  # noqa: FBT001 - a flag
    """Make the topics that are missing; change none that is there."""
    settings = settings_or_refuse()
    try:
        made = asyncio.run(apply_topics(settings, partitions, replication))
    except (TopicsError, OSError) as error:
        refuse(str(error))
    say(as_json, {"created": made, "partitions": partitions}, "\n".join(made) or "all topics are there")


@main.command()
@click.argument("record", type=click.Choice(sorted(RECORDS)), required=False)
def schema(record: str | None) -> None:
    """Print the JSON Schema of a record, or one object with all of them."""
    schemas = {name: json_schema(name) for name in RECORDS}
    click.echo(json.dumps(schemas[record] if record else schemas, indent=2))
