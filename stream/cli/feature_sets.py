"""The tables of features that a setting names: the one reader of a setting that needs numpy."""

import click

from features.errors import DeclarationError
from features.vector.sets import FeatureSets, load_sets


def features_or_refuse(modules: str) -> FeatureSets:
    """Load the tables of features that a setting names, or end with 2: it is a setting like any other."""
    try:
        return load_sets(modules)
    except DeclarationError as error:
        click.echo(str(error), err=True)
        raise SystemExit(2) from error
