"""`fraudstream schema`: prints the JSON Schema of the records of the contract."""

import json
import os

import click

from fraudstream.cli.feature_sets import features_or_refuse
from fraudstream.terminal import echo
from stream.contract.schema import RECORDS, json_schema
from stream.settings import PREFIX


@click.command()
@click.argument("record", type=click.Choice(sorted(RECORDS)), required=False)
def schema(record: str | None) -> None:
    """Print the JSON Schema of a record, or one object with all of them.

    In it, `attributes` of a payment has the fields that the module of FRAUDSTREAM_FEATURES declares, with type, bounds,
    unit and meaning; those of a token, which no output shows, are `writeOnly`. `attributes` of a score has the
    categories.
    """
    declared = features_or_refuse(os.environ.get(f"{PREFIX}FEATURES", "")).fields  # all settings import a Kafka client
    schemas = {name: json_schema(name, declared) for name in RECORDS}
    echo(json.dumps(schemas[record] if record else schemas, indent=2))
