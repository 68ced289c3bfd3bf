"""`fraudstream schema`: prints the JSON Schema of the records of the contract."""

import json

import click

from fraudstream.terminal import echo
from stream.contract.schema import RECORDS, json_schema


@click.command()
@click.argument("record", type=click.Choice(sorted(RECORDS)), required=False)
def schema(record: str | None) -> None:
    """Print the JSON Schema of a record, or one object with all of them."""
    schemas = {name: json_schema(name) for name in RECORDS}
    echo(json.dumps(schemas[record] if record else schemas, indent=2))
