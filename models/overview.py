"""What a repository says of its models by their manifests alone: for lists, and for names in texts.

Nothing here is verified against a digest: workers do that when they load a model, and `fetch` does.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from models.artifact import Manifest, read_manifest
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
    with ThreadPoolExecutor(_READERS, thread_name_prefix="manifests") as pool:
        found = pool.map(partial(_overview, repository), sorted(set(digests)))
        return {one.digest: one for one in found}


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
