"""Loads the feature sets that a setting names; apart from `settings` because it needs numpy."""

import click

from features.errors import DeclarationError
from features.vector.sets import FeatureSets, load_sets


def features_or_refuse(modules: str) -> FeatureSets:
    """Load the feature sets that a setting names, or exit with 2, as for any invalid setting."""
    try:
        return load_sets(modules)
    except DeclarationError as error:
        click.echo(str(error), err=True)
        raise SystemExit(2) from error
