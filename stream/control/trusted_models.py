"""Where models are loaded from, and by whose signatures: the one place that makes a repository of these settings.

Whatever computes with a model opens the repository here, so that `FRAUDSTREAM_MODEL_KEYS` holds for all of it. What was
decided is replayed without: the record names a model that may have been signed by a key that is no longer trusted.
"""

from typing import TYPE_CHECKING, NamedTuple

from stream.control.keys import read_model_trust
from stream.settings import Settings

if TYPE_CHECKING:
    from models.repository import Repository


class ModelPlace(NamedTuple):
    """The URL of a model repository, and the file of the keys that may sign models; empty: models need no signature.

    It can be handed to another process, which a repository cannot.
    """

    url: str
    keys: str = ""

    @classmethod
    def of(cls, settings: Settings) -> "ModelPlace":
        """Return that of some settings."""
        return cls(settings.models, settings.model_keys)

    def open(self) -> "Repository":
        """Return the repository, which fetches only models that one of the keys has signed.

        Raises:
            RepositoryUnavailableError: the URL's file system is unknown or not installed.
            SettingsError: the file of keys cannot be used.
        """
        from models.repository import Repository  # noqa: PLC0415 - fsspec, which a request for models does not need

        return Repository(self.url, read_model_trust(self.keys))


def trusted_repository(settings: Settings) -> "Repository":
    """Return the repository of some settings, as `ModelPlace.open` does."""
    return ModelPlace.of(settings).open()
