"""The option `--predictions` of the commands that read a transactions file."""

from pathlib import Path

import click

predictions_option = click.option(
    "--predictions",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The predictions from storage that the features read: parquet or CSV.",
)
"""A file with the columns card_id, name, value and computed_at; see `fraudstream.lab.dataset.predictions_file`."""
