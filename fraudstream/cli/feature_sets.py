"""Loads the feature sets that a setting names; apart from `settings` because it needs numpy."""

from features.errors import DeclarationError
from features.vector.sets import FeatureSets, load_sets
from fraudstream.terminal import echo
from stream.settings import PREFIX


def features_or_refuse(modules: str, source: str = f"{PREFIX}FEATURES") -> FeatureSets:
    """Load the feature sets that a setting or an option names, or exit with 2 and name that `source`."""
    try:
        return load_sets(modules)
    except DeclarationError as error:
        echo(f"{source}: {error}", err=True)
        raise SystemExit(2) from error
