"""Opens the model repository for a command."""

import click

from models.errors import RepositoryUnavailableError
from models.repository import Repository
from stream.settings import PREFIX, Settings


def repository_or_refuse(settings: Settings) -> Repository:
    """Return the model repository; exit with 2 if its URL names a file system that cannot be used."""
    try:
        return Repository(settings.models)
    except RepositoryUnavailableError as error:
        click.echo(f"{PREFIX}MODELS: {error}", err=True)
        raise SystemExit(2) from error
