"""Opens the model repository for a command."""

from fraudstream.cli.output import refuse
from fraudstream.cli.refusals import Refusals
from fraudstream.cli.settings import refused_settings
from fraudstream.terminal import echo
from models.errors import RepositoryUnavailableError
from models.repository import Repository
from stream.control.trusted_models import ModelPlace, trusted_repository
from stream.settings import PREFIX, Settings


def repository_or_refuse(settings: Settings) -> Repository:
    """Return the model repository; exit with 2 if its URL names a file system that cannot be used."""
    try:
        return ModelPlace(settings.models).open()
    except RepositoryUnavailableError as error:
        echo(f"{PREFIX}MODELS: {error}", err=True)
        raise SystemExit(2) from error


def trusted_repository_or_refuse(settings: Settings) -> Repository:
    """Return the repository as whatever computes with models does: it fetches only models that are signed as asked.

    Exits with 2 as above, and if the file of the keys cannot be used.
    """
    repository_or_refuse(settings)
    with refused_settings():
        return trusted_repository(settings)


def existing_repository_or_refuse(settings: Settings, *, trusted: bool = False) -> Repository:
    """Return the model repository; exit with 1 if it does not exist or does not answer, and with 2 as above."""
    repository = trusted_repository_or_refuse(settings) if trusted else repository_or_refuse(settings)
    with Refusals():
        is_there = repository.exists()
    if not is_there:
        advice = "correct the setting, or let `fraudstream train` store the first model there"
        refuse(f"{PREFIX}MODELS: {repository.place} does not exist: {advice}")
    return repository
