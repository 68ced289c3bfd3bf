"""Where models are loaded from, and by whose signatures: the one place that makes a repository of these settings.

Whatever computes with a model opens the repository here, so that `FRAUDSTREAM_MODEL_KEYS` holds for all of it, and each
artifact is tried in a process of its own first. What was decided is replayed without keys: the record names a model
that may have been signed by one that is no longer trusted.
"""

from typing import TYPE_CHECKING, NamedTuple

from stream.control.keys import read_model_trust
from stream.settings import Settings

if TYPE_CHECKING:
    from models.repository import Repository


class ModelPlace(NamedTuple):
    """The URL of a model repository, and the file of the keys that may sign models; empty: models need no signature.

    `features` are the modules of feature rows that are computed here, in which an artifact's histories are tried; None:
    they are not computed. It can be handed to another process, which a repository cannot.
    """

    url: str
    keys: str = ""
    features: str | None = None

    @classmethod
    def of(cls, settings: Settings) -> "ModelPlace":
        """Return that of some settings."""
        return cls(settings.models, settings.model_keys, settings.features)

    def open(self) -> "Repository":
        """Return the repository, which fetches only models that one of the keys has signed, and that can be loaded.

        Raises:
            RepositoryUnavailableError: the URL's file system is unknown or not installed.
            SettingsError: the file of keys cannot be used.
        """
        from stream.control.trial import TriedRepository  # noqa: PLC0415 - fsspec, which a request does not need

        return TriedRepository(self.url, read_model_trust(self.keys), features=self.features)

    def open_untried(self) -> "Repository":
        """Return the repository for a process that may end by an artifact.

        Raises:
            RepositoryUnavailableError, SettingsError: as `open` does.
        """
        from models.repository import Repository  # noqa: PLC0415 - likewise

        return Repository(self.url, read_model_trust(self.keys))


def trusted_repository(settings: Settings) -> "Repository":
    """Return the repository of some settings, as `ModelPlace.open` does."""
    return ModelPlace.of(settings).open()
