"""What a repository says of its models by their manifests alone: for lists, and for names in texts.

Nothing here is verified against a digest: workers do that when they load a model, and `fetch` does.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import TypeVar

from models.artifact import Manifest, read_manifest
from models.card import present_card, review_of
from models.commands import SHORT_DIGEST
from models.deadline import in_thread
from models.errors import ArtifactError, DamagedArtifactError, MissingArtifactError, ModelError
from models.repository import Repository, StoredManifest
from models.reviews import Review

_READERS = 4
"""Manifests that are read at the same time: an object store takes some 50 ms for each."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class ModelOverview:
    """A model's manifest and when it was stored, in epoch milliseconds; `problem` says why there is no manifest."""

    digest: str
    manifest: Manifest | None = None
    stored_ms: int | None = None
    problem: str | None = None

    @property
    def label(self) -> str:
        """The model's name, version and short digest; the short digest alone where there is no manifest."""
        short = self.digest[:SHORT_DIGEST]
        return short if self.manifest is None else f"{self.manifest.name} {self.manifest.version} {short}"


def overviews(repository: Repository, digests: Iterable[str]) -> dict[str, ModelOverview]:
    """Return what the repository says of some models, by digest; it does not raise, each has its own problem."""
    return _for_each(digests, partial(_overview, repository))


def stored_manifests(repository: Repository, digests: Iterable[str]) -> dict[str, StoredManifest | None]:
    """Return the manifests of some models as they are stored, by digest; None for one that is missing or too large.

    Raises:
        RepositoryUnavailableError: the repository does not answer.
    """
    return _for_each(digests, partial(_stored, repository))


def reviews(repository: Repository, digests: Iterable[str], at_ms: int) -> dict[str, Review]:
    """Return when models are reviewed next, by digest, seen from a time; those without a readable date are left out."""
    found = _for_each(digests, partial(_review, repository, at_ms))
    return {digest: review for digest, review in found.items() if review is not None}


def _for_each(digests: Iterable[str], read: Callable[[str], _T]) -> dict[str, _T]:
    """Return what `read` returns for each digest, several at a time."""
    wanted = SimpleQueue[str]()
    for digest in set(digests):
        wanted.put(digest)
    # daemon threads: those of a pool would hold up the end of the process while a file system hangs
    readers = [in_thread(partial(_read, wanted, read)) for _ in range(min(_READERS, wanted.qsize()))]
    return {digest: one for reader in readers for digest, one in reader.result()}


def _read(wanted: SimpleQueue[str], read: Callable[[str], _T]) -> list[tuple[str, _T]]:
    """Read until nothing is wanted any more."""
    found = list[tuple[str, _T]]()
    while True:
        try:
            digest = wanted.get_nowait()
        except Empty:
            return found
        found.append((digest, read(digest)))


def _review(repository: Repository, at_ms: int, digest: str) -> Review | None:
    try:
        return review_of(present_card(repository, digest), at_ms)
    except ModelError:
        return None


def _stored(repository: Repository, digest: str) -> StoredManifest | None:
    try:
        return repository.manifest(digest)
    except ArtifactError:
        return None


def _overview(repository: Repository, digest: str) -> ModelOverview:
    try:
        stored = repository.manifest(digest)
        return ModelOverview(digest, read_manifest(stored.value), stored.stored_ms)
    except MissingArtifactError:
        return ModelOverview(digest, problem="not in the repository, or not completely: store it again")
    except DamagedArtifactError as error:
        return ModelOverview(digest, problem=f"damaged, store it again: {error}")
    except ModelError as error:
        return ModelOverview(digest, problem=str(error))
