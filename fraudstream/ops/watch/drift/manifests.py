"""The manifests of the models that have decided, from the repository."""

import asyncio
from collections.abc import Callable, Iterable

from models.artifact import Manifest, read_manifest
from models.errors import ArtifactError
from models.repository import Repository


class KnownManifests:
    """Manifests by digest, each read once.

    Attributes:
        found: those that were read.
        missing: digests that the repository has no usable manifest of.

    Args:
        open_repository: returns the repository, which is read by a thread, since it blocks.
    """

    def __init__(self, open_repository: Callable[[], Repository]) -> None:
        self.found: dict[str, Manifest] = {}
        self.missing: set[str] = set()
        self._open = open_repository

    async def read(self, digests: Iterable[str]) -> None:
        """Read the manifests of models that are not known yet.

        Raises:
            RepositoryUnavailableError: the repository cannot be opened, or does not respond.
        """
        for digest in sorted(set(digests) - self.found.keys() - self.missing):
            try:
                stored = await asyncio.to_thread(self._open().manifest, digest)
                self.found[digest] = read_manifest(stored.value)
            except ArtifactError:
                self.missing.add(digest)
