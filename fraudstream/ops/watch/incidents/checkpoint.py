"""The checkpoint of incidents, in a file beside the guard's: it saves reading the topics again, and may be lost.

Without it, open incidents are those that `incidents` tells of, and nothing is told again.
"""

import asyncio
import gzip
import logging
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from fraudstream.ops.watch.incidents.fold import FoldState
from fraudstream_client.incidents import Incident
from models.folder_store import replace_file
from stream.settings import Settings

log = logging.getLogger("fraudstream.incidents")

VERSION = 1
_SUFFIX = ".incidents"
_LEVEL = 1


class StoredIncidents(msgspec.Struct, frozen=True):
    """What is stored: the fold, the ids of the topics that its positions are of, and what was not written yet."""

    deployment: str
    prefix: str
    state: FoldState
    topic_ids: Mapping[str, str]
    outbox: Sequence[Incident]
    version: int = VERSION

    def is_of(self, settings: Settings) -> bool:
        """Tell whether a guard with these settings may go on from it."""
        expected = (VERSION, settings.deployment, settings.topic_prefix)
        return (self.version, self.deployment, self.prefix) == expected


class IncidentCheckpoint:
    """One file; what fails is logged, and ends nothing.

    Args:
        path: the guard's own checkpoint; this one has the suffix `.incidents`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(path.name + _SUFFIX)
        self._problem = ""

    def load(self, settings: Settings) -> StoredIncidents | None:
        """Return what is stored for this deployment; None, with a line in the log, if there is no use of it."""
        why = "it is of another version, deployment or topic prefix"
        try:
            stored = msgspec.json.decode(gzip.decompress(self._path.read_bytes()), type=StoredIncidents)
            if stored.is_of(settings):
                return stored
        except FileNotFoundError:
            log.info("no checkpoint of incidents in %s; open ones are read from the topic", self._path)
            return None
        except OSError as error:
            why = error.strerror or str(error)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, EOFError, zlib.error) as error:
            why = str(error) or "it is damaged"
        log.warning("the checkpoint of incidents in %s is not used: %s", self._path, why)
        return None

    async def save(self, stored: StoredIncidents) -> bool:
        """Replace the file; tell whether it was written. The state is encoded at once, and may go on meanwhile."""
        value = msgspec.json.encode(stored)
        try:
            await asyncio.to_thread(_write, self._path, value)
        except OSError as error:
            problem = error.strerror or str(error)
            if problem != self._problem:
                log.warning("the checkpoint of incidents cannot be written to %s: %s", self._path, problem)
            self._problem = problem
            return False
        self._problem = ""
        return True


def _write(path: Path, value: bytes) -> None:
    replace_file(path, gzip.compress(value, _LEVEL, mtime=0))
