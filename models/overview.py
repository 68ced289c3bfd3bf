"""What a repository says of its models by their manifests alone: for lists, and for names in texts.

Nothing here is verified against a digest: workers do that when they load a model, and `fetch` does.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue

from models.artifact import Manifest, read_manifest
from models.deadline import in_thread
from models.errors import DamagedArtifactError, MissingArtifactError, ModelError
from models.repository import Repository

SHORT_DIGEST = 12
"""How many digits of a digest are shown to people."""
_READERS = 4
"""Manifests that are read at the same time: an object store takes some 50 ms for each."""


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
    wanted = SimpleQueue[str]()
    for digest in set(digests):
        wanted.put(digest)
    # daemon threads: those of a pool would hold up the end of the process while a file system hangs
    readers = [in_thread(partial(_read, repository, wanted)) for _ in range(min(_READERS, wanted.qsize()))]
    return {one.digest: one for reader in readers for one in reader.result()}


def _read(repository: Repository, wanted: SimpleQueue[str]) -> list[ModelOverview]:
    """Read manifests until none is wanted any more."""
    found = list[ModelOverview]()
    while True:
        try:
            digest = wanted.get_nowait()
        except Empty:
            return found
        found.append(_overview(repository, digest))


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
