"""Where the snapshot of the control log lies, and how it is sealed: as the settings and the estate say."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from models.repository import Repository
from models.snapshot import SnapshotScope, SnapshotSeal
from stream.control.estate import Estate
from stream.errors import SettingsError
from stream.kafka.topics import MODEL_EVENTS
from stream.key_files import read_keys, read_text_file
from stream.settings import PREFIX, Settings

FOLDER = "control"
"""The folder of snapshots in a model repository."""
_KEY_FILE = f"{PREFIX}SNAPSHOT_KEY_FILE"
_OPTIONS_FILE = f"{PREFIX}SNAPSHOTS_OPTIONS_FILE"
_MOST_KEYS = 2


class SnapshotStore:
    """The snapshot of one deployment. The estate must be known when it is read or written.

    Raises:
        RepositoryUnavailableError: the URL's file system is unknown or not installed.
        SettingsError: the file of the keys, or that of the options, cannot be used.
    """

    def __init__(self, settings: Settings, estate: Estate) -> None:
        self._settings = settings
        self._estate = estate
        self._keys = read_snapshot_keys(settings)
        if settings.snapshots:
            self._repository, self._folder = Repository(settings.snapshots, options=_options(settings)), ""
        else:
            self._repository, self._folder = Repository(settings.models), f"{FOLDER}/"

    @property
    def seal(self) -> SnapshotSeal:
        """How it is sealed."""
        topic = self._settings.topic(MODEL_EVENTS.name)
        scope = SnapshotScope(self._estate.name, topic, self._settings.deployment)
        return SnapshotSeal(scope, self._keys, required=bool(self._settings.command_keys))

    @property
    def place(self) -> str:
        """The snapshot's URL, as it may be shown."""
        return f"{self._repository.place}/{self._name}"

    @property
    def _name(self) -> str:
        return f"{self._folder}{self.seal.scope.file_name}"

    def read(self) -> bytes | None:
        """Return the text that is there; None if there is none.

        Raises:
            RepositoryUnavailableError: it cannot be read.
        """
        return self._repository.read(self._name)

    def write(self, text: bytes) -> None:
        """Replace the snapshot.

        Raises:
            RepositoryUnavailableError: it cannot be written.
        """
        self._repository.write(self._name, text)

    def put_aside(self, text: bytes) -> str:
        """Keep a text that cannot be used beside the snapshot, and return where.

        Raises:
            RepositoryUnavailableError: it cannot be written.
        """
        self._repository.write(f"{self._name}.replaced", text)
        return f"{self.place}.replaced"


def all_snapshots(settings: Settings, repository: Repository) -> Iterator[tuple[str, bytes]]:
    """Yield the name and text of each snapshot in a model repository, and at the place of the settings.

    Raises:
        RepositoryUnavailableError: one cannot be read.
        SettingsError: the file of the options cannot be used.
    """
    places = [(repository, f"{FOLDER}/")]
    if settings.snapshots:
        places.append((Repository(settings.snapshots, options=_options(settings)), ""))
    for place, folder in places:
        for name in place.names(folder.rstrip("/")):
            yield f"{folder}{name}", place.read(f"{folder}{name}") or b""


def read_snapshot_keys(settings: Settings) -> tuple[bytes, ...]:
    """Read the keys that seal snapshots, the one to seal with first; none without a file.

    Raises:
        SettingsError: the file cannot be read, or holds something else.
    """
    file = settings.snapshot_key_file
    if not file:
        return ()
    return read_keys(_KEY_FILE, file, _MOST_KEYS)


def _options(settings: Settings) -> Mapping[str, Any]:
    file = settings.snapshots_options_file
    if not file:
        return {}
    try:
        options = json.loads(read_text_file(_OPTIONS_FILE, file))
    except ValueError:  # its text may hold a credential
        options = None
    if not isinstance(options, dict):
        raise SettingsError(f"{_OPTIONS_FILE}: {file} is not one JSON object of options for fsspec")
    return options
